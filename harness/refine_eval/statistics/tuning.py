"""Choosing a threshold by its outcomes on some problems, and halves of problems, each to be tuned on the other."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from refine_eval.statistics.intervals import Cases

V = TypeVar("V")

THRESHOLDS = tuple(at / 50 for at in range(51))
"""The values that are tried: 0, 0.02, ..., 1."""


def best(by_value: Mapping[V, Cases], problems: Collection[str], tokens: Mapping[V, float] | None = None) -> V:
    """The value of the highest sum of numerators over these problems, of equals that of fewest tokens, then the first.

    ValueError where there is no value.
    """
    cost = tokens or {}
    return max(by_value, key=lambda value: (sum(by_value[value][p][0] for p in problems), -cost.get(value, 0.0)))


def halves(problems: Iterable[str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """The problems in two halves, as equal as can be, by a hash of seed and id: the same in any order."""

    def place(problem: str) -> bytes:
        return hashlib.blake2b(f"{seed}\0{problem}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    order: Sequence[str] = sorted(set(problems), key=place)
    middle = (len(order) + 1) // 2
    return frozenset(order[:middle]), frozenset(order[middle:])
