"""Figures of critics on labelled solutions: counted by hand, against scikit-learn, and in simulation."""

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from labelled import OWN, judged
from sklearn.metrics import brier_score_loss, matthews_corrcoef, roc_auc_score

from refine_eval.errors import RunError
from refine_eval.statistics.intervals import Estimate
from refine_eval.statistics.judged import Judged, Thresholds, cases, f1, figures, mcc, share
from refine_eval.statistics.judged_tuning import best_thresholds, cross_fitted

BAD = (True, False, None)
RIGHT = (True, True, True)


def made_up(number: int, seed: int = 0, of_a_problem: int = 1) -> list[Judged]:
    """Solutions of one to six steps, judged by a critic that errs now and then."""
    rng, found = random.Random(seed), []
    for at in range(number):
        steps, wrong = rng.randint(1, 6), rng.random() < 0.5
        bad = rng.randrange(steps) if wrong else None
        good = [True if bad is None or step < bad else False if step == bad else None for step in range(steps)]
        scores = [min(1.0, max(0.0, rng.gauss(0.7 if label else 0.35, 0.2))) for label in good]
        correct = not wrong if rng.random() < 0.9 else wrong
        found.append(judged(at, good, scores, correct=correct, problem=str(at // of_a_problem)))
    return found


def test_counted_by_hand() -> None:
    found = figures(
        [
            judged(0, BAD, (0.9, 0.1, 0.2), correct=False),  # the first wrong step is found
            judged(1, BAD, (0.4, 0.1, 0.2), correct=False),  # one before it is named
            judged(2, BAD, (0.9, 0.8, 0.1), correct=False),  # one after it is named
            judged(3, BAD, (0.9, 0.8, 0.7), correct=True),  # none is named
            judged(4, RIGHT, (0.9, 0.8, 0.7), correct=True),
            judged(5, RIGHT, (0.3, 0.8, 0.9), correct=True),
        ]
    )
    assert (found.solutions, found.problems, found.wrong, found.right) == (6, 6, 4, 2)
    assert found.first_error is not None
    assert found.right_ones is not None
    assert (found.first_error.value, found.right_ones.value) == (1 / 4, 1 / 2)
    assert found.f1 is not None
    assert found.f1.value == pytest.approx(2 * (1 / 4) * (1 / 2) / (1 / 4 + 1 / 2))  # 1/3, as ProcessBench computes it
    assert found.f1.low < found.f1.value < found.f1.high
    assert found.steps is not None
    # Steps after the first wrong one have no label: 2 + 1 + 1 + 1 of 2 each, and 3 + 2 of 3 each.
    assert (found.steps.value, found.steps.cases) == (10 / 14, 14)
    assert found.accuracy is not None
    assert found.accuracy.value == 1
    assert found.last_minimum is not None
    assert found.last_minimum.value == 3 / 6
    assert found.undefined == {}


def test_equal_lowest_scores_do_not_sit_on_the_last_step() -> None:
    found = figures([judged(0, RIGHT, (0.2, 0.2, 0.2)), judged(1, RIGHT, (0.3, 0.4, 0.2)), judged(2, [True], [0.1])])
    assert found.last_minimum is not None
    assert (found.last_minimum.value, found.last_minimum.cases) == (1 / 2, 2)


def test_as_scikit_learn_has_them() -> None:
    some = made_up(200)
    found = figures(some)
    right, scores = [bool(each.solution.correct) for each in some], [each.critique.score for each in some]
    wrong, held = [each.solution.first_bad is not None for each in some], [each.named is not None for each in some]
    assert found.auc is not None
    assert found.auc.value == pytest.approx(roc_auc_score(right, scores))
    assert found.brier is not None
    assert found.brier.value == pytest.approx(brier_score_loss(right, scores))
    assert found.mcc is not None
    assert found.mcc.value == pytest.approx(matthews_corrcoef(wrong, held))
    assert found.mcc.low < found.mcc.value < found.mcc.high
    assert found.ece == pytest.approx(sum(b.drafts * abs(b.score - b.right) for b in found.bins) / 200)


def test_a_critic_that_never_names_a_step_holds_wrong_what_it_scores_low() -> None:
    flat = [
        Judged(
            solution=each.solution,
            critique=judged(0, RIGHT, (0.9,) * 3, score=each.critique.score).critique,
            thresholds=OWN,
        )
        for each in made_up(100)
        if len(each.solution.steps) == 3
    ]
    found = figures(flat)
    held = [each.critique.score < 0.5 for each in flat]
    assert found.mcc is not None
    assert found.mcc.value == pytest.approx(matthews_corrcoef([e.solution.first_bad is not None for e in flat], held))
    assert found.first_error is not None
    assert found.first_error.value == 0


@pytest.mark.parametrize(("correct", "word"), [(True, "right"), (False, "wrong")])
def test_one_kind_of_answers_has_no_auc_and_says_so(correct: bool, word: str) -> None:
    found = figures([judged(at, RIGHT, (0.9, 0.8, at / 10), correct=correct) for at in range(5)])
    assert found.auc is None
    assert found.undefined["auc"] == f"all final answers are {word}"
    assert found.undefined["f1"] == "no solution has a wrong step"
    assert found.accuracy is not None


def test_what_no_label_tells_is_not_defined() -> None:
    answers_alone = figures([judged(at, [None] * 3, (0.9,) * 3, correct=at < 2) for at in range(4)])
    assert (answers_alone.steps, answers_alone.f1, answers_alone.mcc) == (None, None, None)
    assert answers_alone.undefined["mcc"] == "no label says which steps are right"
    assert answers_alone.auc is not None
    steps_alone = figures([judged(0, BAD, (0.9, 0.1, 0.2)), judged(1, RIGHT, (0.9,) * 3)])
    assert (steps_alone.accuracy, steps_alone.auc, steps_alone.ece, steps_alone.bins) == (None, None, None, ())
    assert steps_alone.undefined["auc"] == "no label says whether final answers are right"
    all_wrong = figures([judged(at, BAD, (0.9, 0.1, 0.2), correct=False) for at in range(3)])
    assert all_wrong.undefined["right_ones"] == "every solution has a wrong step"
    same = figures([judged(0, BAD, (0.9,) * 3), judged(1, RIGHT, (0.9,) * 3)])
    assert same.undefined["mcc"] == "the critic's verdict is the same on all solutions"
    nothing = figures([judged(0, RIGHT, (0.0,) * 3, correct=True, unscored="too long")])
    assert (nothing.solutions, nothing.undefined) == (0, {"accuracy": "there is no solution that was scored"})


def test_solutions_of_one_problem_are_one_case() -> None:
    apart, together = (figures(made_up(400, of_a_problem=of)) for of in (1, 4))
    assert (apart.problems, together.problems) == (400, 100)
    for name in ("accuracy", "auc", "steps", "f1", "mcc"):
        one, other = getattr(apart, name), getattr(together, name)
        assert one.value == pytest.approx(other.value)
        assert one.cases == other.cases
    doubled = [judged(at // 2, RIGHT, (0.9, 0.9, 0.1), correct=at // 2 % 2 == 0) for at in range(100)]
    once, twice = figures(doubled[::2]).accuracy, figures(doubled).accuracy
    assert once is not None
    assert twice is not None
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=0.02)  # Wilson and linearised


def test_one_problem_says_nothing_of_others() -> None:
    found = figures([judged(at, RIGHT, (0.9, 0.9, at / 4), correct=at % 2 == 0, problem="one") for at in range(4)])
    for estimate in (found.accuracy, found.auc):
        assert estimate is not None
        assert (estimate.low, estimate.high) == (0, 1)


def test_one_solution_of_a_kind_says_nothing_of_others_of_its_kind() -> None:
    found = figures([judged(at, RIGHT, (0.9, 0.9, at / 9), correct=at > 0) for at in range(9)]).auc
    assert found is not None
    assert (found.value, found.low, found.high) == (1, 0, 1)


def test_all_right_is_no_certainty() -> None:
    several = share(cases([judged(at // 3, RIGHT, (0.9,) * 3, correct=True) for at in range(30)], lambda each: [1]))
    assert several is not None
    assert several.low == pytest.approx(0.722, abs=0.001)  # Wilson's of 10 of 10


def test_the_interval_of_f1_covers() -> None:
    """Of 4,000 simulated files of 160 solutions, some with shares near 1, 93 to 97 in 100 have the true F1 inside."""
    rng = random.Random(7)

    @functools.cache
    def of_eighty(right: int) -> Estimate:
        found = share({str(at): (float(at < right), 1.0) for at in range(80)})
        assert found is not None
        return found

    for a, b in ((0.4, 0.8), (0.15, 0.6), (0.9, 0.97)):
        truth, inside = 2 * a * b / (a + b), 0
        for _ in range(4_000):
            wrong, right = (of_eighty(sum(rng.random() < p for _ in range(80))) for p in (a, b))
            found = f1(wrong, right, 160)
            inside += found.low <= truth <= found.high
        assert 0.93 <= inside / 4_000 <= 0.97, (a, b, inside)


def test_the_interval_of_mcc_covers() -> None:
    """Of 500 simulated files of 150 solutions, 93 to 97.5 in 100 have the true correlation inside, near 1 too."""
    rng = random.Random(3)
    some = {
        (number, held, wrong): judged(number, (True, not wrong), (0.9, 0.1 if held else 0.9))
        for number in range(150)
        for held in (True, False)
        for wrong in (True, False)
    }
    for wrong_ones, found, alarms in ((0.4, 0.8, 0.15), (0.2, 0.95, 0.03)):
        tp, fp = wrong_ones * found, (1 - wrong_ones) * alarms
        fn, tn = wrong_ones - tp, 1 - wrong_ones - fp
        truth = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        inside = 0
        for _ in range(500):
            kinds = [rng.random() < wrong_ones for _ in range(150)]
            drawn = [
                some[number, rng.random() < (found if wrong else alarms), wrong] for number, wrong in enumerate(kinds)
            ]
            estimate = mcc(drawn, lambda each: each.named is not None)
            assert estimate is not None
            inside += estimate.low <= truth <= estimate.high
        assert 0.93 <= inside / 500 <= 0.975, (wrong_ones, inside)


def test_verdicts_that_are_all_right_are_no_certainty() -> None:
    some = [judged(at, (at % 5 > 0,), (0.9 if at % 5 else 0.1,)) for at in range(50)]
    found = figures(some).mcc
    assert found is not None
    assert (found.value, found.high) == (1, 1)
    assert 0.5 < found.low < 0.95
    turned = figures([judged(at, (at % 5 > 0,), (0.1 if at % 5 else 0.9,)) for at in range(50)]).mcc
    assert turned is not None
    assert (turned.value, turned.low, turned.high) == pytest.approx((-1, -1, -found.low))


def at(found: Sequence[Judged], steps: float, answers: float) -> tuple[float, int]:
    """F1 and right verdicts on final answers at some thresholds, counted plainly."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    accepted = 0
    for each in found:
        again = replace(each, thresholds=Thresholds(steps=steps, answers=answers))
        right[again.solution.first_bad is None].append(again.named == again.solution.first_bad)
        accepted += (again.critique.score >= answers) == again.solution.correct
    a, b = (sum(some) / len(some) for some in right.values())
    return 2 * a * b / (a + b) if a + b else 0.0, accepted


def test_no_threshold_is_better_than_the_best() -> None:
    for seed in range(3):
        some = made_up(100, seed)
        best = best_thresholds([(each.solution, each.critique) for each in some], "them", OWN)
        assert not best.named
        f1_at_best, accepted_at_best = at(some, best.steps, best.answers)
        assert f1_at_best > 0.3
        for tried in range(101):
            found, accepted = at(some, tried / 100, tried / 100)
            assert found <= f1_at_best + 1e-12
            assert accepted <= accepted_at_best


def test_a_half_never_sees_its_own_labels() -> None:
    some = made_up(120, of_a_problem=3)
    before = cross_fitted([(each.solution, each.critique) for each in some], OWN)
    half = {each.solution.problem for each in before if each.thresholds == before[0].thresholds}
    assert 0 < len(half) < 40
    # Other labels in this half: its own thresholds stay, those of the other half may not.
    turned = [
        judged(
            at,
            tuple(True for _ in each.solution.good) if each.solution.first_bad is not None else (False,),
            each.critique.step_scores if each.solution.first_bad is not None else each.critique.step_scores[:1],
            correct=not each.solution.correct,
            problem=each.solution.problem,
        )
        if each.solution.problem in half
        else each
        for at, each in enumerate(some)
    ]
    after = cross_fitted([(each.solution, each.critique) for each in turned], OWN)
    for one, other in zip(before, after, strict=True):
        assert (one.thresholds == other.thresholds) is (one.solution.problem in half)
    # Solutions of one problem are in one half.
    assert len({(each.solution.problem, each.thresholds) for each in before}) == 40


def test_labels_of_one_kind_choose_no_threshold() -> None:
    views = [(each.solution, each.critique) for each in made_up(20) if each.solution.first_bad is None]
    with pytest.raises(RunError, match="on the file: it takes solutions with a wrong step and solutions without"):
        best_thresholds(views, "the file", OWN)
    answers = [judged(at, [None], [0.5], correct=True) for at in range(3)]
    with pytest.raises(RunError, match="right and wrong final answers"):
        best_thresholds([(each.solution, each.critique) for each in answers], "the file", OWN)
    untuned = [judged(at, [None], [at / 4], correct=at > 1) for at in range(4)]
    found = best_thresholds([(each.solution, each.critique) for each in untuned], "the file", OWN)
    assert (found.steps, found.answers) == (0.5, 0.375)
