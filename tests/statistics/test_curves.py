"""Exact estimators of k of N samples, against going through every subset in every order as the selectors do."""

import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest

from refine_eval.data import AnswerGroup, Candidate, Critique, Problem, Solution, Trace
from refine_eval.errors import UsageError
from refine_eval.statistics import curves
from refine_eval.statistics.curves import (
    best_of,
    curve,
    doublings,
    majority,
    pass_at,
    weighted_majority,
)
from refine_eval.statistics.intervals import mean_bounds
from refine_eval.statistics.samples import SampleSet, refiner_samples
from refine_eval.statistics.shares import wilson


def drawn(seed: int, n: int) -> SampleSet:
    """Few answers and few scores, so that there are ties; some samples without an answer."""
    rng = random.Random(seed)
    answers = [rng.choice([None, "a", "b", "c", "d"]) for _ in range(n)]
    numbers = list(dict.fromkeys(answer for answer in answers if answer is not None))
    answer_right = tuple(rng.random() < 0.4 for _ in numbers)
    number_of = [None if answer is None else numbers.index(answer) for answer in answers]
    return SampleSet(
        right=tuple(rng.random() < 0.1 if at is None else answer_right[at] for at in number_of),
        scores=tuple(rng.choice([0.0, 0.1, 0.2, 0.3, 0.7]) for _ in range(n)),
        answers=tuple(number_of),
        answer_right=answer_right,
    )


def by_hand(samples: SampleSet, k: int, choose: Callable[[SampleSet, Sequence[int]], bool]) -> float:
    drawn = list(itertools.permutations(range(len(samples)), k))
    return sum(choose(samples, some) for some in drawn) / len(drawn)


def some_right(samples: SampleSet, drawn: Sequence[int]) -> bool:
    return any(samples.right[i] for i in drawn)


def best_right(samples: SampleSet, drawn: Sequence[int]) -> bool:
    return samples.right[max(drawn, key=lambda i: samples.scores[i])]  # max takes the first of equals


def voted_right(weights: Callable[[SampleSet, int], float]) -> Callable[[SampleSet, Sequence[int]], bool]:
    def choose(samples: SampleSet, drawn: Sequence[int]) -> bool:
        votes: dict[int, float] = {}
        for i in drawn:
            answer = samples.answers[i]
            if answer is not None:
                votes[answer] = votes.get(answer, 0) + weights(samples, i)
        return samples.answer_right[max(votes, key=lambda a: votes[a])] if votes else samples.right[drawn[0]]

    return choose


one_each = voted_right(lambda samples, i: 1)
by_score = voted_right(lambda samples, i: round(10 * samples.scores[i]))


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("seed", range(12))
def test_every_estimate_is_the_mean_over_all_subsets(seed: int, n: int) -> None:
    samples = drawn(seed, n)
    for k in range(1, n + 1):
        assert pass_at(n, sum(samples.right), k) == pytest.approx(by_hand(samples, k, some_right))
        assert best_of(samples, k) == pytest.approx(by_hand(samples, k, best_right))
        assert majority(samples, k) == pytest.approx((by_hand(samples, k, one_each), 0.0))
        assert weighted_majority(samples, k) == pytest.approx((by_hand(samples, k, by_score), 0.0))


def test_a_larger_set_is_counted_as_gone_through() -> None:
    for seed in range(5):
        samples = drawn(seed, 14)
        for k in (2, 7, 13):
            assert majority(samples, k) == pytest.approx(curves._share_of_subsets(samples, [1] * 14, k))


def test_two_votes_are_worth_one() -> None:
    for seed in range(5):
        samples = drawn(seed, 9)
        if None not in samples.answers:
            assert majority(samples, 2) == pytest.approx(majority(samples, 1))


def test_sixty_four_samples_are_voted_on_exactly() -> None:
    samples = drawn(1, 64)
    exact, error = majority(samples, 32)
    assert error == 0.0
    found, error = curves._share_of_subsets(samples, [1] * 64, 32)
    assert 0 < error < 0.012
    assert abs(found - exact) < 4 * error


def test_what_is_too_much_is_drawn_says_its_error_and_is_the_same_every_time() -> None:
    samples = drawn(1, 200)
    (share, error), again = weighted_majority(samples, 20), weighted_majority(samples, 20)
    assert (share, error) == again
    assert 0 < error <= math.sqrt(share * (1 - share) / curves._DRAWN)
    assert majority(samples, 20)[1] > 0
    assert majority(samples, 200)[1] == 0, "the whole set is one subset"


def test_weighted_votes_that_are_drawn_come_near_those_of_all_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = drawn(5, 12)
    exact, _ = weighted_majority(samples, 6)
    monkeypatch.setattr(curves, "MOST_SUBSETS", 10)
    share, error = weighted_majority(samples, 6)
    assert 0 < error < 0.012
    assert abs(share - exact) < 4 * error


def test_pass_at_k_is_the_published_estimator() -> None:
    """Chen et al. 2021 print 1 - prod(1 - k / i for i in n - c + 1 ... n)."""
    for n, c, k in [(200, 13, 10), (100, 1, 100), (10, 0, 3), (10, 10, 1), (5, 3, 4)]:
        printed = 1.0 if n - c < k else 1 - math.prod(1 - k / i for i in range(n - c + 1, n + 1))
        assert pass_at(n, c, k) == pytest.approx(printed)


def test_an_answer_is_right_where_its_best_spelling_is() -> None:
    groups = [AnswerGroup(members=(0, 2), best_spelt=2), AnswerGroup(members=(3,), best_spelt=3)]
    samples = SampleSet.of([False, False, True, False], [0.1, 0.2, 0.3, 0.4], groups)
    assert samples.answers == (0, None, 0, 1)
    assert samples.answer_right == (True, False)
    assert majority(samples, 4) == (1.0, 0.0)
    assert best_of(samples, 4) == 0.0


