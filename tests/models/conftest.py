"""A tiny language model, and a copy of its folder that a test may spoil."""

import shutil
from pathlib import Path

import pytest
import tiny_models as tiny


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "student"))
