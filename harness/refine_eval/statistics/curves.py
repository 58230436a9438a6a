"""What k samples of a problem are worth, for k = 1, 2, 4, ... N, from one set of N: nothing is generated for it.

Each value is the mean over all subsets of k of the N samples in all orders, so it is what drawing only k would give on
average:

- pass@k: some sample is right, 1 - C(n - c, k) / C(n, k) for c right ones (Chen et al. 2021, arXiv 2107.03374);
- best-of-k: the best-scored sample. C(n - a, k) - C(n - a - m, k) subsets have their best among the m samples of one
  score that a samples are above;
- maj@k: the answer that most samples have (Wang et al. 2022, arXiv 2203.11171), counted exactly up to N = 128;
- weighted-maj@k: the answer whose samples' scores have the highest sum.

Where nothing is counted, all subsets are gone through if there are at most 20,000 of them, else 2,000 that are drawn
with a fixed seed: then `error` is the standard error that comes of it.

Equals are told apart as the selectors do it, by what comes first; as each order is as likely, equal samples are handed
in equally often. A sample without an answer has no vote; where nobody has one, the first is handed in. Scores count to
six decimals, as records have them. The samples must be exchangeable, as independent ones are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from refine_eval.errors import UsageError
from refine_eval.statistics.intervals import mean_bounds
from refine_eval.statistics.samples import SampleSet

Way = Literal["pass", "best-of", "maj", "weighted-maj"]
WAYS: tuple[Way, ...] = ("pass", "best-of", "maj", "weighted-maj")
READING_SCORES: tuple[Way, ...] = ("best-of", "weighted-maj")

MOST_SUBSETS = 20_000
_DRAWN = 2_000
_MOST_COUNTED = 128
_SCORE_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """How good k samples are in one way: the accuracy with its 95 % interval, over problems.

    `tokens` are the written tokens a problem, for ways that read scores the critics' in proportion. `error` is the
    standard error of the accuracy that comes from drawing subsets; 0 where all were gone through.
    """

    way: Way
    k: int
    accuracy: float
    low: float
    high: float
    tokens: float
    error: float = 0.0


def doublings(n: int) -> list[int]:
    """1, 2, 4, ... and n."""
    return [*(2**power for power in range(n.bit_length()) if 2**power < n), n]


def curve(problems: Mapping[str, Sequence[SampleSet]], way: Way, ks: Sequence[int]) -> list[CurvePoint]:
    """The points of one curve. A problem may have several sets of samples, one for each of its drafts.

    The interval is `intervals.rate`'s, over problems: of a problem with several sets their mean counts. UsageError for
    a k that some problem has not so many samples for, and without problems.
    """
    if not problems:
        raise UsageError("There are no problems, so there is no curve of them.")
    least = min(len(samples) for sets in problems.values() for samples in sets)
    for k in ks:
        if not 1 <= k <= least:
            raise UsageError(
                f"k is {k:,}, and there are {least:,} samples of each problem: choose a k from 1 to {least:,}."
            )
    return [_point(problems, way, k) for k in ks]


def curve_cases(problems: Mapping[str, Sequence[SampleSet]], way: Way, k: int) -> dict[str, tuple[float, float]]:
    """For each problem the share of subsets of k whose answer is right, of one: a point of the curve is their mean."""
    return {problem: (share, 1.0) for problem, (share, _) in _shares(problems, way, k).items()}


def _shares(problems: Mapping[str, Sequence[SampleSet]], way: Way, k: int) -> dict[str, tuple[float, float]]:
    """For each problem the mean over its sets, and the variance of that by drawing subsets."""
    value = {"pass": _pass, "best-of": _best, "maj": majority, "weighted-maj": weighted_majority}[way]
    found = {problem: [value(samples, k) for samples in sets] for problem, sets in problems.items()}
    return {
        problem: (
            math.fsum(share for share, _ in of_sets) / len(of_sets),
            math.fsum(error**2 for _, error in of_sets) / len(of_sets) ** 2,
        )
        for problem, of_sets in found.items()
    }


def _point(problems: Mapping[str, Sequence[SampleSet]], way: Way, k: int) -> CurvePoint:
    shares = _shares(problems, way, k)
    cases = {problem: (share, 1.0) for problem, (share, _) in shares.items()}
    variance = math.fsum(each for _, each in shares.values())
    tokens = 0.0
    for sets in problems.values():
        scoring = math.fsum(samples.critic_tokens for samples in sets) if way in READING_SCORES else 0.0
        tokens += k * (math.fsum(samples.tokens for samples in sets) + scoring) / len(sets)
    low, high = mean_bounds(cases)
    return CurvePoint(
        way=way,
        k=k,
        accuracy=math.fsum(share for share, _ in cases.values()) / len(cases),
        low=low,
        high=high,
        tokens=tokens / len(cases),
        error=math.sqrt(variance) / len(cases),
    )


def pass_at(n: int, right: int, k: int) -> float:
    """The share of the subsets of k that have one of the `right` ones among n (Chen et al. 2021, equation 1)."""
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def _pass(samples: SampleSet, k: int) -> tuple[float, float]:
    return pass_at(len(samples), sum(samples.right), k), 0.0


def best_of(samples: SampleSet, k: int) -> float:
    """The share of the subsets of k whose best-scored sample is right."""
    n, above, best = len(samples), 0, Fraction()
    by_score: dict[int, list[bool]] = {}
    for score, right in zip(samples.scores, samples.right, strict=True):
        by_score.setdefault(_units(score), []).append(right)
    for _, equals in sorted(by_score.items(), reverse=True):
        subsets = math.comb(n - above, k) - math.comb(n - above - len(equals), k)
        best += subsets * Fraction(sum(equals), len(equals))
        above += len(equals)
    return float(best / math.comb(n, k))


def _best(samples: SampleSet, k: int) -> tuple[float, float]:
    return best_of(samples, k), 0.0


def _units(score: float) -> int:
    """A score in millionths: sums of whole numbers are exact."""
    return round(score * _SCORE_UNIT)


def majority(samples: SampleSet, k: int) -> tuple[float, float]:
    """The share of the subsets of k whose majority answer is right, and its standard error.

    Exact up to 128 samples: for each right answer and each number c of votes that it can have, the others must have
    fewer votes, or as many: if t of them have, it is first one time in 1 + t. How many subsets that are is a
    coefficient of a product of polynomials, one an answer, whose coefficients count the ways to have so many votes.
    """
    if (sure := _sure(samples, k)) is not None:
        return sure, 0.0
    n = len(samples)
    if n > _MOST_COUNTED:
        return _share_of_subsets(samples, [1] * n, k)
    sizes = [samples.answers.count(number) for number in range(len(samples.answer_right))]
    won = sum(
        (
            _subsets_won([*sizes[:number], *sizes[number + 1 :]], sizes[number], c, k, n)
            for number, right in enumerate(samples.answer_right)
            if right
            for c in range(1, min(k, sizes[number]) + 1)
        ),
        Fraction(),
    )
    return float((won + _right_without_votes(samples, k)) / math.comb(n, k)), 0.0


def _subsets_won(others: Sequence[int], own: int, c: int, k: int, n: int) -> Fraction:
    """In how many subsets of k of n samples an answer that `own` have wins with c votes; `others` have the others."""
    rivals = [size for size in others if size >= c]
    free = n - own - sum(rivals)  # of answers that cannot have c votes, and of none
    # A polynomial is a whole number with n + 1 bits a coefficient, as none of a product is above 2**n.
    bits = n + 1
    kept = (1 << bits * (k - c + 1)) - 1
    by_ties = [sum(math.comb(free, m) << bits * m for m in range(min(free, k - c) + 1))]
    for rival in rivals:
        fewer = sum(math.comb(rival, m) << bits * m for m in range(c))
        as_many = math.comb(rival, c) << bits * c
        by_ties = [
            ((ways * fewer if ways else 0) + tied * as_many) & kept
            for ways, tied in zip([*by_ties, 0], [0, *by_ties], strict=True)
        ]
    return math.comb(own, c) * sum(
        (Fraction(ways >> bits * (k - c), 1 + ties) for ties, ways in enumerate(by_ties)), Fraction()
    )


def _right_without_votes(samples: SampleSet, k: int) -> Fraction:
    """Of the subsets of k samples without an answer those whose first one is graded right all the same."""
    silent = [right for right, answer in zip(samples.right, samples.answers, strict=True) if answer is None]
    return Fraction(sum(silent), len(silent) or 1) * math.comb(len(silent), k)


def weighted_majority(samples: SampleSet, k: int) -> tuple[float, float]:
    """The share of the subsets of k whose answer with the highest sum of scores is right, and its standard error."""
    if (sure := _sure(samples, k)) is not None:
        return sure, 0.0
    return _share_of_subsets(samples, [_units(score) for score in samples.scores], k)


def _sure(samples: SampleSet, k: int) -> float | None:
    """What any vote comes to where all answers are right, or none is, or there is only one sample to vote."""
    subsets = math.comb(len(samples), k)
    if k == 1:
        voted = sum(answer is not None and samples.answer_right[answer] for answer in samples.answers)
    elif len(set(samples.answer_right)) < 2:
        without = math.comb(samples.answers.count(None), k)
        voted = (subsets - without) * any(samples.answer_right)
    else:
        return None
    return float((voted + _right_without_votes(samples, k)) / subsets)


def _share_of_subsets(samples: SampleSet, weights: Sequence[int], k: int) -> tuple[float, float]:
    """The share of subsets whose vote is right, by going through all of them or many; its standard error."""
    import numpy as np

    n, answers = len(samples), len(samples.answer_right)
    every = math.comb(n, k) <= MOST_SUBSETS
    taken = _all_subsets(n, k) if every else _drawn_subsets(samples, k)
    member = np.zeros((n, answers + 1))  # the last column is of samples without an answer
    member[range(n), [answers if answer is None else answer for answer in samples.answers]] = 1
    votes = taken @ member
    # Whole numbers below 2**53, so sums are exact.
    weight = taken @ (member * np.array(weights)[:, None])
    weight[votes == 0] = -1
    weight[:, answers] = np.where(votes[:, answers] == k, 0, -1)
    # Of equals each is first as often as it has members.
    first = votes * (weight == weight.max(axis=1, keepdims=True))
    silent = [right for right, answer in zip(samples.right, samples.answers, strict=True) if answer is None]
    right = [*samples.answer_right, sum(silent) / (len(silent) or 1)]
    shares = first @ np.array(right, dtype=float) / first.sum(axis=1)
    share = min(1.0, float(shares.mean()))
    return share, 0.0 if every else float(shares.std()) / math.sqrt(len(taken))


@functools.lru_cache(maxsize=8)
def _all_subsets(n: int, k: int) -> Any:
    """The subsets of k of n as rows of 0 and 1."""
    import itertools

    import numpy as np

    return _rows(n, np.array(list(itertools.combinations(range(n), k))))


def _drawn_subsets(samples: SampleSet, k: int) -> Any:
    """As above, only some; the samples seed the draw, so that each problem has its own."""
    import zlib

    import numpy as np

    draw = np.random.default_rng(zlib.crc32(repr(samples).encode()))
    n = len(samples)
    return _rows(n, draw.random((_DRAWN, n)).argpartition(k - 1, axis=1)[:, :k])


def _rows(n: int, subsets: Any) -> Any:
    import numpy as np

    taken = np.zeros((len(subsets), n))
    np.put_along_axis(taken, subsets, 1, axis=1)
    return taken
