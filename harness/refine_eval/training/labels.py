"""Labels for critics, as GLoRe defines them (Havrilla et al., ICML 2024), each rule a function of its own.

ORM: every step end carries whether its sample's final answer is right. SORM: a step end is good if the right
answer is still reachable from it, found by rollouts of the student; three rules then clean the labels.
A prefix of length i is the first i steps; its label stands at index i - 1. The empty prefix has none.
"""

import random
import re
from collections.abc import Sequence

from refine_eval.training.batches import IGNORE

ANSWER_MARK = "####"


def final_answer(steps: Sequence[str]) -> str | None:
    """What stands after "####" in the last step; None if the solution has no such line."""
    if not steps or not steps[-1].startswith(ANSWER_MARK):
        return None
    return steps[-1].removeprefix(ANSWER_MARK).strip()


def outcome_labels(steps: Sequence[str], right: bool) -> list[int]:
    """ORM labels: the sample's final outcome at every step end."""
    return [int(right)] * len(steps)


def monotone(labels: Sequence[int]) -> list[int]:
    """Rule 1: a positive prefix makes every earlier prefix positive."""
    last = max((index for index, label in enumerate(labels) if label == 1), default=-1)
    return [int(index <= last) for index in range(len(labels))]


def results_used(prefix: Sequence[str], continuation: Sequence[str]) -> bool:
    """Rule 2: whether each result computed in the prefix is used later in the solution.

    A result is the number after the last "=" of a step. It is used if it stands in a later step, left of
    "=" or in the answer line, whose number is one too. A continuation that verifies without using them came
    to the right answer by ignoring the steps it should confirm, and does not count.
    """
    solution = [*prefix, *continuation]
    for index, step in enumerate(prefix):
        _, equals, result = step.rpartition("=")
        if equals and not any(
            result.strip() in re.findall(r"\d+(?:\.\d+)?", later.rpartition("=")[0] or later)
            for later in solution[index + 1 :]
        ):
            return False
    return True


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
