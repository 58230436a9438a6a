"""Training the ORM: every step end carries whether its sample's final answer is right (GLoRe, section 3)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from refine_eval.training.batches import critic_example, endless_batches
from refine_eval.training.labels import outcome_labels
from refine_eval.training.loop import Rates, train

RATES = Rates(muon=0.004, adam=0.001)


class Sample(NamedTuple):
    """A student's sampled solution of a question, graded by its final answer."""

    question: str
    steps: tuple[str, ...]
    right: bool


def train_orm(
    critic: Any,
    tokenizer: Any,
    samples: Sequence[Sample],
    steps: int,
    seed: int,
    log: Callable[[str], None] = print,
    rows: int = 32,
) -> list[float]:
    """Train a token classifier in place on samples of the student; returns the loss of each step.

    Equal samples of one question all stay: removing them would change the share of right ones, which is what
    the ORM learns (the probability that the student's continuation ends right).
    """
    examples = [
        critic_example(tokenizer, sample.question, sample.steps, outcome_labels(sample.steps, sample.right))
        for sample in samples
        if sample.steps
    ]
    batches = endless_batches(examples, rows, tokenizer.pad_token_id, seed)
    return train(critic, batches, steps, RATES, log)
