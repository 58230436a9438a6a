"""How good critics and refiners are, from the traces of a run and, where there is one, the exact truth of steps.

Critics are measured on the drafts. A draft's steps are its lines but the last, which is the answer's; a step is truly
good if no step up to it is wrong, so after the first mistake all are bad (the SORM's question: can the right answer
still be reached? GLoRe, arXiv 2402.10963, section 3). Most functions give `Cases`, from which `intervals` makes shares
and paired differences.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.data import DRAFT, Critique, Trace, first_below
from refine_eval.statistics.intervals import Cases, Estimate
from refine_eval.statistics.shares import wilson
from refine_eval.statistics.tuning import best

ROLES = ("choose", "when", "where")
BOOTSTRAPS = 1_000
_Z95 = 1.959963984540054

Scores = Mapping[str, Critique]
"""Problem id -> a critic's view of its draft."""


def role_of(settings: Mapping[str, Any], critic: str) -> str | None:
    """The role that this critic had in a run, by which traces name its scores; None: it had none."""
    return next((role for role in ROLES if settings[role]["name"] == critic), None)


def draft_scores(traces: Sequence[Trace], role: str) -> Scores:
    """The critique of each draft that was judged in this role.

    A gate may have kept some from the *where* critic, and a critic may have no score for some, which say nothing of it.
    """
    found = {t.problem.id: t.critiques[DRAFT][role] for t in traces if role in t.critiques.get(DRAFT, {})}
    return {problem_id: critique for problem_id, critique in found.items() if critique.unscored is None}


def step_cases(traces: Sequence[Trace], scores: Scores, first_bad: Mapping[str, int | None], threshold: float) -> Cases:
    """How many of each draft's steps the critic judges rightly. `first_bad`: problem id -> the first wrong line."""
    cases = {}
    for trace, values in _judged(traces, scores):
        bad = first_bad[trace.problem.id]
        right = [(value >= threshold) == (bad is None or at < bad) for at, value in enumerate(values)]
        cases[trace.problem.id] = (float(sum(right)), float(len(right)))
    return cases


def first_error_cases(
    traces: Sequence[Trace], scores: Scores, first_bad: Mapping[str, int | None], threshold: float
) -> Cases:
    """Of the drafts with a wrong step: is the first one under the threshold exactly the first wrong one?"""
    cases = {}
    for trace, values in _judged(traces, scores):
        bad = first_bad[trace.problem.id]
        found = first_below(values, threshold)
        wrong = bad is not None and bad < len(values)
        cases[trace.problem.id] = (float(wrong and found == bad), float(wrong))
    return cases


def place_cases(
    traces: Sequence[Trace], scores: Scores, first_bad: Mapping[str, int | None], threshold: float
) -> Cases:
    """Of the drafts that were judged: is the first step under the threshold the first wrong one, or none if none is?"""
    cases = {}
    for trace, values in _judged(traces, scores):
        found = first_below(values, threshold)
        bad = first_bad[trace.problem.id]
        true = bad if bad is not None and bad < len(values) else None
        cases[trace.problem.id] = (float(found == true), 1.0) if trace.problem.id in scores else (0.0, 0.0)
    return cases


def _judged(traces: Sequence[Trace], scores: Scores) -> list[tuple[Trace, Sequence[float]]]:
    """Each trace with the scores of its draft's steps; none where the draft was not judged."""
    return [
        (trace, scores[trace.problem.id].step_scores[:-1] if trace.problem.id in scores else ()) for trace in traces
    ]


def cross_fitted(by_threshold: Mapping[float, Cases]) -> Cases:
    """The cases at the best threshold, which each half of the problems has from the other half.

    So a critic can be measured at its best without having been tuned on what it is measured on. Halves are every other
    problem; of equally good thresholds the lowest is taken.
    """
    problems = list(next(iter(by_threshold.values())))
    chosen: dict[str, tuple[float, float]] = {}
    for half in (0, 1):
        others = problems[1 - half :: 2]
        chosen_at = best(dict(sorted(by_threshold.items())), others)
        chosen |= {p: by_threshold[chosen_at][p] for p in problems[half::2]}
    return {p: chosen[p] for p in problems}


