"""Trainer of the SORM: a step end is good if the right answer is still reachable from it (GLoRe, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from refine_eval.components import Lesson, Trainer
from refine_eval.errors import StageError

if TYPE_CHECKING:
    from refine_eval.training.folder import StageFolder


@dataclass(frozen=True, kw_only=True)
class SormTrainerOptions:
    """Options of the SORM's trainer."""

    balance: bool = field(default=True, metadata={"help": "Rule 3: as many good as bad labels at each prefix length."})


class SormTrainer(Trainer):
    """Stepwise ORM: the labels of `refine-eval label`, balanced at each prefix length (rule 3)."""

    name = "sorm"
    head = "critic"
    needs = ("label",)
    Options = SormTrainerOptions
    options: SormTrainerOptions

    def examples(self, inputs: Mapping[str, Sequence[StageFolder]], tokenizer: Any, seed: int) -> list[Lesson]:
        """One example a labelled sample that keeps a label; StageError where labels are all alike, or shares."""
        from refine_eval.training.batches import IGNORE, critic_example
        from refine_eval.training.labels import balance

        rows = [row for folder in inputs["label"] for row in folder.rows("labels.jsonl")]
        values = {label for row in rows for label in row["labels"]}
        if values - {0, 1}:
            raise StageError(
                "The labels are shares of successes, and the SORM learns good and bad; label without --soft."
            )
        if values != {0, 1}:
            raise StageError(
                "All step labels are alike, so the SORM has nothing to tell apart; label more wrong samples."
            )
        labels = [[int(label) for label in row["labels"]] for row in rows]
        if self.options.balance:
            labels = balance(labels, seed)
        return [
            Lesson(row["question"], critic_example(tokenizer, row["question"], row["steps"], found))
            for row, found in zip(rows, labels, strict=True)
            if any(label != IGNORE for label in found)
        ]
