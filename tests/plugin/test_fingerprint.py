"""The default identity: an edit anywhere in a plugin's code changes it, and nothing else does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CRITIC = '''
from refine_eval.plugin.components import Critic
from {package}.rules import SCORE

class Ruled(Critic):
    """Scores by a rule that stands in another file."""

    name = "ruled"
'''


def identity(folder: Path, module: str = "ruled.critic", *, also: Path | None = None) -> str:
    """What a new process says the identity of a component is."""
    code = f"from {module} import Ruled; print(Ruled().identity())"
    path = os.pathsep.join([str(folder), *([str(also)] if also else []), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(folder: Path, package: str = "ruled") -> Path:
    """A plugin of three files."""
    place = folder.joinpath(*package.split("."))
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("")
    (place / "critic.py").write_text(CRITIC.format(package=package))
    (place / "rules.py").write_text("SCORE = 0.5\n")
    return place


@pytest.mark.parametrize("package", ["ruled", "several_plugins.ruled"])
def test_an_edit_in_a_second_file_changes_the_identity(tmp_path: Path, package: str) -> None:
    place = write(tmp_path, package)
    module = f"{package}.critic"
    before = identity(tmp_path, module)
    assert identity(tmp_path, module) == before
    (place / "rules.py").write_text("SCORE = 0.6\n")
    edited = identity(tmp_path, module)
    assert edited != before
    (place / "deeper").mkdir()
    (place / "deeper" / "more.py").write_text("")
    assert identity(tmp_path, module) not in (before, edited), "a module that is new counts too"


def test_what_is_no_code_of_the_plugin_does_not_change_it(tmp_path: Path) -> None:
    place = write(tmp_path, "several_plugins.ruled")
    before = identity(tmp_path, "several_plugins.ruled.critic")
    (place / "__pycache__").mkdir(exist_ok=True)
    (place / "__pycache__" / "left.py").write_text("")
    (place / "weights.json").write_text("{}")
    (place / ".#rules.py").symlink_to("someone@somewhere.4711")
    (place.parent / "neighbour").mkdir()
    (place.parent / "neighbour" / "__init__.py").write_text("")
    (tmp_path / "beside.py").write_text("")
    assert identity(tmp_path, "several_plugins.ruled.critic") == before


def test_it_is_the_same_wherever_the_plugin_is_installed(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "other")
    assert identity(tmp_path / "one") == identity(tmp_path / "other")


def test_a_plugin_of_one_module_is_its_file(tmp_path: Path) -> None:
    code = CRITIC.replace("from {package}.rules import SCORE\n", "")
    (tmp_path / "alone.py").write_text(code)
    before = identity(tmp_path, "alone")
    (tmp_path / "beside.py").write_text("")
    assert identity(tmp_path, "alone") == before
    (tmp_path / "alone.py").write_text(code + "\n# edited\n")
    assert identity(tmp_path, "alone") != before


def test_an_edit_of_a_component_that_it_inherits_from_changes_it(tmp_path: Path) -> None:
    base = write(tmp_path / "base")
    heir = tmp_path / "heir"
    heir.mkdir()
    (heir / "heir.py").write_text("from ruled import critic\n\n\nclass Ruled(critic.Ruled):\n    name = 'heir'\n")
    before = identity(heir, "heir", also=tmp_path / "base")
    assert identity(heir, "heir", also=tmp_path / "base") == before
    (base / "rules.py").write_text("SCORE = 0.6\n")
    assert identity(heir, "heir", also=tmp_path / "base") != before


def test_code_without_a_file_is_never_taken_for_what_it_was() -> None:
    code = CRITIC.replace("from {package}.rules import SCORE\n", "")
    code += "print(Ruled().identity() == Ruled().identity())\nprint(Ruled().identity())"
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(2)
    ]
    assert [lines[0] for lines in found] == ["True", "True"]
    assert found[0][1] != found[1][1]
