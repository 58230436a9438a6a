"""Trainer of the SORM: a step end is good if the right answer is still reachable from it (GLoRe, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refine_eval import IGNORE, Example, StageError, Trainer, TrainingData, option


@dataclass(frozen=True, kw_only=True)
class SormTrainerOptions:
    """Options of the SORM's trainer."""

    balance: bool = option(True, "Rule 3: as many good as bad labels at each prefix length.")


class SormTrainer(Trainer):
    """Stepwise ORM: the labels of `refine-eval label`, balanced at each prefix length (rule 3)."""

    name = "sorm"
    head = "critic"
    takes_messages = True
    reads = ("label",)
    Options = SormTrainerOptions
    options: SormTrainerOptions

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """One example a labelled sample that keeps a label; StageError where labels are all alike.

        To rule 3 a soft label above 0 is good.
        """
        from refine_eval.training import balance, critic_example

        hard = [[int(label > 0) for label in row.labels] for row in data.labels]
        if {label for row in hard for label in row} != {0, 1}:
            raise StageError(
                "All step labels are alike, so the SORM has nothing to tell apart; label more wrong samples."
            )
        kept = balance(hard, seed) if self.options.balance else hard
        soft = any(label not in (0, 1) for row in data.labels for label in row.labels)
        value = float if soft else int
        labels = [
            [IGNORE if good == IGNORE else value(label) for label, good in zip(row.labels, found, strict=True)]
            for row, found in zip(data.labels, kept, strict=True)
        ]
        return [
            critic_example(tokenizer, row.question, row.steps, found, self.form)
            for row, found in zip(data.labels, labels, strict=True)
            if any(label != IGNORE for label in found)
        ]

    def loss(self, model: Any, input_ids: Any, labels: Any, num_items: Any) -> Any:
        """Of soft labels the cross-entropy with the probability of "good"; of hard ones the default."""
        import torch.nn.functional as F

        if not labels.is_floating_point():
            return None
        labelled = labels != IGNORE
        bad, good = model(input_ids=input_ids, use_cache=False).logits[labelled].float().unbind(-1)
        return F.binary_cross_entropy_with_logits(good - bad, labels[labelled], reduction="sum") / num_items
