"""Plugins that print, end the process, start threads or have garbage for metadata, in commands as people type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from in_process import error_line, refine_eval, student

from refine_eval.cli import ending
from refine_eval.plugin import registry as plugins
from refine_eval.plugin.registry import DISABLE

CODE = '''
{top}
from refine_eval import Critic, Critique, hookimpl

class Chatty(Critic):
    """Chats."""

    name = "chatty"
    stored = False

    def critique(self, batch):
        {method}
        return [Critique(score=0.5, step_scores=(0.5,) * len(c.solution.steps)) for c in batch]

@hookimpl
def refine_eval_critics():
    {hook}
    return [Chatty]
'''

RUN = ("run", "--limit", "2", "--critic", "chatty", "--refiner", "resample", "--selector", "rerank", "--json")


def install(folder: Path, *, name: str = "chatty_plugin", files: dict[str, bytes] | None = None, **parts: str) -> None:
    """A distribution with the critic `chatty`; `parts` are statements at its top, in its method and in its hook."""
    found = {"top": "", "method": "", "hook": ""} | parts
    (folder / f"{name}.py").write_text(CODE.format(**found))
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[refine_eval]\nfrom-{name} = {name}\n")
    for file, content in (files or {}).items():
        (info / file).write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installed beside everything that is."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.delenv(DISABLE, raising=False)
    plugins.registry.cache_clear()
    yield site
    plugins.registry.cache_clear()
    for path in site.glob("*.py"):
        sys.modules.pop(path.stem, None)


def typed(site: Path, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    return subprocess.run(
        [sys.executable, "-m", "refine_eval", *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=timeout,
    )


def test_what_plugins_print_goes_to_stderr(folder: Path) -> None:
    say = "print('hello from {}')"
    install(folder, top=say.format("import"), method=say.format("method"), hook=say.format("hook"))
    with student(lambda request: "1+1=2\n#### 2", "runs.execute"):
        done = refine_eval(*RUN, cwd=folder.parent)
    assert len(json.loads(done.stdout)) == 1
    for place in ("import", "hook", "method"):
        assert f"hello from {place}" in done.stderr


def test_contract_checks_of_a_plugin_that_prints_or_ends_the_process(folder: Path) -> None:
    install(folder, method="print('hello'); raise SystemExit(0)")
    done = refine_eval("plugins", "check", "chatty", cwd=folder.parent, expect=1)
    assert "hello" not in done.stdout
    assert "it raised SystemExit: 0" in done.stdout


@pytest.mark.parametrize("error", ["SystemExit", "SystemExit(0)", "GeneratorExit", "RuntimeError('x' * 10**5)"])
def test_no_command_ends_without_a_word(folder: Path, error: str) -> None:
    install(folder, method=f"raise {error}")
    with student(lambda request: "1+1=2\n#### 2", "runs.execute"):
        line = error_line(*RUN, cwd=folder.parent)
    assert line.startswith("Error: Critic 'chatty' of chatty-plugin 1.2 failed on a batch that begins with problem ")
    assert len(line) < 800
    with student(lambda request: "1+1=2\n#### 2", "runs.execute"):
        again = refine_eval(*RUN[:4], "agreement", *RUN[5:], cwd=folder.parent)
    assert json.loads(again.stdout)[0]["generated"] > 0, "samples only: the drafts were stored"


def test_quiet_has_no_advice_on_plugins_that_are_not_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(folder, top="import a_module_that_is_not_there")
    words = ("run", "--limit", "1", "--critic", "agreement", "--refiner", "resample", "--selector", "vote")
    for quiet, shown in (("-q", False), ("--quiet", False), ("--json", True)):
        plugins.registry.cache_clear()
        with student(lambda request: "1+1=2\n#### 2", "runs.execute"):
            done = refine_eval(*words, quiet, cwd=folder.parent)
        assert ("'from-chatty_plugin' of chatty-plugin 1.2 cannot be imported" in done.stderr) is shown
        if not shown:
            assert done.stderr == ""
    plugins.registry.cache_clear()
    line = error_line("run", "--critic", "chatty", "-q", cwd=folder.parent)
    assert "No critic is called 'chatty'." in line
    assert "Plugin 'from-chatty_plugin' of chatty-plugin 1.2 cannot be imported: ModuleNotFoundError" in line


def test_a_thread_that_is_left_running_does_not_keep_a_command(tmp_path: Path) -> None:
    start = "import threading, time; threading.Thread(target=time.sleep, args=(300,), name='counter').start()"
    install(tmp_path, top=start)
    for words, code in ((("plugins", "list", "--json"), 0), (("plugins", "show", "nothing"), 1)):
        began = time.monotonic()
        done = typed(tmp_path, *words)
        assert time.monotonic() - began < 30
        assert done.returncode == code
        assert "Warning: a thread that a plugin left running is cut off: 'counter'." in done.stderr.splitlines()
        if code == 0:
            assert {"chatty", "sorm"} <= {row["name"] for row in json.loads(done.stdout)}, "whole"


def test_a_pool_and_a_thread_that_ends_soon_are_waited_for(tmp_path: Path) -> None:
    start = (
        "import atexit, sys, threading, time; from concurrent.futures import ThreadPoolExecutor\n"
        "ThreadPoolExecutor(2).submit(time.sleep, 0)\n"
        "threading.Thread(target=time.sleep, args=(0.5,)).start()\n"
        "atexit.register(lambda: print('ended as ever', file=sys.stderr))"
    )
    install(tmp_path, top=start)
    done = typed(tmp_path, "plugins", "list")
    assert done.returncode == 0
    assert "ended as ever" in done.stderr
    assert "cut off" not in done.stderr


def test_the_watch_ends_nobody_elses_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_BEFORE_S", 0.1)
    monkeypatch.setattr("os._exit", lambda code: pytest.fail("the tests' own process would have ended"))
    ending._watch(0, threading.main_thread())


@pytest.mark.parametrize(
    "files",
    [
        {"entry_points.txt": b"\xff\xfe[refine_eval]\nx = y\n"},
        {"entry_points.txt": b"[refine_eval\nno section"},
        {"entry_points.txt": b"[refine_eval]\nfrom-chatty_plugin == chatty_plugin [\n= \n"},
        {"entry_points.txt": b"[refine_eval]\n\x1b[31mred\x1b[0m = chatty_plugin_none\n"},
        {"METADATA": b"\xff\xfe\x00"},
        {"METADATA": b""},
        {"METADATA": b"Name: \x1b]0;title\x07\nVersion: " + b"9" * 100_000 + b"\n"},
        {"METADATA": b"Name: UNKNOWN\nName: two\n\n\nbody"},
    ],
    ids=range(8),
)
def test_metadata_that_is_garbage(folder: Path, files: dict[str, bytes]) -> None:
    install(folder, files=files)
    done = refine_eval("plugins", "list", cwd=folder.parent)
    assert "sorm" in done.stdout
    assert "Traceback" not in done.stderr
    assert all(line.startswith("Warning: ") for line in done.stderr.splitlines())
    assert len(done.stderr) < 1_000
    assert max(map(len, done.stdout.splitlines())) < 1_000
    assert "\x1b" not in done.stdout + done.stderr


def test_a_folder_of_packages_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(folder)

    def some() -> Iterator[metadata.Distribution]:
        yield from metadata.distributions(path=[str(folder)])
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(plugins, "distributions", some)
    done = refine_eval("plugins", "list", cwd=folder.parent)
    assert "chatty" in done.stdout
    assert "Some installed packages cannot be looked at" in done.stderr
