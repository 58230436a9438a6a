"""Training the refiners from the student (GLoRe, section 3).

Global: question and a wrong sample -> a right sample of the same question. Local: question and a draft with
[BAD] before its first bad step -> a continuation, verified by a rollout, of the steps before the marker.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from refine_eval.formats import global_prompt, join_steps, local_prompt
from refine_eval.training.batches import completion_example, endless_batches
from refine_eval.training.loop import Rates, train

RATES = Rates(muon=0.01, adam=0.002)


class Pair(NamedTuple):
    """What a refiner reads and what it is to write."""

    prompt: str
    completion: str


def completion_text(steps: Sequence[str]) -> str:
    """Steps as a generator writes them: no newline after the last, the end token follows it."""
    return join_steps(steps).rstrip("\n")


def global_pairs(samples: Mapping[str, Iterable[tuple[tuple[str, ...], bool]]], seed: int, most: int = 4) -> list[Pair]:
    """Pairs wrong -> right for each question; `samples` maps it to (steps, right).

    Equal wrong samples count once; each gets one right sample drawn from the seed. At most `most` pairs a
    question, so that hard questions do not crowd out the others.
    """
    rng = random.Random(seed)
    pairs = []
    for question, found in samples.items():
        graded = list(found)
        right = [steps for steps, good in graded if good]
        wrong = list(dict.fromkeys(steps for steps, good in graded if not good and steps))
        if right:
            pairs += [
                Pair(global_prompt(question, steps), completion_text(rng.choice(right))) for steps in wrong[:most]
            ]
    return pairs


def local_pair(
    question: str, steps: Sequence[str], labels: Sequence[int], verified: Mapping[int, Sequence[str]]
) -> Pair | None:
    """The pair of one labelled wrong draft, or None if nothing verified leads on from its last good prefix.

    `labels` are the SORM's (1 good, 0 bad, one a step); `verified` maps a prefix length to the continuation
    that verified it.
    """
    if 0 not in labels:
        return None
    first_bad = list(labels).index(0)
    rest = verified.get(first_bad)
    return None if not rest else Pair(local_prompt(question, steps, first_bad), completion_text(rest))


def train_refiner(
    student: Any,
    tokenizer: Any,
    pairs: Sequence[Pair],
    steps: int,
    seed: int,
    log: Callable[[str], None] = print,
    rows: int = 32,
) -> list[float]:
    """Train a copy of the student in place on pairs, global or local; returns the loss of each step."""
    examples = [completion_example(tokenizer, pair.prompt, pair.completion) for pair in pairs]
    batches = endless_batches(examples, rows, tokenizer.pad_token_id, seed)
    return train(student, batches, steps, RATES, log)
