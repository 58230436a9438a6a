"""What k samples of a problem are worth, for k = 1, 2, 4, ... N, from one set of N: nothing is generated for it.

Each value is the mean over all subsets of k of the N samples, so it is what drawing only k would give on average:

- pass@k: some sample is right, 1 - C(n - c, k) / C(n, k) for c right ones (Chen et al. 2021, arXiv 2107.03374);
- best-of-k: the best-scored sample. Sorted by score, the sample of rank r (from 0) is the best of C(n - 1 - r, k - 1);
- maj@k: the answer that most samples have (Wang et al. 2022, arXiv 2203.11171), counted exactly up to N = 128;
- weighted-maj@k: the answer whose samples' scores have the highest sum.

Where nothing is counted, all subsets are gone through if there are at most 20,000 of them, else 4,000 that are drawn
with a fixed seed: then `error` is the standard error that comes of it.

Samples are in the order in which they were drawn and equals are told apart as the selectors do it: the first sample,
and the answer that appears first. A sample without an answer has no vote; where nobody has one, the first is handed in.
Scores count to six decimals, as records have them. The samples must be exchangeable, as independent ones are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from refine_eval.errors import UsageError
from refine_eval.statistics.intervals import Cases, rate
from refine_eval.statistics.samples import SampleSet

Way = Literal["pass", "best-of", "maj", "weighted-maj"]
WAYS: tuple[Way, ...] = ("pass", "best-of", "maj", "weighted-maj")

MOST_SUBSETS = 20_000
_DRAWN = 4_000
_MOST_COUNTED = 128
_SCORE_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """How good k samples are in one way: the accuracy with its 95 % interval, over problems.

    `tokens` are the written tokens a problem: k times a sample's mean, and for ways that read scores all that was
    written for critics. `error` is the standard error of the accuracy that comes from drawing subsets; 0 where all were
    gone through.
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


def _point(problems: Mapping[str, Sequence[SampleSet]], way: Way, k: int) -> CurvePoint:
    value = {"pass": _pass, "best-of": _best, "maj": majority, "weighted-maj": weighted_majority}[way]
    cases: dict[str, tuple[float, float]] = {}
    tokens = variance = 0.0
    for problem, sets in problems.items():
        found = [value(samples, k) for samples in sets]
        cases[problem] = (math.fsum(share for share, _ in found) / len(found), 1.0)
        variance += math.fsum(error**2 for _, error in found) / len(found) ** 2
        scoring = [samples.critic_tokens if way in ("best-of", "weighted-maj") else 0 for samples in sets]
        tokens += math.fsum(k * each.tokens + more for each, more in zip(sets, scoring, strict=True)) / len(sets)
    low, high = bounds(cases)
    return CurvePoint(
        way=way,
        k=k,
        accuracy=math.fsum(share for share, _ in cases.values()) / len(cases),
        low=low,
        high=high,
        tokens=tokens / len(cases),
        error=math.sqrt(variance) / len(cases),
    )


def bounds(cases: Cases) -> tuple[float, float]:
    """The 95 % interval of a mean over problems; one problem whose samples differ says nothing of others: (0, 1)."""
    found = rate([cases])
    if found is None or (len(cases) == 1 and 0 < found.value < 1):
        return 0.0, 1.0
    return found.low, found.high


def pass_at(n: int, right: int, k: int) -> float:
    """The share of the subsets of k that have one of the `right` ones among n (Chen et al. 2021, equation 1)."""
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def _pass(samples: SampleSet, k: int) -> tuple[float, float]:
    return pass_at(len(samples), sum(samples.right), k), 0.0


def best_of(samples: SampleSet, k: int) -> float:
    """The share of the subsets of k whose best-scored sample, of equals the first, is right."""
    n = len(samples)
    ranked = sorted(range(n), key=lambda i: (-_units(samples.scores[i]), i))
    best = sum(math.comb(n - 1 - rank, k - 1) for rank, i in enumerate(ranked) if samples.right[i])
    return best / math.comb(n, k)


def _best(samples: SampleSet, k: int) -> tuple[float, float]:
    return best_of(samples, k), 0.0


def _units(score: float) -> int:
    """A score in millionths: sums of whole numbers are exact."""
    return round(score * _SCORE_UNIT)


