"""How good critics and refiners are, and the intervals of that, against hand-counted cases."""

import math
from dataclasses import replace

import pytest
from traces import judged, trace

from refine_eval.data import Trace
from refine_eval.errors import RunError
from refine_eval.statistics.critic_quality import (
    auc,
    both,
    brier_cases,
    broken,
    cross_fitted,
    draft_scores,
    final_cases,
    first_error_cases,
    only,
    ranking,
    reliability,
    repaired,
    right_cases,
    role_of,
    step_cases,
)
from refine_eval.statistics.intervals import MIN_CASES, paired_difference, rate, t_quantile
from refine_eval.statistics.shares import mcnemar, wilson

# Drafts of three, two and two steps and an answer line; the second is wrong from its second step on, the third in its
# answer alone; the fourth was never judged.
TRACES = [
    trace(0, {"draft": (["a", "b", "c", "#"], True)}, {"draft": {"choose": judged(0.9, 0.4, 0.5, 0.8)}}),
    trace(1, {"draft": (["a", "x", "#"], False)}, {"draft": {"choose": judged(0.9, 0.2, 0.6)}}),
    trace(2, {"draft": (["a", "b", "#"], False)}, {"draft": {"choose": judged(0.3, 0.9, 0.6)}}),
    trace(3, {"draft": (["a", "b", "#"], True)}, {}),
]
FIRST_BAD = {"apples/0": None, "apples/1": 1, "apples/2": 2, "apples/3": None}
SCORES = draft_scores(TRACES, "choose")


def test_steps_first_errors_and_answers_are_counted_as_by_hand() -> None:
    assert list(SCORES) == ["apples/0", "apples/1", "apples/2"]
    assert list(step_cases(TRACES, SCORES, FIRST_BAD, 0.5).values()) == [(2, 3), (2, 2), (1, 2), (0, 0)]
    assert list(first_error_cases(TRACES, SCORES, FIRST_BAD, 0.5).values()) == [(0, 0), (1, 1), (0, 0), (0, 0)]
    assert list(first_error_cases(TRACES, SCORES, FIRST_BAD, 0.95).values()) == [(0, 0), (0, 1), (0, 0), (0, 0)]
    assert list(final_cases(TRACES, SCORES, "strict", 0.5).values()) == [(1, 1), (0, 1), (0, 1), (0, 0)]
    brier = rate([brier_cases(TRACES, SCORES, "strict")])
    assert brier is not None
    assert brier.value == pytest.approx((0.2**2 + 0.6**2 + 0.6**2) / 3)


def test_texts_without_a_score_say_nothing_of_the_critic() -> None:
    none = replace(judged(0.0, 0.0), unscored="too long")
    odd = trace(9, {"draft": (["a", "#"], True), "1.local.0": (["b", "#"], False)}, {"draft": {"choose": none}})
    assert draft_scores([*TRACES, odd], "choose") == SCORES
    assert list(final_cases([odd], draft_scores([odd], "choose"), "strict", 0.5).values()) == [(0, 0)]
    assert auc([*TRACES, odd], draft_scores([*TRACES, odd], "choose"), "strict") == auc(TRACES, SCORES, "strict")
    one_side = replace(odd, critiques={"draft": {"choose": none}, "1.local.0": {"choose": judged(0.2, 0.3)}})
    assert ranking([one_side], "choose", "strict") is None


def test_auc_and_ranking_count_ties_half() -> None:
    found = auc(TRACES, SCORES, "strict")
    assert found is not None
    assert (found.value, found.problems) == (1.0, 3)
    ties = [
        trace(0, {"draft": (["a"], True)}, {"draft": {"choose": judged(0.6)}}),
        *TRACES[1:3],
        trace(4, {"draft": (["a"], False)}, {"draft": {"choose": judged(0.1)}}),
    ]
    found = auc(ties, draft_scores(ties, "choose"), "strict")
    assert found is not None
    assert found.value == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert auc(TRACES[1:3], SCORES, "strict") is None

    def candidates(number: int, *scores: float) -> Trace:
        texts = {"draft": (["a"], True), "1.global.0": (["b"], False), "1.local.0": (["c"], False)}
        return trace(number, texts, {c: {"choose": judged(s)} for c, s in zip(texts, scores, strict=True)})

    ranked = ranking([candidates(0, 0.5, 0.5, 0.4), candidates(1, 0.1, 0.2, 0.3), TRACES[0]], "choose", "strict")
    assert ranked is not None
    assert (ranked.value, ranked.problems) == (0.75 / 2, 2)
    assert (ranked.low, ranked.high) == (0.0, 0.75)


def test_reliability_has_a_bin_for_each_tenth_with_drafts() -> None:
    low, high = reliability([(0.0, False), (0.05, True), (1.0, True), (0.95, True)])
    assert (low.low, low.drafts, low.score, low.right) == (0.0, 2, 0.025, 0.5)
    assert (high.high, high.drafts, high.right) == (1.0, 2, 1.0)
    assert (high.right_low, high.right_high) == wilson(2, 2)


