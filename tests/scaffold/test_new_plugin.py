"""`refine-eval plugins new`: packages that install, keep their contract and run as they are; names that cannot be."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest import mock

import pytest
from in_process import error_line, refine_eval

from refine_eval.errors import UsageError
from refine_eval.plugin.registry import Registry
from refine_eval.scaffold.package import KINDS, new_package

ROOT = Path(__file__).parents[2]
MOST_LINES = 60
NAMES = {kind: f"brand-new-{kind}" for kind in KINDS}

# All in one process, as starting one takes seconds.
CHECKS = """
import sys
from refine_eval.cli import cli
for name in sys.argv[1:]:
    assert not cli.main(["plugins", "check", name], standalone_mode=False), name
"""
RUN = """
import sys
from refine_eval.cli import cli
cli.main(["run", "--limit", "3", "--name", "new", *sys.argv[1:]], standalone_mode=False)
"""
FLAGS = {
    "critic": "--critic",
    "refiner": "--refiner",
    "selector": "--selector",
    "engine": "--model",
    "splitter": "--steps",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new package of each kind, made by the command."""
    pytest.importorskip("copier")
    folder = tmp_path_factory.mktemp("made")
    for kind, name in NAMES.items():
        done = refine_eval("plugins", "new", name, "--kind", kind, cwd=folder)
        assert f"pip install -e refine-eval-{name}" in done.stdout
    return folder


@pytest.fixture(scope="module")
def site(made: Path) -> Path:
    """They are installed into a folder as anybody's would be; needs no network."""
    pytest.importorskip("hatchling")
    packages = [str(made / f"refine-eval-{name}") for name in NAMES.values()]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(made / "site"), *packages], check=True, cwd=made
    )
    return made / "site"


def fresh(script: str, *arguments: str, site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A script in a process that has the installed packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=300,
    )


def test_all_of_them_pass_the_check_at_once(site: Path, tmp_path: Path) -> None:
    done = fresh(CHECKS, *NAMES.values(), site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("checks passed") == len(KINDS)
    assert "FAIL" not in done.stdout


def test_all_of_them_run_together(site: Path, tmp_path: Path) -> None:
    words = [word for kind, name in NAMES.items() for word in (FLAGS[kind], name)]
    done = fresh(RUN, *words, site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"chosen: {NAMES['selector']}" in done.stdout
    traces = [json.loads(line) for line in (tmp_path / "results/runs/new/traces.jsonl").read_text().splitlines()]
    assert len(traces) == 3
    for draft, refinement in (trace["candidates"] for trace in traces):
        assert (draft["component"], draft["text"]) == (NAMES["engine"], "I do not know, so I say: #### 0")
        assert refinement["component"] == NAMES["refiner"]
        assert refinement["text"].startswith(draft["text"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_small_and_documented(kind: str, made: Path) -> None:
    files = sorted((made / f"refine-eval-{NAMES[kind]}").rglob("*.py"))
    assert [path.parent.name for path in files] == [f"refine_eval_brand_new_{kind}"] * 2 + ["tests"]
    assert sum(map(lines_of_code, files)) <= MOST_LINES
    assert {path.name for path in files[0].parent.iterdir()} == {"__init__.py", f"{kind}.py", "py.typed"}


def lines_of_code(path: Path) -> int:
    """Lines with something on them that are not of a docstring."""
    text = path.read_text("utf-8")
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            assert ast.get_docstring(node) or node.name.startswith(("_", "test")), node  # type: ignore[union-attr]
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                documentation |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and number not in documentation for number, line in lines)


def test_the_code_is_clean(made: Path) -> None:
    pytest.importorskip("ruff")
    rules = ["--isolated", "--line-length", "120", "--select", "E,F,W,I,UP,B,SIM,RUF"]
    for kind in KINDS:
        command = [sys.executable, "-m", "ruff", "check", *rules, "."]
        done = subprocess.run(command, capture_output=True, text=True, cwd=made / f"refine-eval-{NAMES[kind]}")
        assert done.returncode == 0, done.stdout + done.stderr


MYPY = """
[mypy]
strict = true
follow_imports = skip
[mypy-refine_eval.*,pytest.*,_pytest.*,pluggy.*]
follow_imports = silent
"""
WRONG = """
from refine_eval import Critic
class Wrong(Critic):
    def critique(self, batch: int) -> str:
        return ""
"""


def test_their_types_are_strict(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "mypy.ini").write_text(MYPY)
    (tmp_path / "wrong.py").write_text(WRONG)
    folders = [made / f"refine-eval-{name}" / part for name in NAMES.values() for part in (module(name), "tests")]
    files = [*(str(file) for folder in folders for file in folder.glob("*.py")), str(tmp_path / "wrong.py")]
    command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini"), *files]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "harness"), "MYPY_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert errors, done.stdout + done.stderr
    assert all(line.startswith("wrong.py:") and line.endswith("[override]") for line in errors), done.stdout
    assert f"(checked {len(files)} source files)" in done.stdout
    assert len(files) == 3 * len(KINDS) + 1


def module(name: str) -> str:
    return f"refine_eval_{name.replace('-', '_')}"


def test_a_package_says_which_versions_it_is_for(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version, wanted in (("0.7.2", ">=0.7,<0.8"), ("2.3.0", ">=2.3,<3"), ("0+unknown", "")):
        monkeypatch.setattr("refine_eval.__version__", version)
        folder = new_package("some-critic", "critic", tmp_path / version, Registry())
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert project["dependencies"] == [f"refine-eval{wanted}"]


def test_the_template_is_in_the_wheel() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    shipped = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    template = ROOT / "harness/refine_eval/scaffold/template"
    files = {str(path.relative_to(ROOT / "harness")) for path in template.rglob("*") if path.is_file()}
    assert len(files) == 12
    assert files <= shipped


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My-Critic", "cannot be called 'My-Critic': write lower-case letters"),
        ("two words", "cannot be called"),
        ("../up", "cannot be called"),
        ("a--b", "cannot be called"),
        ("-", "cannot be called"),
        ("", "cannot be called"),
        ("é", "cannot be called"),
        ("x" * 51, "at most 50"),
        ("\x1b[31mred", "cannot be called"),
        ("calculator", "There is a critic 'calculator' already, of refine-eval"),
        ("lines", "There is a splitter 'lines' already"),
        ("benchmarks", "A package refine_eval_benchmarks is installed already"),
    ],
)
def test_names_that_cannot_be(name: str, says: str, tmp_path: Path) -> None:
    assert says in error_line("plugins", "new", "--kind", "critic", "--", name, cwd=tmp_path, expect=2)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "refine-eval-mine").mkdir()
    said = error_line("plugins", "new", "mine", "--kind", "selector", cwd=tmp_path, expect=2)
    assert "refine-eval-mine is there already; choose another name" in said
    assert list((tmp_path / "refine-eval-mine").iterdir()) == []


def test_without_copier_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "copier", None)
    with pytest.raises(UsageError, match=r"needs the package copier: pip install 'refine-eval\[scaffold\]'"):
        new_package("mine", "critic", tmp_path, Registry())