def majority(samples: SampleSet, k: int) -> tuple[float, float]:
    """The share of the subsets of k whose majority answer, of equals the one that appears first, is right; its error.

    Exact up to 128 samples: for each right answer, each number c of votes that it can have and each first sample i of
    these, the others must have fewer votes, or as many and all of them after i. How many subsets that are is a
    coefficient of a product of polynomials, one an answer, whose coefficients count the ways to have so many votes.
    """
    if (sure := _sure(samples, k)) is not None:
        return sure, 0.0
    n = len(samples)
    if n > _MOST_COUNTED:
        return _share_of_subsets(samples, [1] * n, k)
    members: list[list[int]] = [[] for _ in samples.answer_right]
    for i, answer in enumerate(samples.answers):
        if answer is not None:
            members[answer].append(i)
    won = sum(
        _subsets_won(members, number, c, k, n)
        for number, right in enumerate(samples.answer_right)
        if right
        for c in range(1, min(k, len(members[number])) + 1)
    )
    return (won + _right_without_votes(samples, k)) / math.comb(n, k), 0.0


def _subsets_won(members: Sequence[Sequence[int]], winner: int, c: int, k: int, n: int) -> int:
    """In how many subsets of k of n samples an answer wins with c votes."""
    own = members[winner]
    rivals = [other for number, other in enumerate(members) if number != winner and len(other) >= c]
    free = n - len(own) - sum(map(len, rivals))  # of answers that cannot have c votes, and of none
    if not rivals:
        return math.comb(len(own), c) * math.comb(free, k - c)
    # A polynomial is a whole number with n + 1 bits a coefficient, as none of a product is above 2**n.
    bits = n + 1
    kept = (1 << bits * (k - c + 1)) - 1
    fewer = [_packed([math.comb(len(rival), m) for m in range(c)], bits) for rival in rivals]
    others = _packed([math.comb(free, m) for m in range(min(free, k - c) + 1)], bits)
    won = 0
    for at, first in enumerate(own[: len(own) - c + 1]):
        ways = others
        for rival, polynomial in zip(rivals, fewer, strict=True):
            after = sum(i > first for i in rival)
            ways = ways * (polynomial + (math.comb(after, c) << bits * c)) & kept
        won += math.comb(len(own) - at - 1, c - 1) * (ways >> bits * (k - c))
    return won


def _packed(coefficients: Sequence[int], bits: int) -> int:
    return sum(value << bits * power for power, value in enumerate(coefficients))


def _right_without_votes(samples: SampleSet, k: int) -> int:
    """The subsets of k samples without an answer whose first one is graded right all the same."""
    silent = [i for i, answer in enumerate(samples.answers) if answer is None]
    return sum(math.comb(len(silent) - 1 - at, k - 1) for at, i in enumerate(silent) if samples.right[i])


def weighted_majority(samples: SampleSet, k: int) -> tuple[float, float]:
    """The share of the subsets of k whose answer with the highest sum of scores is right, and its standard error."""
    if (sure := _sure(samples, k)) is not None:
        return sure, 0.0
    return _share_of_subsets(samples, [_units(score) for score in samples.scores], k)


def _sure(samples: SampleSet, k: int) -> float | None:
    """What any vote comes to where all answers are right, or none is, or there is only one sample to vote."""
    if k == 1:
        handed_in = [
            right if answer is None else samples.answer_right[answer]
            for right, answer in zip(samples.right, samples.answers, strict=True)
        ]
        return sum(handed_in) / len(samples)
    if len(set(samples.answer_right)) > 1:
        return None
    silent = _right_without_votes(samples, k)
    without = math.comb(sum(answer is None for answer in samples.answers), k)
    voted = math.comb(len(samples), k) - without
    return (silent + voted * any(samples.answer_right)) / math.comb(len(samples), k)


def _share_of_subsets(samples: SampleSet, weights: Sequence[int], k: int) -> tuple[float, float]:
    """The share of subsets whose vote is right, by going through all of them or many; its standard error."""
    import numpy as np

    n, answers = len(samples), len(samples.answer_right)
    every = math.comb(n, k) <= MOST_SUBSETS
    taken = _all_subsets(n, k) if every else _drawn_subsets(samples, k)
    votes = np.zeros((n, answers))
    first = np.full((len(taken), answers), n)
    for i in reversed(range(n)):
        number = samples.answers[i]
        if number is not None:
            votes[i, number] = weights[i]
            first[taken[:, i] > 0, number] = i
    # Whole numbers below 2**53, so sums are exact: by weight, of equals the answer that appears first.
    rank = (taken @ votes) * (n + 1) + np.where(first < n, n - first, -n)
    right = np.asarray(samples.answer_right)[rank.argmax(axis=1)]
    silent = (first == n).all(axis=1)
    right[silent] = np.asarray(samples.right)[taken[silent].argmax(axis=1)]
    share = float(right.mean())
    return share, 0.0 if every else math.sqrt(share * (1 - share) / len(taken))


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
