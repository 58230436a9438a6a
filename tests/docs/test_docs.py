"""Generated pages are fresh, and the reference lists what there is: commands, errors, environment variables."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from refine_eval import errors
from refine_eval.engines.server_engine import KEY_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections() -> dict[str, str]:
    """The command reference: a command's words -> what its help is said to be."""
    page = (REFERENCE / "command-line.md").read_text("utf-8")
    return dict(re.findall(r"^## (refine-eval[a-z -]*)\n\n```\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("words", sections())
def test_the_command_reference_is_what_the_command_prints(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "refine_eval", *words.split()[1:], "--help"],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert sections()[words] == done.stdout.rstrip(), "run: make docs"


def test_the_command_reference_has_every_command() -> None:
    listed = {"refine-eval"}
    for words, text in sections().items():
        _, _, commands = text.partition("\nCommands:\n")
        listed |= {f"{words} {name}" for name in re.findall(r"^  ([a-z-]+)", commands, re.MULTILINE)}
    assert len(listed) > 10
    assert listed == set(sections()), "run: make docs"


def test_the_readme_shows_the_table_of_its_run_record(generator: ModuleType) -> None:
    assert generator.README.read_text("utf-8") == generator.readme(), "run: make docs"


def test_the_guide_to_analysis_shows_what_its_commands_print(generator: ModuleType) -> None:
    page = generator.ANALYSIS.read_text("utf-8")
    assert page == generator.analysis(), "run: make docs"
    assert "$ refine-eval compare" in page


def test_the_guide_to_judging_shows_the_published_market(generator: ModuleType) -> None:
    assert generator.JUDGING.read_text("utf-8") == generator.judging(), "run: make docs"


def test_the_guide_to_refiners_shows_the_published_controls(generator: ModuleType) -> None:
    assert generator.PROMPTED.read_text("utf-8") == generator.prompted(), "run: make docs"


def test_the_design_page_lists_every_module(generator: ModuleType) -> None:
    page = generator.DESIGN.read_text("utf-8")
    assert page == generator.design(), "run: make docs"
    assert "| `pipeline.py` |" in page


def test_every_module_says_what_it_is_for(generator: ModuleType) -> None:
    modules = [path for package in generator.PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(modules) > 90
    unclear = [str(path) for path in modules if not re.fullmatch(r".{20,}[.?!]", generator.first_line(path))]
    assert unclear == []
    assert not [str(path) for path in modules if "TODO" in generator.first_line(path)]


def test_every_room_asks_its_question(generator: ModuleType) -> None:
    package = ROOT / generator.PACKAGES[0]
    rooms = [path for path in package.rglob("__init__.py") if path.parent != package]
    assert len(rooms) > 12
    assert [str(room) for room in rooms if "?" not in generator.first_line(room)] == []


def test_the_errors_page_has_every_error_with_its_exit_code() -> None:
    page = (REFERENCE / "errors.md").read_text("utf-8")
    listed = {name: int(code) for name, code in re.findall(r"^\| `(\w+)` \| (\d+) \|", page, re.MULTILINE)}
    raised = {
        name: error.exit_code
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.RefineEvalError)
    }
    assert listed == raised


def test_the_environment_page_has_every_variable() -> None:
    page = (REFERENCE / "environment.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    read = {KEY_VARIABLE}
    for folder in ("harness", "plugins", "benchmarks", ".ci", "tests/engines"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".py", ""):
                text = path.read_text("utf-8")
                read |= set(re.findall(r"\bREFINE_EVAL_[A-Z_]+\b", text))
                read |= set(re.findall(r'environ\.setdefault\("([A-Z_]+)"', text))
    assert listed == read