def test_a_folder_that_cannot_be_written_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copier = pytest.importorskip("copier")
    monkeypatch.setattr(copier, "run_copy", mock.Mock(side_effect=OSError(30, "Read-only file system")))
    with pytest.raises(UsageError, match=r"refine-eval-mine cannot be written \(Read-only file system\)"):
        new_package("mine", "critic", tmp_path, Registry())


# A plugin made for another version.


def installed_plugin(folder: Path, *requires: str) -> None:
    """A distribution with an entry point whose module is there, as pip would leave it."""
    info = folder / "refine_eval_aged-3.0.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: refine-eval-aged\nVersion: 3.0\n{needs}")
    (info / "entry_points.txt").write_text("[refine_eval]\naged = refine_eval_aged\n")
    (folder / "refine_eval_aged.py").write_text("")


@pytest.mark.parametrize(
    ("requires", "wanted"),
    [
        (("refine-eval<0.1",), "<0.1"),
        (("numpy", "refine_eval (>=0.9,<0.10)"), "<0.10,>=0.9"),
        (("refine-eval>=0.1", "refine-eval-other>=7", "refine-eval>=9; extra == 'new'"), None),
        (("refine-eval >=? 3",), None),
        ((), None),
    ],
)
def test_a_plugin_for_another_version_is_left_out_with_a_sentence(
    requires: tuple[str, ...],
    wanted: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from refine_eval.plugin import registry

    installed_plugin(tmp_path, *requires)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "installed", lambda name: "0.1.0")
    monkeypatch.setattr(registry, "advice_wanted", lambda: True)
    found = registry.registry.__wrapped__()
    said = f"Plugin 'aged' of refine-eval-aged 3.0 is made for refine-eval {wanted}, and this is 0.1.0: install"
    assert (said in found.left_out) == (wanted is not None)
    assert capsys.readouterr().err.count("is made for refine-eval") == (wanted is not None)
