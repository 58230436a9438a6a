"""Rates and their intervals; the paired test of two answers to the same problems.

scipy is imported where it is used: most commands show stored figures and start without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_Z95 = 1.959963984540054


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) for no observations."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, _Z95**2
    middle = share + z2 / (2 * n)
    spread = _Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = ((middle + side * spread) / (1 + z2 / n) for side in (-1, 1))
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p-value of the exact McNemar test: are gains and losses equally likely?"""
    if gained + lost == 0:
        return 1.0
    from scipy.special import bdtr  # what scipy.stats.binomtest sums up, and a second sooner imported

    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, adjusted: all together, they give a false alarm as rarely as one does (Holm 1979)."""
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted
