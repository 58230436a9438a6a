"""Generated pages are fresh, and every hook and option is documented."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reference_is_what_help_prints() -> None:
    # In a process of its own: click keeps what an earlier call made of a command's --help.
    script = "import sys; sys.path.insert(0, 'docs'); import generate; sys.stdout.write(generate.reference())"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert generator().REFERENCE.read_text("utf-8") == done.stdout, "run: make docs"


def test_the_readme_shows_the_table_of_its_run_record() -> None:
    module = generator()
    page = module.README.read_text("utf-8")
    assert module.BEGIN in page
    assert page == module.readme(), "run: make docs"
