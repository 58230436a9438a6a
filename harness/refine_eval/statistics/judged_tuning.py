"""A critic's thresholds, chosen on labelled solutions: never on those that it is then measured on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf

from refine_eval.data import Critique
from refine_eval.errors import RunError
from refine_eval.statistics.judged import Judged, Labelled, Thresholds, harmonic
from refine_eval.statistics.tuning import halves

Views = Sequence[tuple[Labelled, Critique]]
"""Labelled solutions, each with a critic's view of it."""

_HALVES_SEED = 0


def best_thresholds(views: Views, where: str, untuned: Thresholds) -> Thresholds:
    """The thresholds with the best F1 of first errors, and with the most right verdicts on final answers.

    Of equally good ones the lowest. Where there are no labels of steps, or of answers, that of `untuned` stays.
    RunError, naming `where`, for labels of one kind only, by which any threshold would be as good as another.
    """
    scored = [(solution, critique) for solution, critique in views if critique.unscored is None]
    steps = [(solution.first_bad, critique) for solution, critique in scored if solution.has_labels]
    answers = [(solution.correct, critique.score) for solution, critique in scored if solution.correct is not None]
    _check_kinds([bad is None for bad, _ in steps], where, "solutions with a wrong step and solutions without")
    _check_kinds([bool(right) for right, _ in answers], where, "right and wrong final answers")
    return Thresholds(
        steps=_best_of_steps(steps) if steps else untuned.steps,
        answers=_best_of_answers(answers) if answers else untuned.answers,
    )


def cross_fitted(views: Views, untuned: Thresholds) -> list[Judged]:
    """The solutions, each read by the thresholds that are best on the other half of the problems."""
    parts = halves((solution.problem for solution, _ in views), _HALVES_SEED)
    found: dict[str, Thresholds] = {}
    for half, other in (parts, parts[::-1]):
        tuned = best_thresholds([view for view in views if view[0].problem in other], "half of the problems", untuned)
        found |= dict.fromkeys(half, tuned)
    return [Judged(solution=s, critique=c, thresholds=found[s.problem]) for s, c in views]


def _check_kinds(kinds: Sequence[bool], where: str, wanted: str) -> None:
    if len(set(kinds)) == 1:
        raise RunError(f"Thresholds cannot be chosen on {where}: it takes {wanted}, and there is one kind only.")


def _best_of_steps(views: Sequence[tuple[int | None, Critique]]) -> float:
    """A solution is judged rightly above one threshold and up to another: above the score of its first wrong step and
    up to the lowest one before it; without a wrong step up to the lowest of all."""
    bounds: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for bad, critique in views:
        low = -inf if bad is None else critique.step_scores[bad]
        high = min(critique.step_scores[:bad], default=inf)
        bounds[bad is not None].append((low, max(low, high)))
    lows = {wrong: sorted(low for low, _ in found) for wrong, found in bounds.items()}
    highs = {wrong: sorted(high for _, high in found) for wrong, found in bounds.items()}

    def share(wrong: bool, threshold: float) -> float:
        return (bisect_left(lows[wrong], threshold) - bisect_left(highs[wrong], threshold)) / len(lows[wrong])

    values = (*lows[True], *highs[True], *highs[False])
    return max(_tried(values), key=lambda threshold: harmonic(share(True, threshold), share(False, threshold)))


def _best_of_answers(answers: Sequence[tuple[bool | None, float]]) -> float:
    right, wrong = (sorted(score for correct, score in answers if correct is side) for side in (True, False))
    return max(
        _tried((*right, *wrong)),
        key=lambda threshold: len(right) - bisect_left(right, threshold) + bisect_left(wrong, threshold),
    )


def _tried(values: Iterable[float]) -> list[float]:
    """A threshold between each two values that follow each other, and 0, below which there is none."""
    ends = sorted({0.0, 1.0, *(value for value in values if 0 <= value <= 1)})
    return [0.0, *((a + b) / 2 for a, b in pairwise(ends))]