def test_a_curve_has_an_interval_over_problems() -> None:
    plain = SampleSet.of([True], [0.5], [AnswerGroup(members=(0,), best_spelt=0)])
    wrong = SampleSet.of([False], [0.5], [])
    (point,) = curve({f"t/{n}": [plain if n < 3 else wrong] for n in range(10)}, "maj", [1])
    assert (point.accuracy, point.low, point.high) == pytest.approx((0.3, *wilson(3, 10)))
    several = curve({f"t/{n}": [drawn(n, 8), drawn(100 + n, 8)] for n in range(30)}, "weighted-maj", doublings(8))
    assert [point.k for point in several] == [1, 2, 4, 8]
    assert all(0 <= point.low < point.accuracy < point.high <= 1 for point in several)
    assert several[0].high - several[0].low < several[-1].high - several[-1].low, "one sample differs more by chance"


def test_several_sets_of_one_problem_are_one_case() -> None:
    right = SampleSet.of([True], [0.5], [AnswerGroup(members=(0,), best_spelt=0)])
    wrong = SampleSet.of([False], [0.5], [])
    mixed = {f"t/{n}": [right, wrong] if n % 2 else [right, right] for n in range(20)}
    (point,) = curve(mixed, "pass", [1])
    assert point.accuracy == 0.75
    assert 0.05 < point.high - point.accuracy < 0.15, "twenty problems, each 0.5 or 1"


def test_the_interval_holds_the_truth_though_drafts_of_a_problem_are_alike() -> None:
    """Beta(1, 1) is how often a problem is answered rightly; of 100 problems there are four drafts each."""
    rng, held, held_by_counting_drafts = random.Random(0), 0, 0
    for _ in range(600):
        shares = [sum(rng.random() < p for _ in range(4)) / 4 for p in (rng.random() for _ in range(100))]
        low, high = mean_bounds({f"t/{n}": (share, 1.0) for n, share in enumerate(shares)})
        held += low <= 0.5 <= high
        spread = 1.96 * (0.25 / 400) ** 0.5
        held_by_counting_drafts += abs(sum(shares) / 100 - 0.5) <= spread
    assert 0.93 <= held / 600 <= 0.97
    assert held_by_counting_drafts / 600 < 0.9


def test_one_problem_says_nothing_of_others() -> None:
    assert mean_bounds({"t/0": (0.5, 1.0)}) == (0.0, 1.0)
    assert mean_bounds({"t/0": (1.0, 1.0)}) == wilson(1, 1)


@pytest.mark.parametrize("k", [0, 9, -1])
def test_a_k_of_more_samples_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=rf"k is {k}, and there are 8 samples of each problem: choose a k from 1 to 8"):
        curve({"t/0": [drawn(0, 8)], "t/1": [drawn(1, 9)]}, "pass", [1, k])
    with pytest.raises(UsageError, match="no problems"):
        curve({}, "pass", [1])


@pytest.mark.parametrize(
    ("n", "found"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])]
)
def test_ks_double_up_to_all(n: int, found: list[int]) -> None:
    assert doublings(n) == found


def sampled(number: int, *samples: tuple[int, str | None, bool, float]) -> Trace:
    """`samples`: number, answer, whether it is right, the choose critic's score."""
    problem = Problem(id=f"t/{number}", task="t", question="", prompt="")
    rows = [(-1, "1", False, 0.9), *samples]
    candidates = [
        Candidate(
            id="draft" if at < 0 else f"1.resample.{at}",
            problem=problem,
            solution=Solution(text=f"{at}", steps=(), answer=answer, finish_reason="stop", tokens=10 + at),
            origin="draft" if at < 0 else "refinement",
            component="student" if at < 0 else "resample",
            sample=max(at, 0),
            round=int(at >= 0),
        )
        for at, answer, _, _ in rows
    ]
    ids = [candidate.id for candidate in candidates]
    scores = [Critique(score=score, step_scores=()) for *_, score in rows]
    return Trace(
        problem=problem,
        candidates=tuple(candidates),
        critiques={name: {"choose": score} for name, score in zip(ids, scores, strict=True)},
        refined=True,
        selected={"vote": "draft"},
        correct={name: {"strict": row[2]} for name, row in zip(ids, rows, strict=True)},
        critic_tokens=4,
    )


TRACES = [
    sampled(0, (0, "1", False, 0.1), (1, "2", True, 0.2), (2, "2", True, 0.3)),
    sampled(1, (0, None, False, 0.5), (2, "7", True, 0.25)),
]


def test_samples_of_a_refiner_come_from_traces_and_a_missing_one_is_wrong() -> None:
    one, other = (sets[0] for sets in refiner_samples(TRACES, "resample", "strict").values())
    assert one.right == (False, True, True)
    assert one.answers == (0, 1, 1)
    assert other.right == (False, False, True)
    assert other.scores == (0.5, 0.0, 0.25)
    assert other.answers == (None, None, 0)
    point = curve({"t/0": [one], "t/1": [other]}, "best-of", [2])[0]
    assert point.tokens == pytest.approx((2 * (11 + 4 / 3) + 2 * (22 / 3 + 4 / 3)) / 2)
    assert curve({"t/0": [one]}, "maj", [2])[0].tokens == 2 * 11, "no critic"


def test_a_refiner_without_several_samples_of_each_problem_has_none() -> None:
    assert refiner_samples(TRACES, "local", "strict") == {}
    assert refiner_samples([sampled(0, (0, "1", True, 0.5))], "resample", "strict") == {}
    assert refiner_samples([*TRACES, sampled(2)], "resample", "strict") == {}