def final_cases(traces: Sequence[Trace], scores: Scores, filter_name: str, threshold: float) -> Cases:
    """Whether the draft's score as a whole says rightly that its answer is right."""
    return {
        t.problem.id: (float((scores[t.problem.id].score >= threshold) == t.correct[DRAFT][filter_name]), 1.0)
        if t.problem.id in scores
        else (0.0, 0.0)
        for t in traces
    }


def brier_cases(traces: Sequence[Trace], scores: Scores, filter_name: str) -> Cases:
    """The squared distance of the draft's score from 1 where its answer is right, from 0 where not."""
    return {
        t.problem.id: ((scores[t.problem.id].score - t.correct[DRAFT][filter_name]) ** 2, 1.0)
        for t in traces
        if t.problem.id in scores
    }


def auc(traces: Sequence[Trace], scores: Scores, filter_name: str) -> Estimate | None:
    """How often a right draft outscores a wrong one, ties half, with DeLong's interval (1988); None without both."""
    sides: dict[bool, list[float]] = {True: [], False: []}
    for trace in traces:
        if trace.problem.id in scores:
            sides[trace.correct[DRAFT][filter_name]].append(scores[trace.problem.id].score)
    right, wrong = sorted(sides[True]), sorted(sides[False])
    if not right or not wrong:
        return None
    of_right = [_share_below(value, wrong) for value in right]
    of_wrong = [1 - _share_below(value, right) for value in wrong]
    value = math.fsum(of_right) / len(right)
    spread = _Z95 * math.sqrt(_variance_of_mean(of_right) + _variance_of_mean(of_wrong))
    return _estimate(value, value - spread, value + spread, len(right) + len(wrong))


def _share_below(value: float, others: Sequence[float]) -> float:
    return (bisect_left(others, value) + bisect_right(others, value)) / 2 / len(others)


def _variance_of_mean(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)


def ranking(traces: Sequence[Trace], role: str, filter_name: str) -> Estimate | None:
    """How often a right candidate outscores a wrong one of the same problem, ties half.

    Each problem with both counts once; candidates with one text are one. The interval is a percentile bootstrap over
    problems with a fixed seed. None where no problem has both.
    """
    shares = [share for trace in traces if (share := _in_order(trace, role, filter_name)) is not None]
    if not shares:
        return None
    rng = random.Random(0)
    means = sorted(math.fsum(rng.choices(shares, k=len(shares))) / len(shares) for _ in range(BOOTSTRAPS))
    cut = round(0.025 * BOOTSTRAPS)
    return _estimate(math.fsum(shares) / len(shares), means[cut], means[-cut - 1], len(shares))


def ranking_cases(traces: Sequence[Trace], role: str, filter_name: str) -> Cases:
    """What `ranking` is the mean of: for each problem with right and wrong candidates the share of pairs in order."""
    shares = {trace.problem.id: _in_order(trace, role, filter_name) for trace in traces}
    return {problem: (0.0, 0.0) if share is None else (share, 1.0) for problem, share in shares.items()}


def _in_order(trace: Trace, role: str, filter_name: str) -> float | None:
    sides: dict[bool, dict[str, float]] = {True: {}, False: {}}
    for candidate in trace.candidates:
        critique = trace.critiques.get(candidate.id, {}).get(role)
        if critique is not None and critique.unscored is None:
            sides[trace.correct[candidate.id][filter_name]][candidate.solution.text] = critique.score
    wrong, right = sorted(sides[False].values()), sides[True].values()
    if not wrong or not right:
        return None
    return math.fsum(_share_below(value, wrong) for value in right) / len(right)