def test_repairs_and_their_overlap() -> None:
    before = {"a": (0.0, 1.0), "b": (0.0, 1.0), "c": (1.0, 1.0)}
    one, other = ({"a": (1.0, 1.0), "b": (float(b), 1.0), "c": (0.0, 1.0)} for b in (0, 1))
    first, second = repaired(before, one), repaired(before, other)
    assert first == {"a": (1, 1), "b": (0, 1), "c": (0, 0)}
    assert broken(before, one) == {"a": (0, 0), "b": (0, 0), "c": (1, 1)}
    assert both(first, second)["a"] == (1, 1)
    assert only(second, first) == {"a": (0, 1), "b": (1, 1), "c": (0, 0)}
    texts = {"draft": (["x"], False), "1.global.0": (["a"], True)}
    (case,) = [trace(0, texts, {}, chosen="draft")]
    answers = ("draft", "choice", "oracle", "global", "local")
    assert [right_cases([case], "strict", a)["apples/0"][0] for a in answers] == [0, 0, 1, 1, 0]


def test_a_threshold_is_chosen_on_the_other_half() -> None:
    low = {"a": (1.0, 1.0), "b": (0.0, 1.0), "c": (1.0, 1.0), "d": (0.0, 1.0)}
    high = {problem: (1 - right, 1.0) for problem, (right, _) in low.items()}
    # Each half is judged at what is best for the other, which is worst for it.
    assert {right for right, _ in cross_fitted({0.1: low, 0.9: high}).values()} == {0.0}


def test_which_critic_had_which_role() -> None:
    settings = {"when": {"name": "orm"}, "where": {"name": "sorm"}, "choose": {"name": "orm"}}
    assert [role_of(settings, name) for name in ("orm", "sorm", "calculator")] == ["choose", "where", None]


def test_one_seeds_intervals() -> None:
    plain = rate([{"a": (1.0, 1.0), "b": (0.0, 1.0), "c": (0.0, 0.0)}])
    assert plain is not None
    assert (plain.value, plain.low, plain.high, plain.problems) == (0.5, *wilson(1, 2), 2)
    assert rate([{"a": (0.0, 0.0)}]) is None
    # Two drafts of 2 and 4 steps, 2 and 1 right: 3/6; z = 1/2 + (a - b/2) / 3 = 5/6, 1/6; variance of the mean 1/9.
    clustered = rate([{"a": (2.0, 2.0), "b": (1.0, 4.0)}])
    assert clustered is not None
    assert clustered.value == pytest.approx(0.5)
    one, other = {"a": (2.0, 2.0), "b": (1.0, 4.0)}, {"a": (0.0, 2.0), "b": (0.0, 4.0)}
    paired = paired_difference([(one, other)])
    assert paired is not None
    assert paired.high - paired.value == pytest.approx(t_quantile(1) / 3)
    wins = {str(i): (float(i < 9), 1.0) for i in range(40)}
    losses = {str(i): (float(i in (8, 39)), 1.0) for i in range(40)}
    found = paired_difference([(wins, losses)])
    assert found is not None
    assert found.value == pytest.approx(7 / 40)
    assert found.p_value == mcnemar(8, 1)


def test_several_seeds_count_problems_and_seeds() -> None:
    none = {str(i): (0.0, 1.0) for i in range(4)}
    # Seeds that differ by a constant: all of the variance is theirs, and there are two of them.
    seeds = [dict.fromkeys(none, (value, 1.0)) for value in (0.2, 0.4)]
    found = paired_difference([(seed, none) for seed in seeds])
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert found.high - found.value == pytest.approx(t_quantile(1) * 0.1)
    # The same differences in each seed: problems alone count, as if there were one seed.
    same = {"0": (1.0, 1.0), "1": (0.0, 1.0), "2": (0.0, 1.0), "3": (0.0, 1.0)}
    thrice = paired_difference([(same, none)] * 3)
    assert thrice is not None
    assert thrice.high - thrice.value == pytest.approx(t_quantile(3) * math.sqrt(0.25 / 4))
    assert (thrice.seeds, thrice.problems, thrice.cases) == (3, 4, 12)
    few = dict.fromkeys(map(str, range(MIN_CASES - 1)), (1.0, 1.0))
    decided = rate([few] * 3)
    assert decided is not None
    assert decided.direction() == 0, "seeds do not make more problems of few"


def test_students_t() -> None:
    assert [round(t_quantile(n), 3) for n in (1, 2, 3, 10, 100)] == [12.706, 4.303, 3.182, 2.228, 1.984]
    assert t_quantile(5, 1.0) == pytest.approx(0.0)
    assert t_quantile(1, 0.5) == pytest.approx(1.0), "Cauchy's quartile"
    # Above 300 degrees of freedom the normal distribution, as the published figures have it.
    assert t_quantile(300) == pytest.approx(1.967903, abs=1e-6)
    assert t_quantile(301) == pytest.approx(1.959964, abs=1e-6)


def test_other_problems_cannot_be_paired() -> None:
    one, other = {"a": (1.0, 1.0), "b": (1.0, 1.0)}, {"a": (1.0, 1.0)}
    with pytest.raises(RunError, match=r"^P and Q are not over the same problems \(2 and 1; b is in one only\): make"):
        paired_difference([(one, other)], "P and Q")
