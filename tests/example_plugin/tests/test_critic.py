"""The contract, and what this critic is for."""

import pytest
from refine_eval.testing import component_checks, toy_candidates
from refine_eval_example.critic import LengthCritic, LengthOptions


@pytest.mark.parametrize("check", component_checks(LengthCritic), ids=str)
def test_contract(check):
    check()


def test_the_target_scores_best():
    candidates = toy_candidates(5)
    critic = LengthCritic(LengthOptions(target=5))
    scores = {len(c.solution.steps): k.score for c, k in zip(candidates, critic.critique(candidates), strict=True)}
    assert scores[5] == 1.0
    assert scores[5] > scores[4] > scores[3]
