"""A broken plugin costs one warning, and an error only where it is asked for."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from refine_eval.cli.run import run, settings_from
from refine_eval.errors import PluginError
from refine_eval.plugin import registry as plugins
from refine_eval.plugin.moved import MOVED
from refine_eval.plugin.registry import DISABLE

SOUND = '''
from refine_eval.plugin.components import Critic
from refine_eval.plugin.hookspecs import hookimpl

class Plain(Critic):
    """Plain."""

    name = "{name}"

@hookimpl
def refine_eval_critics():
    return [Plain]
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions that stands for site-packages."""
    monkeypatch.setattr(plugins, "distributions", lambda: metadata.distributions(path=[str(tmp_path)]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(DISABLE, raising=False)
    plugins.registry.cache_clear()
    yield tmp_path
    plugins.registry.cache_clear()
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def install(folder: Path, module: str, code: str, **files: str | bytes | None) -> None:
    """A distribution of one module; `files` are of its metadata, by name, None for one that is missing."""
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    found: dict[str, str | bytes | None] = {
        "METADATA": f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.2\n",
        "entry_points": f"[refine_eval]\nfrom-{module} = {module}\n",
        **files,
    }
    for name, text in found.items():
        if text is not None:
            path = info / (f"{name}.txt" if name == "entry_points" else name)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())


def names() -> list[str]:
    return [item.name for item in plugins.registry().all()]


def refine_eval_with(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), *filter(None, sys.path)])}
    return subprocess.run(
        [sys.executable, "-m", "refine_eval", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_it_is_warned_of_once_and_can_be_blocked(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(installed, "plugin_that_fails", "import a_module_that_is_not_there")
    install(installed, "plugin_that_works", SOUND.format(name="plain"))
    assert names() == names() == ["plain"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Warning: Plugin 'from-plugin_that_fails' of plugin-that-fails 1.2 cannot be imported" in err
    assert "a_module_that_is_not_there" in err
    assert f"{DISABLE}=from-plugin_that_fails" in err
    plugins.registry.cache_clear()
    monkeypatch.setenv(DISABLE, "other, from-plugin_that_fails")
    assert names() == ["plain"]
    assert capsys.readouterr().err == ""


def test_it_is_an_error_where_it_is_asked_for(installed: Path) -> None:
    install(installed, "plugin_that_fails", "import a_module_that_is_not_there")
    install(installed, "plugin_that_works", SOUND.format(name="plain"))
    found = plugins.registry()
    assert found.component("critic", "plain").name == "plain"
    for ask in (lambda: found.component("critic", "length"), lambda: found.named("length")):
        with pytest.raises(PluginError) as raised:
            ask()
        message = str(raised.value)
        assert "is called 'length'" in message
        assert "Plugin 'from-plugin_that_fails' of plugin-that-fails 1.2 cannot be imported" in message
        assert f"To go on without it: {DISABLE}=from-plugin_that_fails" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise KeyError('x' * 100_000)", "cannot be imported: KeyError('xxx"),
        ("raise ValueError('one\\ntwo\\x1b[31m')", r"ValueError('one\ntwo\x1b[31m')"),
        (
            "class Odd(Exception):\n    def __str__(self): raise RuntimeError\n    __repr__ = __str__\nraise Odd",
            "cannot be imported: Odd.",
        ),
        (
            "class Odd(Exception):\n    def __repr__(self): return 'one\\ntwo\\x1b[31m'\nraise Odd",
            "one two\N{REPLACEMENT CHARACTER}[31m",
        ),
        ("1 +", "SyntaxError"),
        (SOUND.format(name="plain").replace("return [Plain]", "return Plain"), "failed in its critic hook: TypeError"),
        (SOUND.format(name="plain").replace("return [Plain]", "return [3]"), "returned 3 from its critic hook"),
        (SOUND.format(name="plain").replace("name = ", "name = 5 and 5 # "), "with a name"),
        (SOUND.format(name="plain").replace("name = ", "Options = int; name = "), "cannot be used: TypeError"),
        (
            SOUND.format(name="plain").replace("refine_eval_critics", "refine_eval_critiques"),
            "does not fit the hooks: unknown hook 'refine_eval_critiques'",
        ),
        ("from refine_eval.components import Critic", "it imports refine_eval.components, which has moved; write: "),
        ("from refine_eval.models import read_model", "imports refine_eval.models, which has moved; write: from"),
        ("from refine_eval import components", "it imports refine_eval.components, which has moved; write: "),
        ("from refine_eval.nowhere import x", "imports refine_eval.nowhere, or a name from it, which does not exist"),
        ("from refine_eval.data import Lesson", "refine_eval.data, or a name from it, which does not exist"),
        (
            SOUND.format(name="plain").replace("return [Plain]", "import refine_eval.hookspecs"),
            "hook: it imports refine_eval.hookspecs, which has moved; write: from refine_eval import Critic, hookimpl",
        ),
    ],
    ids=range(16),
)
def test_each_way_to_be_broken_is_one_line(
    installed: Path, capsys: pytest.CaptureFixture[str], code: str, says: str
) -> None:
    install(installed, "plugin_that_fails", code)
    install(installed, "plugin_that_works", SOUND.format(name="works"))
    assert names() == ["works"]
    err = capsys.readouterr().err
    assert says in err
    assert "from-plugin_that_fails" in err
    assert err.count("\n") == 1
    assert len(err) < 700
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit()", "cannot be imported: SystemExit()"),
        ("import sys; sys.exit('bye')", "cannot be imported: SystemExit('bye')"),
        (SOUND.format(name="plain").replace("return [Plain]", "raise SystemExit"), "critic hook: SystemExit()"),
    ],
)
def test_a_plugin_that_would_end_the_command_is_an_error(installed: Path, code: str, says: str) -> None:
    install(installed, "plugin_that_fails", code)
    with pytest.raises(PluginError) as raised:
        plugins.registry()
    assert says in str(raised.value)
    assert "To go on without it: REFINE_EVAL_DISABLE_PLUGINS=" in str(raised.value)


def test_ctrl_c_in_an_import_is_not_the_plugins_fault(installed: Path) -> None:
    install(installed, "plugin_that_fails", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugins.registry()


@pytest.mark.parametrize(
    ("files", "listed"),
    [
        ({"METADATA": None}, "plugin_that_works-1.2.dist-info ?"),
        ({"METADATA": "hello"}, "plugin_that_works-1.2.dist-info ?"),
        ({"METADATA": b"Name: \xff\xfe\nVersion: \xff"}, "plugin_that_works-1.2.dist-info ?"),
        ({"METADATA": "Name: works\n"}, "works ?"),
        ({"METADATA": "Name: two\n lines\nVersion: 1\n"}, "two lines 1"),
    ],
    ids=["missing", "garbage", "not text", "without a version", "of two lines"],
)
def test_metadata_may_be_missing_or_garbage(
    installed: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str | bytes | None], listed: str
) -> None:
    install(installed, "plugin_that_works", SOUND.format(name="works"), **files)
    assert [f"{item.distribution} {item.version}" for item in plugins.registry().all()] == [listed]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["[refine_eval]\nno equals sign\n", b"\xff\xfe", "[refine_eval]\nx = not a module!\n"])