def auc_cases(traces: Sequence[Trace], scores: Scores, filter_name: str) -> Cases | None:
    """Cases whose mean is `auc` and whose variance is DeLong's, so that seeds can be pooled; None without both classes.

    Each is the AUC and, times all over its class, how far its own part (the share of the other class that it is on the
    right side of) is from that.
    """
    found = {t.problem.id: t.correct[DRAFT][filter_name] for t in traces if t.problem.id in scores}
    parts = auc_of([(scores[p].score, right) for p, right in found.items()])
    if parts is None:
        return None
    of = dict(zip(found, parts, strict=True))
    return {t.problem.id: (of[t.problem.id], 1.0) if t.problem.id in of else (0.0, 0.0) for t in traces}


def auc_of(pairs: Sequence[tuple[float, bool]]) -> list[float] | None:
    """What each score with its truth adds to the AUC, as `auc_cases` has it: their mean is the AUC."""
    sides = {side: sorted(score for score, right in pairs if right is side) for side in (True, False)}
    if not sides[True] or not sides[False]:
        return None
    parts = [
        _share_below(score, sides[False]) if right else 1 - _share_below(score, sides[True]) for score, right in pairs
    ]
    value = math.fsum(part for part, (_, right) in zip(parts, pairs, strict=True) if right) / len(sides[True])
    return [
        value + len(pairs) / len(sides[right]) * (part - value) for part, (_, right) in zip(parts, pairs, strict=True)
    ]


def _estimate(value: float, low: float, high: float, problems: int) -> Estimate:
    return Estimate(
        value=value,
        low=max(0.0, low),
        high=min(1.0, high),
        p_value=1.0,
        seeds=1,
        problems=problems,
        cases=problems,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Drafts whose score is in a tenth: how many, their mean score, and the share that is right (Wilson)."""

    low: float
    high: float
    drafts: int
    score: float
    right: float
    right_low: float
    right_high: float


def reliability(pairs: Sequence[tuple[float, bool]], bins: int = 10) -> list[Bin]:
    """Score against truth in `bins` equal parts of [0, 1]; parts without a draft are left out."""
    found: list[Bin] = []
    for at in range(bins):
        inside = [(score, right) for score, right in pairs if min(bins - 1, math.floor(score * bins)) == at]
        if inside:
            right = sum(right for _, right in inside)
            low, high = wilson(right, len(inside))
            found.append(
                Bin(
                    low=at / bins,
                    high=(at + 1) / bins,
                    drafts=len(inside),
                    score=math.fsum(score for score, _ in inside) / len(inside),
                    right=right / len(inside),
                    right_low=low,
                    right_high=high,
                )
            )
    return found


def right_cases(traces: Sequence[Trace], filter_name: str, answer: str) -> Cases:
    """Whether each problem is answered rightly by "draft", "choice", "oracle" or a refiner alone, by its name.

    "choice" is the run's own, its first selector's; "oracle" is right where any candidate is.
    """
    return {t.problem.id: (float(_is_right(t, filter_name, answer)), 1.0) for t in traces}


def _is_right(trace: Trace, filter_name: str, answer: str) -> bool:
    if answer == "oracle":
        return any(grades[filter_name] for grades in trace.correct.values())
    if answer == "choice":
        return trace.correct[trace.choice.id][filter_name]
    return trace.correct[trace.alone(answer).id][filter_name]


def refiners_of(traces: Sequence[Trace]) -> list[str]:
    """The refiners that wrote something, by name."""
    return sorted({c.component for trace in traces for c in trace.candidates if c.id != DRAFT})


def repaired(before: Cases, after: Cases) -> Cases:
    """Of the problems that were wrong before: which are right after?"""
    return {p: (after[p][0], 1.0) if not right else (0.0, 0.0) for p, (right, _) in before.items()}


def broken(before: Cases, after: Cases) -> Cases:
    """Of the problems that were right before: which are wrong after?"""
    return {p: (1 - after[p][0], 1.0) if right else (0.0, 0.0) for p, (right, _) in before.items()}


def both(one: Cases, other: Cases) -> Cases:
    """What both count, out of the same."""
    return {p: (float(a and other[p][0]), of) for p, (a, of) in one.items()}


def only(one: Cases, other: Cases) -> Cases:
    """What the first counts and the other does not, out of the same."""
    return {p: (float(a and not other[p][0]), of) for p, (a, of) in one.items()}
