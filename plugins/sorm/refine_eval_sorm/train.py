"""Training the SORM: a step end is good if the right answer is still reachable from it (GLoRe, section 3)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from refine_eval.training.batches import critic_example, endless_batches
from refine_eval.training.labels import balance
from refine_eval.training.loop import Rates, train

RATES = Rates(muon=0.004, adam=0.001)


class Labelled(NamedTuple):
    """A student's solution with a label at each step end: 1 good, 0 bad (rules 1 and 2 applied)."""

    question: str
    steps: tuple[str, ...]
    labels: tuple[int, ...]


def train_sorm(
    critic: Any,
    tokenizer: Any,
    samples: Sequence[Labelled],
    steps: int,
    seed: int,
    log: Callable[[str], None] = print,
    rows: int = 32,
) -> list[float]:
    """Train a token classifier in place; the labels are balanced per prefix length first (rule 3).

    Returns the loss of each step.
    """
    labels = balance([sample.labels for sample in samples], seed)
    examples = [
        critic_example(tokenizer, sample.question, sample.steps, row)
        for sample, row in zip(samples, labels, strict=True)
        if any(label >= 0 for label in row)
    ]
    batches = endless_batches(examples, rows, tokenizer.pad_token_id, seed)
    return train(critic, batches, steps, RATES, log)