def test_entry_points_may_be_garbage(installed: Path, capsys: pytest.CaptureFixture[str], text: str | bytes) -> None:
    install(installed, "plugin_that_fails", "", entry_points=text)
    install(installed, "plugin_that_works", SOUND.format(name="works"))
    assert names() == ["works"]
    err = capsys.readouterr().err
    assert "plugin-that-fails 1.2" in err
    assert err.count("\n") == 1


def test_a_name_that_two_plugins_offer_is_nobodys(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("one", "other", "third"):
        install(installed, module, SOUND.format(name="plain"))
    install(installed, "plugin_that_works", SOUND.format(name="works"))
    found = plugins.registry()
    assert names() == ["works"]
    assert capsys.readouterr().err.count("Warning: Two plugins offer the critic 'plain'") == 2
    for ask in (lambda: found.component("critic", "plain"), lambda: found.named("plain")):
        with pytest.raises(PluginError, match=r"^Two plugins offer the critic 'plain': \w+ 1\.2 and \w+ 1\.2"):
            ask()


def test_half_a_plugin_is_not_taken_in(installed: Path) -> None:
    second = "\n@hookimpl\ndef refine_eval_refiners():\n    raise RuntimeError\n"
    install(installed, "plugin_that_fails", SOUND.format(name="plain") + second)
    assert names() == []


def test_commands_go_on_and_json_stays_json(tmp_path: Path) -> None:
    install(tmp_path, "plugin_that_fails", "print('hello'); import a_module_that_is_not_there")
    install(tmp_path, "plugin_that_talks", "print('talk')" + SOUND.format(name="talks"))
    done = refine_eval_with(tmp_path, "plugins", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert {"sorm", "talks"} <= {row["name"] for row in json.loads(done.stdout)}
    assert done.stderr.count("Warning: ") == 1
    assert sorted(done.stderr.splitlines())[-2:] == ["hello", "talk"]
    asked = refine_eval_with(tmp_path, "train", "length", "--out", str(tmp_path / "out"))
    assert asked.returncode == 1
    assert asked.stderr.splitlines()[-1].startswith("Error: No trainer is called 'length'. It may be of a plugin")
    assert refine_eval_with(tmp_path, "run", "--help").returncode == 0


@pytest.mark.parametrize("old", MOVED)
def test_what_is_said_to_have_moved_is_there(old: str) -> None:
    names: dict[str, object] = {}
    exec(MOVED[old], names)
    assert len(names) > 1


def test_an_option_that_the_command_has_itself_is_refused_by_name_where_it_is_used(installed: Path) -> None:
    code = """
from dataclasses import dataclass
from refine_eval import Critic, hookimpl, option

@dataclass(frozen=True, kw_only=True)
class Sizes:
    size: int = option(4, "Solutions side by side.")

class Beside(Critic):
    name = "batch"
    Options = Sizes

@hookimpl
def refine_eval_critics():
    return [Beside]
"""
    install(installed, "plugin_that_clashes", code)
    context = run.make_context("run", ["--batch-size", "2"])
    assert context.params["batch_size"] == 2, "who does not use the plugin has the command's own option"
    with pytest.raises(PluginError, match="'batch' of plugin-that-clashes") as raised:
        settings_from(run.make_context("run", ["--critic", "batch"]))
    assert "brings the option --batch-size, which the command has itself" in str(raised.value)
