"""The public face: what plugins, notebooks and the docs import, that it is whole, and that asking for it is cheap."""

import ast
import importlib
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import refine_eval
import refine_eval.testing
import refine_eval.training

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "harness" / "refine_eval"
FACES = {face.__name__: face for face in (refine_eval, refine_eval.testing, refine_eval.training)}
LAZY = ("refine_eval", "refine_eval.training")
HEAVY = ("torch", "transformers", "lm_eval", "click", "numpy", "pandas")

WHOLE_MODULES = ("data", "costs", "training_rows", "formats", "plugin.benchmark", "plugin.components", "plugin.runtime")
"""All that is public in these is what plugins see, but for:"""
NOT_FOR_PLUGINS = {"RequestedText", "UNWRITTEN", "PREFERRED_FILTER"}
"""What a run keeps account of; what `without_text` says; and what the grader, who is no plugin, is told."""

AUTHORS = (
    *sorted((ROOT / "plugins").rglob("*.py")),
    *sorted((ROOT / "benchmarks" / "refine_eval_benchmarks").rglob("*.py")),
    *sorted((ROOT / "tests" / "example_plugin").rglob("*.py")),
)
"""The files of those who write plugins."""

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_PYTHON = re.compile(r"^```py(?:thon)?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def not_public(source: str) -> list[str]:
    """What a source imports or names of refine_eval beyond its public faces, wherever in it the import stands."""
    return [f"{module}.{name}" for module, name in imported(source) if not _is_public(module, name)]


def imported(source: str) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from refine_eval, and of each `refine_eval.name` in the code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and _ours(node.module or ""):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "refine_eval":
            yield "refine_eval", node.attr


def _ours(module: str) -> bool:
    return module.split(".")[0] == "refine_eval"


def _is_public(module: str, name: str) -> bool:
    return module in FACES and (name == "" or name in FACES[module].__all__)


@pytest.mark.parametrize("path", AUTHORS, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_import_from_the_faces_alone(path: Path) -> None:
    assert not_public(path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_docs_import_from_the_faces_alone(path: Path) -> None:
    for block in _PYTHON.findall(path.read_text("utf-8")):
        assert not_public(block) == []


@pytest.mark.parametrize(
    "source",
    [
        "from refine_eval.data import Candidate",
        "from refine_eval import registry",
        "from refine_eval import *",
        "import refine_eval.plugin.components",
        "def late():\n    from refine_eval.training.examples import collate",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from refine_eval.runs.runtime import RunRuntime",
        "import refine_eval\nrefine_eval.runs",
    ],
)
def test_what_is_not_public_is_seen(source: str) -> None:
    assert not_public(source)


def test_there_are_files_to_look_at() -> None:
    assert len(AUTHORS) > 25
    assert any(list(imported(path.read_text("utf-8"))) for path in AUTHORS if "example_plugin" in path.parts)
    assert any(_PYTHON.search(path.read_text("utf-8")) for path in PAGES)


def test_the_house_does_not_lean_on_its_face() -> None:
    """A room that imported from the face would import all rooms above it."""
    asked = {
        f"{path.relative_to(HOUSE)}: {name}"
        for path in HOUSE.rglob("*.py")
        if path.parent != HOUSE or path.name != "__init__.py"
        for module, name in imported(path.read_text("utf-8"))
        if module == "refine_eval" and name in refine_eval.__all__ and name not in ("arithmetic", "__version__")
    }
    assert asked == set()


@pytest.mark.parametrize("face", FACES)
def test_every_name_is_there_and_in_order(face: str) -> None:
    module = FACES[face]
    assert list(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=f"module '{face}' has no attribute 'Critik'"):
        module.Critik  # noqa: B018


@pytest.mark.parametrize("face", LAZY)
def test_type_checkers_are_told_the_same_names(face: str) -> None:
    tree = ast.parse(Path(str(FACES[face].__file__)).read_text("utf-8"))
    told = {
        (node.module or "", alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # what makes an import a re-export
    }
    homes = {(module, name) for module, names in FACES[face]._HOMES.items() for name in names}
    assert told == homes


@pytest.mark.parametrize("module", WHOLE_MODULES)
def test_all_that_plugins_see_is_public(module: str) -> None:
    assert set(defined(HOUSE / f"{module.replace('.', '/')}.py")) - NOT_FOR_PLUGINS <= set(refine_eval.__all__)


def test_all_errors_are_public() -> None:
    errors = importlib.import_module("refine_eval.errors")
    classes = {name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, Exception)}
    assert classes <= set(refine_eval.__all__)


def defined(path: Path) -> Iterator[str]:
    """The public names that a module defines itself."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found = [node.name]
        elif isinstance(node, ast.Assign):
            found = [target.id for target in node.targets if isinstance(target, ast.Name)]
        else:
            found = []
        yield from (name for name in found if not name.startswith("_") and len(name) > 1)  # "T": a type variable


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import refine_eval; dir(refine_eval)", ()),
        ("import refine_eval.training; dir(refine_eval.training)", ()),
        ("from refine_eval import Critic, Candidate, Benchmark, hookimpl, TokenClassifierCritic, UsageError", ()),
        ("from refine_eval import *", ("click",)),  # options are what click's options are made of
        ("from refine_eval.training import check_outcomes, balance, outcome_labels", ()),
    ],
)
def test_asking_for_names_loads_nothing_heavy(code: str, allowed: tuple[str, ...]) -> None:
    heavy = [name for name in HEAVY if name not in allowed]
    script = f"{code}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_records_are_pickled_by_their_rooms() -> None:
    solution = refine_eval.Solution(text="#### 7", steps=("#### 7",), answer="7", finish_reason="stop", tokens=3)
    assert pickle.loads(pickle.dumps(solution)) == solution
    assert pickle.loads(pickle.dumps(refine_eval.Critic)) is refine_eval.Critic
    assert refine_eval.Solution.__module__ == "refine_eval.data"
