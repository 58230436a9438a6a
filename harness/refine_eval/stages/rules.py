"""Labels for critics, as GLoRe defines them (Havrilla et al., ICML 2024), each rule a function of its own.

ORM: every step end carries whether its sample's final answer is right. SORM: a step end is good if the right
answer is still reachable from it, found by rollouts of the student; three rules then clean the labels.
A prefix of length i is the first i steps; its label stands at index i - 1. The empty prefix has none.
"""

import contextlib
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from refine_eval.arithmetic import tokenize
from refine_eval.training_rows import IGNORE

_ANNOTATION = re.compile(r"<<[^<>]*>>")


def outcome_labels(steps: Sequence[str], right: bool) -> list[int]:
    """ORM labels: the sample's final outcome at every step end."""
    return [int(right)] * len(steps)


def monotone(labels: Sequence[int]) -> list[int]:
    """Rule 1: a positive prefix makes every earlier prefix positive."""
    last = max((index for index, label in enumerate(labels) if label == 1), default=-1)
    return [int(index <= last) for index in range(len(labels))]


def results_used(prefix: Sequence[str], continuation: Sequence[str]) -> bool:
    """Rule 2: whether each result computed in the prefix is used later in the solution.

    A result is the first number, or fraction, after the last "=" of a step. It is used if it stands in a later step,
    left of "=" or, where there is none, anywhere ("#### 20" is such a step). Numbers are compared by value, whatever
    unit or currency stands beside them, and GSM8K's <<48/2=24>> do not count. A continuation that verifies without
    using the results came to the right answer by ignoring the steps it should confirm, and does not count.
    """
    return first_unused([*prefix, *continuation]) >= len(prefix)


def first_unused(steps: Sequence[str]) -> int:
    """The first step whose result no later step uses, as `results_used` has it; `len(steps)` where all are used."""
    plain = [_ANNOTATION.sub("", step) for step in steps]
    places: dict[Fraction, set[int]] = defaultdict(set)
    for index, step in enumerate(plain):
        for value in _numbers(step.rpartition("=")[0] or step):
            places[value].add(index)
    last: dict[frozenset[Fraction], int] = {}
    for index, step in enumerate(plain):
        _, equals, stated = step.rpartition("=")
        if equals:
            result = frozenset(_numbers(stated, first=True))
            if result and result not in last:
                last[result] = max(set.intersection(*(places[value] for value in result)), default=-1)
            if not result or last[result] <= index:
                return index
    return len(plain)


def _numbers(text: str, first: bool = False) -> set[Fraction]:
    """The values in a text; with `first` that of its first number, or those of the two of its first fraction."""
    found: set[Fraction] = set()
    before, sign = "equals", 1
    for token in tokenize(text):
        if token.kind == "number":
            with contextlib.suppress(ValueError):  # too many digits to be one
                found.add(sign * token.value)
        elif first and found and token.text != "/":
            break
        # A minus after a number or a word takes away.
        sign = -1 if token.text == "-" and before in ("equals", "operator", "open") else 1
        before = token.kind
    return found


def balance(labels: Sequence[Sequence[int]], seed: int) -> list[list[int]]:
    """Rule 3: as many positives as negatives at each prefix length; the others are set to `IGNORE`.

    Without it a critic learns "early = good, late = bad". Which labels go is drawn from the seed.
    """
    rng = random.Random(seed)
    kept = [list(row) for row in labels]
    for position in range(max(map(len, kept), default=0)):
        rows: dict[int, list[int]] = {0: [], 1: []}
        for index, row in enumerate(kept):
            if position < len(row) and row[position] != IGNORE:
                rows[row[position]].append(index)
        fewer = min(len(rows[0]), len(rows[1]))
        for label in (0, 1):
            for index in rng.sample(rows[label], len(rows[label]) - fewer):
                kept[index][position] = IGNORE
    return kept
