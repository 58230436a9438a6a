"""Labels for critics, as GLoRe defines them (Havrilla et al., ICML 2024), each rule a function of its own.

ORM: every step end carries whether its sample's final answer is right. SORM: a step end is good if the right
answer is still reachable from it, found by rollouts of the student; three rules then clean the labels.
A prefix of length i is the first i steps; its label stands at index i - 1. The empty prefix has none.
"""

import random
import re
from collections.abc import Callable, Sequence

from refine_eval.training.batches import IGNORE

ANSWER_MARK = "####"

Continue = Callable[[Sequence[tuple[str, Sequence[str]]], int], Sequence[Sequence[str]]]
"""Writes one continuation (steps) of each (question, steps so far); the number tells rounds apart."""


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


def rollout_labels(
    samples: Sequence[tuple[str, Sequence[str]]],
    is_right: Callable[[int, Sequence[str]], bool],
    write: Continue,
    rollouts: int = 8,
) -> tuple[list[list[int]], dict[tuple[int, int], tuple[str, ...]]]:
    """SORM labels of wrong samples before rule 3: a prefix is good if one of `rollouts` continuations verifies it.

    `samples` are (question, steps), each with a wrong final answer; `is_right(n, steps)` grades a whole
    solution of sample n's question. Under rule 1 the good prefixes of a sample are those up to some length,
    so that length is found by bisection; each length tried is continued in rounds, one continuation a round,
    until its first success (rule 2 applied). All samples go through a round together. Lengths run from 0,
    the bare question, which gives the local refiner its data for drafts that go wrong in the first step.

    Returns the labels of each sample and, for each prefix (sample, length) verified by a rollout, the
    continuation that did.
    """
    verified: dict[tuple[int, int], tuple[str, ...]] = {}
    low = [-1] * len(samples)  # the longest length known to be good
    high = [len(steps) for _, steps in samples]  # the shortest known to be bad: the wrong solution itself
    turn = 0
    while unsettled := [n for n in range(len(samples)) if high[n] - low[n] > 1]:
        trying = {n: (low[n] + high[n]) // 2 for n in unsettled}
        open_samples = unsettled
        for _ in range(rollouts):
            prefixes = {n: samples[n][1][: trying[n]] for n in open_samples}
            written = write([(samples[n][0], prefix) for n, prefix in prefixes.items()], turn)
            turn += 1
            for (n, prefix), rest in zip(prefixes.items(), written, strict=True):
                if is_right(n, [*prefix, *rest]) and results_used(prefix, rest):
                    verified[n, trying[n]] = tuple(rest)
                    low[n] = trying[n]
            open_samples = [n for n in open_samples if low[n] < trying[n]]
            if not open_samples:
                break
        for n in open_samples:
            high[n] = trying[n]
    labels = [[int(index < good) for index in range(len(steps))] for (_, steps), good in zip(samples, low, strict=True)]
    return labels, verified
