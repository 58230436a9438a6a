"""Fixtures for all tests."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from fuzz import DEFAULT_PROFILE
from hypothesis import settings
from reports import sendable

# Before torch is loaded, here and in the processes that tests start. Their models are so small that a second thread
# only costs time; and as the command line does, none spins while it waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


settings.load_profile(DEFAULT_PROFILE)  # `--hypothesis-profile` is heeded after this


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a worker of xdist reports can be sent, whatever the text is that made the test fail."""
    return sendable((yield))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real data sets (REFINE_EVAL_DATA, or shared/data beside the repository)."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("REFINE_EVAL_DATA") or beside)
    if not (folder / "gsm8k" / "test.jsonl").is_file() or not (folder / "svamp" / "SVAMP.json").is_file():
        pytest.skip(f"no data sets in {folder}: set REFINE_EVAL_DATA to a folder with gsm8k/ and svamp/")
    return folder


@pytest.fixture(scope="module", params=["smollm2", "qwen"])
def real_model(request: pytest.FixtureRequest) -> Path:
    """The folder of a real language model, made by `python benchmarks/real_models.py $REFINE_EVAL_MODELS`."""
    folder = Path(os.environ.get("REFINE_EVAL_MODELS", ""), request.param)
    if not (folder / "config.json").is_file():
        pytest.skip("no real models: set REFINE_EVAL_MODELS to a folder made by benchmarks/real_models.py")
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe of `chain_recipe`, where commands pretend."""
    from chain_recipe import FAKE, RECIPE

    from refine_eval.recipes import making

    monkeypatch.setattr(making, "program", lambda command, processes: FAKE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def no_server_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from refine_eval.engines.server_engine import KEY_VARIABLE

    monkeypatch.delenv(KEY_VARIABLE, raising=False)
