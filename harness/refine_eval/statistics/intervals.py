"""Shares and differences over problems and training seeds, with intervals that count both.

What is measured comes as `Cases`: for each problem a numerator and a denominator. An answer is (0 or 1, 1), three of a
draft's four steps are (3, 4), and a problem that says nothing is (0, 0). So everything is a ratio of sums over
problems, and problems (not steps, which stand or fall together) are what the intervals are over.

With one seed a share of plain yes and no has Wilson's interval. Everything else has the ratio's linearised one: z_i =
d + (a_i - d b_i) / mean(b) for a problem's (a_i, b_i) and the ratio d, which has the mean d and whose variance is that
of the ratio, clustered by problem.

Several drafts of each problem (repeats) are not seeds in this sense: they are drawn anew for every problem, so what is
alike in them is the problem alone. The mean over a problem's drafts counts as its case, which clusters by problem.

With S seeds over the same n problems, problems and seeds are crossed: a hard problem is hard for every seed. The
estimate is the mean of the seeds' ratios, and half of its interval's width

    sqrt( t(n - 1)^2 var_i(mean_s z_is) / n  +  t(S - 1)^2 max(0, var_s(mean_i z_is) / S - mse / (n S)) )

where t(f) is Student's quantile and mse the mean square of z_is - mean_s z_is - mean_i z_is + d with (n - 1)(S - 1)
degrees of freedom: the first term is the problems' and the part of chance that is new in each seed, the second what
seeds differ by beyond it, which few seeds tell badly. Each term has the quantile of its own degrees of freedom;
Satterthwaite's way of one for both left the truth out more often. With three seeds of 300 problems, whose seeds differ
by nothing up to a lot, this one holds it 92 to 98 times in a hundred (benchmarks/findings/interval_coverage.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from refine_eval.errors import RunError
from refine_eval.statistics.shares import mcnemar, wilson

Cases = Mapping[str, tuple[float, float]]
"""Problem id -> (what counts, out of how much)."""

MIN_CASES = 20
"""A ratio over fewer problems decides nothing: its interval leans on a variance that few cases cannot show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share or a difference of shares with its 95 % interval.

    `p_value` is of the question whether a difference is zero: exact (McNemar) with one seed of plain yes and no, else
    of the statistic that the interval comes from; 1 for shares, which answer no such question. `problems` counts those
    that say something in any seed, each once; `cases` sums their denominators over all seeds.
    """

    value: float
    low: float
    high: float
    p_value: float
    seeds: int
    problems: int
    cases: int

    def direction(self, of: float = 0.0) -> int:
        """1 or -1 where the whole interval is above or below `of`; 0 where it is not, or the problems are too few."""
        if self.problems < MIN_CASES:
            return 0
        return int(self.low > of) - int(self.high < of)


def rate(seeds: Sequence[Cases]) -> Estimate | None:
    """The mean of the seeds' shares; None where some seed has no case at all."""
    found = ratio(seeds)
    if found is None:
        return None
    low, high = max(0.0, found.low), min(1.0, found.high)
    if len(seeds) == 1 and _plain(seeds[0], (0, 1)):
        low, high = wilson(round(sum(a for a, _ in seeds[0].values())), found.cases)
    return replace(found, low=low, high=high, p_value=1.0)


def mean_bounds(cases: Cases) -> tuple[float, float]:
    """The 95 % interval of a share that each problem has, such as the mean over its drafts, of one; (0, 1) for none.

    One problem alone whose drafts differ says nothing of others: (0, 1) too.
    """
    found = rate([cases])
    if found is None or (len(cases) == 1 and 0 < found.value < 1):
        return 0.0, 1.0
    return found.low, found.high


def mean_change(one: Cases, other: Cases) -> float:
    """The p-value of the difference of two such shares; 1 where one problem alone cannot tell."""
    found = paired_difference([(one, other)])
    if found is None or (len(one) == 1 and not _plain(difference(one, other), (-1, 0, 1))):
        return 1.0
    return found.p_value


def paired_difference(pairs: Sequence[tuple[Cases, Cases]], names: str = "The two records") -> Estimate | None:
    """The first less the second, paired by problem, in each seed, and the mean over seeds; None without cases.

    RunError, beginning with `names`, where the two are not over the same problems.
    """
    seeds = [difference(one, other, names) for one, other in pairs]
    found = ratio(seeds)
    if found is None or len(seeds) > 1 or not _plain(seeds[0], (-1, 0, 1)):
        return found
    gained, lost = (sum(a == sign for a, _ in seeds[0].values()) for sign in (1, -1))
    return replace(found, p_value=mcnemar(gained, lost))


def difference(one: Cases, other: Cases, names: str = "The two records") -> Cases:
    """What the first has more than the second, problem by problem; a problem counts where it counts in both."""
    same_problems(list(one), list(other), names)
    both = {}
    for problem, (a, out_of) in one.items():
        b, also = other[problem]
        if out_of and also and out_of != also:
            raise RunError(f"{names} judge {problem} in {out_of:g} and in {also:g} cases, so they cannot be paired.")
        both[problem] = (a - b, out_of) if out_of and also else (0.0, 0.0)
    return both


