"""Generated pages are fresh, and every hook and option is documented."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reference_is_what_help_prints() -> None:
    module = generator()
    assert module.REFERENCE.read_text("utf-8") == module.reference(), "run: make docs"


def test_the_readme_shows_the_table_of_its_run_record() -> None:
    module = generator()
    page = module.README.read_text("utf-8")
    assert module.BEGIN in page
    assert page == module.readme(), "run: make docs"
