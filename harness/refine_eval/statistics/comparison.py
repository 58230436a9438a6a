"""Two ways to answer, compared on the same problems: difference, interval, test, and how many problems would show it.

One answer a problem: the interval is Agresti and Min's (2005), Wald's with half a problem more in each of the four
cells, which does not shrink to nothing where no or few answers differ; the test is McNemar's, exact. Several seeds or
repeats: the interval and the test over problems and seeds of `intervals`, where a problem counts once however often it
was answered. Several comparisons are corrected together by `holm`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from refine_eval.statistics.intervals import (
    Cases,
    Estimate,
    difference,
    paired_difference,
    seed_variance,
    t_quantile,
)
from refine_eval.statistics.shares import holm

LEVEL = 0.05
"""The chance of calling a difference real where there is none."""

_Z95, _Z80 = 1.959963984540054, 0.8416212335729143


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The first way's share of right answers less the second's, over the same problems.

    `first`, `second` and `estimate` are shares in [0, 1] and their difference. `won` are the problems that the first
    answers rightly more often than the second (over seeds and repeats), `lost` the others that differ. `adjusted` is
    the p-value after Holm's correction for all comparisons made together, of one comparison its own. `needed` is the
    number of problems that would show such a difference with a power of 80 %: None where none was seen, or where
    seeds differ so much that no number of problems would do.
    """

    first: float
    second: float
    estimate: Estimate
    won: tuple[str, ...]
    lost: tuple[str, ...]
    adjusted: float
    needed: int | None

    @property
    def is_shown(self) -> bool:
        """Whether the difference is held to be real, at 5 % over all comparisons together."""
        return self.adjusted < LEVEL


def compare(pairs: Sequence[tuple[Cases, Cases]], names: str = "The two") -> Comparison:
    """One pair a seed, each with the mean of its repeats for every problem: (share right, 1).

    RunError, beginning with `names`, where the two are not over the same problems; ValueError for no problems.
    """
    found = paired_difference(pairs, names)
    if found is None:
        raise ValueError("there is nothing to compare")
    seeds = [difference(one, other, names) for one, other in pairs]
    by_problem = {p: math.fsum(cases[p][0] for cases in seeds) / len(seeds) for p in seeds[0]}
    won, lost = (tuple(p for p, d in by_problem.items() if sign * d > 0) for sign in (1, -1))
    if not (won or lost) or (len(seeds) == 1 and set(by_problem.values()) <= {-1.0, 0.0, 1.0}):
        low, high = _adjusted_interval(len(won), len(lost), len(by_problem))
        found = replace(found, low=low, high=high)
    else:
        # No test that flips the signs of problems can be surer: else one problem would prove what it likes.
        found = replace(found, p_value=max(found.p_value, min(1.0, 2.0 ** (1 - len(won) - len(lost)))))
    return Comparison(
        first=_mean([one for one, _ in pairs]),
        second=_mean([other for _, other in pairs]),
        estimate=found,
        won=won,
        lost=lost,
        adjusted=found.p_value,
        needed=_problems_needed(list(by_problem.values()), seed_variance(seeds), len(seeds)),
    )


def together(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with their p-values corrected for each other."""
    adjusted = holm([each.estimate.p_value for each in comparisons])
    return [replace(each, adjusted=p) for each, p in zip(comparisons, adjusted, strict=True)]


def _adjusted_interval(won: int, lost: int, problems: int) -> tuple[float, float]:
    """Agresti and Min's 95 % interval of (won - lost) / problems."""
    n, b, c = problems + 2, won + 0.5, lost + 0.5
    spread = _Z95 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return max(-1.0, (b - c) / n - spread), min(1.0, (b - c) / n + spread)


def _problems_needed(differences: Sequence[float], between_seeds: float, seeds: int) -> int | None:
    """For a power of 80 % at 5 % (Connor 1987), from the differences seen problem by problem.

    With yes and no, their mean square is the share of problems on which the two differ. What seeds differ by takes part
    of the room, with Student's quantile of their number.
    """
    of_seeds = (t_quantile(max(1, seeds - 1)) + _Z80) ** 2 * between_seeds
    mean = math.fsum(differences) / len(differences)
    square = math.fsum(d * d for d in differences) / len(differences)
    room = mean**2 - of_seeds
    if not mean or room <= 0:
        return None
    return math.ceil((_Z95 * math.sqrt(square) + _Z80 * math.sqrt(max(0.0, square - mean**2))) ** 2 / room)


def _mean(seeds: Sequence[Cases]) -> float:
    return math.fsum(math.fsum(a for a, _ in cases.values()) / len(cases) for cases in seeds) / len(seeds)
