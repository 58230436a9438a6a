"""Critics on vLLM for real, on a CPU: they score as with transformers. `.ci/vllm` runs these."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

if not os.environ.get("REFINE_EVAL_CI_VLLM"):
    pytest.importorskip("vllm", reason="vLLM is not installed here; .ci/vllm makes an environment with it")

import tiny_models as tiny
from vllm_served import SMALL

from refine_eval.critics.token_classifier import StepScorerOptions
from refine_eval.data import Candidate
from refine_eval.testing import toy_candidates
from refine_eval_orm.critic import OrmCritic
from refine_eval_prm.critic import PrmCritic, PrmOptions


def scores(critic_folder: Path | None, dtype: str, candidates: Sequence[Candidate]) -> list[list[tuple[float, ...]]]:
    """The step scores by transformers and by vLLM."""
    found = []
    model = str(critic_folder or "")
    for options in (
        StepScorerOptions(model=model),
        StepScorerOptions(model=model, engine="vllm", engine_args=SMALL),
    ):
        critic = OrmCritic(options)
        critic.open(replace(tiny.CPU, dtype=dtype))
        found.append([critique.step_scores for critique in critic.critique(candidates)])
        critic.close()
    return found


def test_the_bundled_critic_scores_as_with_transformers() -> None:
    plain, served = scores(None, "float32", toy_candidates(12))
    assert sum(map(len, plain)) > 20
    for one, other in zip(plain, served, strict=True):
        assert other == pytest.approx(one, abs=1e-4)


def test_a_critic_with_one_label_and_a_bias_in_bfloat16(tmp_path: Path) -> None:
    """Small weights: with the bundled critic's steep ones bfloat16 itself costs transformers up to 0.03."""
    import torch
    from transformers import LlamaForTokenClassification

    torch.manual_seed(3)
    config = tiny.llama_config(num_labels=1, hidden_size=64, initializer_range=0.1, dtype="bfloat16")
    model = LlamaForTokenClassification(config)
    with torch.no_grad():
        model.score.bias.fill_(3.0)
    folder = tiny.save(model, tmp_path / "critic")
    candidates = [
        tiny.candidate("how many apples has Ann now?", f"{n}+2={n + 2}\n3*4=12\n#### 12", n) for n in range(8)
    ]
    plain, served = scores(folder, "bfloat16", candidates)
    assert len({round(score, 3) for row in plain for score in row}) > 3
    assert min(map(min, plain)) > 0.7, "the bias counts"
    for one, other in zip(plain, served, strict=True):
        assert other == pytest.approx(one, abs=1e-2)


def test_the_contract_check_compares_with_transformers() -> None:
    from refine_eval.testing import component_checks

    options = StepScorerOptions(engine="vllm", engine_args={**SMALL, "dtype": "bfloat16"})
    (check,) = [check for check in component_checks(OrmCritic, options) if str(check) == "scores-equal-transformers"]
    check()
    assert "scores-equal-transformers" not in map(str, component_checks(OrmCritic))


def test_a_public_reward_model_whose_class_vllm_serves(tmp_path: Path) -> None:
    """Qwen2.5-Math-PRM's architecture with random weights, as `prm` reads it here and as vLLM does."""
    import reward_models as rm

    folder = rm.qwen_prm(tmp_path / "qwen-prm")
    candidates = [
        tiny.candidate(rm.QUESTION, text, number)
        for number, text in enumerate(["3 + 4 = 7.\nThe answer is 7.", "3 + 4 = 8.", "So 1 + 1 = 2.\n\nYes.\nIt is 2."])
    ]
    found = []
    for options in (PrmOptions(model=str(folder)), PrmOptions(model=str(folder), engine="vllm", engine_args=SMALL)):
        critic = PrmCritic(options)
        critic.open(tiny.CPU)
        found.append([critique.step_scores for critique in critic.critique(candidates)])
        critic.close()
    assert [len(scores) for scores in found[0]] == [2, 1, 3]
    for one, other in zip(*found, strict=True):
        assert other == pytest.approx(one, abs=1e-4)