def same_problems(one: Sequence[str], other: Sequence[str], names: str) -> None:
    """RunError, beginning with `names`, where these are not the same problems, each once."""
    if len(set(one)) == len(one) == len(other) and set(one) == set(other):
        return
    odd = sorted(set(one) ^ set(other))
    detail = f"{odd[0]} is in one only" if odd else "a problem stands twice in one"
    raise RunError(
        f"{names} are not over the same problems ({len(one):,} and {len(other):,}; {detail}): make both again with the "
        f"same task and the same --limit."
    )


def ratio(seeds: Sequence[Cases]) -> Estimate | None:
    """The mean of the seeds' ratios, of what need not be a share; None where some seed has no case at all."""
    totals = [sum(b for _, b in cases.values()) for cases in seeds]
    if not seeds or not all(totals):
        return None
    for cases in seeds[1:]:
        same_problems(list(seeds[0]), list(cases), "The records of two seeds")
    lines = [_linearised(cases, total, list(seeds[0])) for cases, total in zip(seeds, totals, strict=True)]
    value = math.fsum(math.fsum(line) / len(line) for line in lines) / len(lines)
    parts = _variances(lines)
    spread = _spread(parts, 0.05)
    return Estimate(
        value=value,
        low=value - spread,
        high=value + spread,
        p_value=_p_value(abs(value), parts),
        seeds=len(seeds),
        problems=len({problem for cases in seeds for problem, (_, b) in cases.items() if b > 0}),
        cases=round(sum(totals)),
    )


def seed_variance(seeds: Sequence[Cases]) -> float:
    """The part of the variance of the seeds' mean that more problems would not lessen; 0 of one seed."""
    lines = [_linearised(cases, sum(b for _, b in cases.values()), list(seeds[0])) for cases in seeds]
    return sum(variance for variance, _ in _variances(lines)[1:])


def _plain(cases: Cases, values: Sequence[int]) -> bool:
    return all(b in (0, 1) and a in values for a, b in cases.values())


def _linearised(cases: Cases, total: float, problems: Sequence[str]) -> list[float]:
    """A value for each problem whose mean is the ratio, and whose variance is the ratio's."""
    ratio = math.fsum(a for a, _ in cases.values()) / total
    mean = total / len(cases)
    return [ratio + (cases[p][0] - ratio * cases[p][1]) / mean for p in problems]


def _variances(lines: Sequence[Sequence[float]]) -> list[tuple[float, int]]:
    """The parts of the variance of the mean of all, with their degrees of freedom: see the module's formula."""
    seeds, problems = len(lines), len(lines[0])
    if problems < 2:
        return [(0.0, 1)]
    of_problem = [math.fsum(column) / seeds for column in zip(*lines, strict=True)]
    of_seed = [math.fsum(line) / problems for line in lines]
    mean = math.fsum(of_seed) / seeds
    by_problem = math.fsum((d - mean) ** 2 for d in of_problem) / (problems - 1) / problems
    if seeds == 1:
        return [(by_problem, problems - 1)]
    rest = math.fsum(
        (z - of_problem[i] - of_seed[s] + mean) ** 2 for s, line in enumerate(lines) for i, z in enumerate(line)
    ) / ((problems - 1) * (seeds - 1))
    by_seed = math.fsum((d - mean) ** 2 for d in of_seed) / (seeds - 1) / seeds
    beyond = max(0.0, by_seed - rest / (problems * seeds))
    return [(by_problem, problems - 1), (beyond, seeds - 1)]


def _spread(parts: Sequence[tuple[float, int]], level: float) -> float:
    """Half of the width of the interval that leaves out the truth with probability `level`."""
    return math.sqrt(sum(t_quantile(freedom, level) ** 2 * variance for variance, freedom in parts if variance))


def _p_value(distance: float, parts: Sequence[tuple[float, int]]) -> float:
    """The level whose interval just reaches over this distance."""
    if not any(variance for variance, _ in parts):
        return 0.0 if distance else 1.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _spread(parts, middle) < distance else (middle, high)
    return high


@functools.lru_cache(maxsize=4096)
def t_quantile(freedom: int, level: float = 0.05) -> float:
    """What |t| exceeds with probability `level`: at 5 % 1.96 for many degrees of freedom, 4.30 for two.

    Above 300 degrees of freedom it is the normal distribution's: the published figures were made with it, and at 5 %
    the two differ by 0.4 % at most.
    """
    from scipy.special import ndtri, stdtrit  # what scipy.stats.norm.ppf and t.ppf call, and 0.5 s sooner imported

    above = 1 - level / 2
    return float(ndtri(above) if freedom > 300 else stdtrit(freedom, above))
