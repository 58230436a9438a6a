"""How good a critic is on solutions whose steps somebody labelled, for any critic and any data alike.

final answers   the score of the whole against whether the final answer is right: accuracy, AUC, Brier, calibration
steps           each labelled step's score against its label
first error     of wrong solutions, those in which exactly the first wrong step is named
right ones      of solutions without a wrong step, those in which no step is named
F1              the harmonic mean of the two, as ProcessBench has it (Zheng et al. 2024, arXiv 2412.06559, section 3.3)
MCC             Matthews' correlation of "a step is wrong" with the critic's verdict, as MR-GSM8K has it (Zeng et al.
                2023, arXiv 2312.17080, section 3)

A score at or above the threshold means good. Solutions of one problem stand or fall together: they are one case, and
intervals are over problems (`intervals`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from refine_eval.data import Critique
from refine_eval.statistics.critic_quality import Bin, auc_of, reliability
from refine_eval.statistics.intervals import Cases, Estimate, mean_bounds, rate, ratio
from refine_eval.statistics.shares import wilson

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A solution and what is known of it.

    `good` says of each step whether it is right, None where nobody labelled it. `correct` is whether the final answer
    is right, None where nobody says. Solutions of one `problem` are one case; `source` names a part of the data.
    """

    id: str
    problem: str
    question: str
    steps: tuple[str, ...]
    good: tuple[bool | None, ...]
    correct: bool | None
    source: str | None = None

    @property
    def has_labels(self) -> bool:
        """Whether it is known if a step is wrong, and which one is the first."""
        return bool(self.good) and self.good[0] is not None

    @property
    def first_bad(self) -> int | None:
        """The first wrong step; None where there is none, or none is known."""
        return next((at for at, good in enumerate(self.good) if good is False), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Below which scores a critic's verdict is "wrong": of steps, and of final answers.

    `named`: the critic's own thresholds, so that the step that it named itself is the one it names.
    """

    steps: float
    answers: float
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A labelled solution, a critic's view of it, and the thresholds by which that is read."""

    solution: Labelled
    critique: Critique
    thresholds: Thresholds

    @property
    def named(self) -> int | None:
        """The step that the critic holds to be the first wrong one."""
        if self.thresholds.named:
            return self.critique.first_bad_step
        scores = enumerate(self.critique.step_scores)
        return next((at for at, score in scores if score < self.thresholds.steps), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticFigures:
    """A critic's figures on some solutions; None where the data do not define one, and `undefined` says why, by name.

    `ece` is the mean distance between score and share of right answers over ten bins of equal width; it has no interval
    (it is biased upwards in small samples), its `bins` do. `last_minimum`: of solutions with several steps, those whose
    lowest score is that of the last step alone.
    """

    solutions: int
    problems: int
    wrong: int
    right: int
    accuracy: Estimate | None
    auc: Estimate | None
    steps: Estimate | None
    first_error: Estimate | None
    right_ones: Estimate | None
    f1: Estimate | None
    mcc: Estimate | None
    brier: Estimate | None
    ece: float | None
    bins: tuple[Bin, ...]
    last_minimum: Estimate | None
    undefined: dict[str, str]


_NO_ANSWERS = "no label says whether final answers are right"
_NO_STEPS = "no label says which steps are right"


def figures(judged: Sequence[Judged], names_steps: bool | None = None) -> CriticFigures:
    """All figures of one critic; solutions that it left unscored are left out, and should be counted.

    A critic that never names a step (`names_steps`; None: as seen here) holds those solutions to be wrong whose score
    is below the threshold.
    """
    names = any(each.named is not None for each in judged) if names_steps is None else names_steps
    scored = [each for each in judged if each.critique.unscored is None]
    answered = [each for each in scored if each.solution.correct is not None]
    labelled = [each for each in scored if each.solution.has_labels]
    wrong = [each for each in labelled if each.solution.first_bad is not None]
    right = [each for each in labelled if each.solution.first_bad is None]
    first_error = share(cases(wrong, lambda each: [each.named == each.solution.first_bad]))
    right_ones = share(cases(right, lambda each: [each.named is None]))
    bins = reliability([(each.critique.score, bool(each.solution.correct)) for each in answered])
    found = CriticFigures(
        solutions=len(scored),
        problems=_problems(scored),
        wrong=len(wrong),
        right=len(right),
        accuracy=share(cases(answered, lambda each: [_accepts(each) == each.solution.correct])),
        auc=_auc(answered),
        steps=share(cases(labelled, _right_steps)),
        first_error=first_error,
        right_ones=right_ones,
        f1=f1(first_error, right_ones, _problems(labelled)) if first_error and right_ones else None,
        mcc=mcc(labelled, lambda each: each.named is not None if names else not _accepts(each)),
        brier=share(cases(answered, lambda each: [(each.critique.score - bool(each.solution.correct)) ** 2])),
        ece=math.fsum(b.drafts * abs(b.score - b.right) for b in bins) / len(answered) if answered else None,
        bins=tuple(bins),
        last_minimum=share(cases([each for each in scored if len(each.critique.step_scores) > 1], _last_is_lowest)),
        undefined={},
    )
    return replace(found, undefined=_why_undefined(found, answered, labelled))


def _why_undefined(found: CriticFigures, answered: Sequence[Judged], labelled: Sequence[Judged]) -> dict[str, str]:
    why: dict[str, str] = {}
    if not found.solutions:
        return {"accuracy": "there is no solution that was scored"}
    if not answered:
        why |= dict.fromkeys(("accuracy", "auc", "brier", "ece"), _NO_ANSWERS)
    elif found.auc is None:
        why["auc"] = f"all final answers are {'right' if answered[0].solution.correct else 'wrong'}"
    if not labelled:
        why |= dict.fromkeys(("steps", "first_error", "right_ones", "f1", "mcc"), _NO_STEPS)
    elif not found.wrong:
        why |= dict.fromkeys(("first_error", "f1", "mcc"), "no solution has a wrong step")
    elif not found.right:
        why |= dict.fromkeys(("right_ones", "f1", "mcc"), "every solution has a wrong step")
    elif found.mcc is None:
        why["mcc"] = "the critic's verdict is the same on all solutions"
    if found.last_minimum is None:
        why["last_minimum"] = "no solution has several steps"
    return why


def cases(judged: Iterable[Judged], values: Callable[[Judged], Sequence[float]]) -> Cases:
    """What counts and out of how much, by problem: the sum and the number of what `values` gives for each solution."""
    found: dict[str, tuple[float, float]] = {}
    for each in judged:
        counts, out_of = found.get(each.solution.problem, (0.0, 0.0))
        new = values(each)
        found[each.solution.problem] = (counts + math.fsum(new), out_of + len(new))
    return found


def share(found: Cases) -> Estimate | None:
    """A share with its interval; None without a case.

    Where all cases are alike, one problem's or all problems', nothing shows how they vary: then the interval is
    Wilson's of as many problems, however many cases each has.
    """
    estimate = rate([found])
    if estimate is None:
        return None
    low, high = mean_bounds(found)
    if low == high and estimate.value in (0, 1):
        low, high = wilson(round(estimate.value * estimate.problems), estimate.problems)
    return replace(estimate, low=low, high=high)


def _problems(judged: Iterable[Judged]) -> int:
    return len({each.solution.problem for each in judged})


def f1(first_error: Estimate, right_ones: Estimate, problems: int) -> Estimate:
    """The harmonic mean of two shares over `problems`.

    Its interval is made of theirs, which are of different solutions, by the method of variance estimates recovery (Zou
    and Donner 2008), which needs no normal distribution and so holds near 0 and 1.
    """
    a, b = first_error, right_ones
    value = harmonic(a.value, b.value)
    if value == 0:
        low, high = 0.0, harmonic(a.high, b.high)
    else:
        low = value - math.hypot(value - harmonic(a.low, b.value), value - harmonic(a.value, b.low))
        high = value + math.hypot(harmonic(a.high, b.value) - value, harmonic(a.value, b.high) - value)
    return Estimate(
        value=value,
        low=max(0.0, low),
        high=min(1.0, high),
        p_value=1.0,
        seeds=1,
        problems=problems,
        cases=a.cases + b.cases,
    )


def harmonic(a: float, b: float) -> float:
    """2ab / (a + b), 0 where both are."""
    return 2 * a * b / (a + b) if a + b else 0.0


def _accepts(each: Judged) -> bool:
    return each.critique.score >= each.thresholds.answers


def _right_steps(each: Judged) -> list[float]:
    pairs = zip(each.critique.step_scores, each.solution.good, strict=True)
    return [(score >= each.thresholds.steps) == good for score, good in pairs if good is not None]


def _last_is_lowest(each: Judged) -> list[float]:
    *others, last = each.critique.step_scores
    return [last < min(others)]


def _auc(answered: Sequence[Judged]) -> Estimate | None:
    parts = auc_of([(each.critique.score, bool(each.solution.correct)) for each in answered])
    if parts is None:
        return None
    of = dict(zip(map(id, answered), parts, strict=True))
    found = share(cases(answered, lambda each: [of[id(each)]]))
    right = sum(bool(each.solution.correct) for each in answered)
    if found is not None and min(right, len(answered) - right) < 2:  # one alone says nothing of others of its kind
        return replace(found, low=0.0, high=1.0)
    return found


_Cells = Mapping[tuple[bool, bool], float]
"""How many solutions are held to be wrong or not, and are wrong or not."""


def mcc(labelled: Sequence[Judged], held_wrong: Callable[[Judged], bool]) -> Estimate | None:
    """Matthews' correlation; None where a kind of solutions or of verdicts is missing.

    The interval is that of Fisher's z, the inverse hyperbolic tangent, whose distribution is less skewed near 1. Where
    all verdicts are right, or all wrong, the data show no variance: then it is that of half a solution more in each
    cell (Haldane 1956, Anscombe 1956).
    """
    kinds = {id(each): (held_wrong(each), each.solution.first_bad is not None) for each in labelled}
    sides = (True, False)
    count: _Cells = Counter(kinds.values())
    count = {(held, wrong): count.get((held, wrong), 0) for held in sides for wrong in sides}
    if not all(sum(n for cell, n in count.items() if cell[at] is side) for at in (0, 1) for side in sides):
        return None
    value, part = _correlation(count)
    found = ratio([cases(labelled, lambda each: [value + len(labelled) * part[kinds[id(each)]]])])
    assert found is not None
    varies = any(count[side, side] for side in sides) and any(count[side, not side] for side in sides)
    low, high = -1.0, 1.0  # one problem alone says nothing of others
    if found.problems > 1 and varies:
        low, high = _fisher(value, found.high - value)
    elif found.problems > 1:
        more = {cell: n + 0.5 for cell, n in count.items()}
        near, near_part = _correlation(more)
        ends = _fisher(near, _Z95 * math.sqrt(math.fsum(n * near_part[cell] ** 2 for cell, n in more.items())))
        low, high = (ends[0], 1.0) if value > 0 else (-1.0, ends[1])
    return replace(found, value=value if varies else round(value), low=low, high=high, p_value=1.0)


def _correlation(count: _Cells) -> tuple[float, _Cells]:
    """Matthews' correlation of a table without an empty row or column, and its gradient, by which it is linearised."""
    tp, fp, fn, tn = (count[cell] for cell in ((True, True), (True, False), (False, True), (False, False)))
    held, wrong, passed, right = tp + fp, tp + fn, tn + fn, tn + fp
    root = math.sqrt(held * wrong * passed * right)
    value = (tp * tn - fp * fn) / root
    return value, {
        (True, True): tn / root - value / 2 * (1 / held + 1 / wrong),
        (True, False): -fn / root - value / 2 * (1 / held + 1 / right),
        (False, True): -fp / root - value / 2 * (1 / passed + 1 / wrong),
        (False, False): tp / root - value / 2 * (1 / passed + 1 / right),
    }


def _fisher(value: float, spread: float) -> tuple[float, float]:
    """The ends of an interval whose half width, where it is symmetric, is `spread`."""
    middle, half = math.atanh(value), spread / (1 - value**2)
    return math.tanh(middle - half), math.tanh(middle + half)
