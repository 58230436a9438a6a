"""The table's rows and statistics, against hand-counted cases and textbook values."""

from dataclasses import replace

import pytest
from records import TRACES, ledger_trace

from refine_eval.data import Trace
from refine_eval.results.ledger import rows
from refine_eval.statistics.intervals import paired_difference, rate
from refine_eval.statistics.shares import mcnemar, wilson


def test_rows_count_answers_changes_and_costs() -> None:
    draft, local, rerank, gate = rows(TRACES, "strict", gold={"gate"}, decides_on_draft_alone={"gate"})
    assert [r.name for r in (draft, local, rerank, gate)] == ["draft", "local", "rerank", "gate"]
    assert [r.correct["strict"] for r in (draft, local, rerank, gate)] == [2, 3, 3, 2]
    assert {r.correct["flexible"] for r in (draft, local, rerank, gate)} == {4}
    assert [(r.gained, r.lost) for r in (local, rerank, gate)] == [(2, 1), (1, 0), (1, 1)]
    # local alone: draft + one refinement where there is one; rerank pays for all; gate only where it looked on
    assert draft.tokens == 40 / 4
    assert local.tokens == (20 + 20 + 20 + 10 + 7) / 4
    assert rerank.tokens == (20 + 20 + 30 + 10 + 7) / 4
    assert gate.tokens == (10 + 20 + 30 + 10 + 7) / 4
    assert draft.seconds == 4.0
    assert rerank.seconds == 8 + 4 * 0.5
    assert [r.needs_gold for r in (draft, local, rerank, gate)] == [False, False, False, True]
    assert draft.accuracy("strict") == 0.5


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (0, 10, 0.0, 0.2775), (0, 0, 0, 1)]
)
def test_wilson_interval(successes: int, n: int, low: float, high: float) -> None:
    """81 of 263: Newcombe (1998), table I, method 3."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(10, 0) == pytest.approx(2 / 2**10)
    assert mcnemar(3, 9) == mcnemar(9, 3) == pytest.approx(0.14599609375)
    assert mcnemar(2000, 100) < 1e-100


def repeated(number: int, repeat: int, draft: bool, refined: bool) -> Trace:
    trace = ledger_trace(number, {"draft": draft, "1.local.0": refined}, {"rerank": "1.local.0"})
    problem = replace(trace.problem, id=trace.problem.id + (f"@{repeat}" if repeat else ""), repeat=repeat)
    return replace(trace, problem=problem)


def test_several_drafts_count_together_and_their_interval_is_over_problems() -> None:
    """Of problem n the drafts are right n % 3 times of 2; the refinement of one draft more is right."""
    traces = [repeated(n, r, n % 3 > r, n % 3 >= r) for n in range(30) for r in range(2)]
    draft, local, _ = rows(traces, "strict")
    assert (draft.problems, draft.drafts, draft.correct) == (30, 2, {"strict": 30, "flexible": 60})
    assert draft.accuracy("strict") == 0.5
    assert (local.gained, local.lost) == (20, 0)
    shares = {f"t/{n}": (n % 3 / 2, 1.0) for n in range(30)}
    refined = {f"t/{n}": (min(2, n % 3 + 1) / 2, 1.0) for n in range(30)}
    for row, cases in ((draft, shares), (local, refined)):
        of_shares = rate([cases])
        assert of_shares is not None
        assert (row.low, row.high) == (of_shares.low, of_shares.high)
    difference = paired_difference([(refined, shares)])
    assert difference is not None
    assert local.p_value == difference.p_value
    assert draft.high - draft.low > 1.2 * (wilson(30, 60)[1] - wilson(30, 60)[0]), "two drafts are not two problems"
    assert draft.tokens == 10


def test_one_problem_with_several_drafts_tells_nothing_of_others() -> None:
    draft, local, _ = rows([repeated(0, r, r == 0, True) for r in range(4)], "strict")
    assert (draft.low, draft.high, local.p_value) == (0.0, 1.0, 1.0)
