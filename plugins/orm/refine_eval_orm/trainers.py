"""Trainers of the ORM, and of the balanced ORM: every step end carries its sample's outcome (GLoRe, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from refine_eval.formats import split_steps
from refine_eval.plugin.components import Lesson, Trainer

if TYPE_CHECKING:
    from refine_eval.stages.folder import StageFolder


class OrmTrainer(Trainer):
    """Outcome reward model: each step end carries whether its sample's final answer is right.

    Equal samples of one question all stay: removing them would change the share of right ones, which is what the ORM
    learns (the probability that the student, going on from here, ends right).
    """

    name = "orm"
    head = "critic"

    def examples(self, inputs: Mapping[str, Sequence[StageFolder]], tokenizer: Any, seed: int) -> list[Lesson]:
        """One example a sample that has a step."""
        return [
            _lesson(tokenizer, row["question"], sample)
            for row in _rows(inputs)
            for sample in row["samples"]
            if sample["text"].strip()
        ]


class BalancedOrmTrainer(OrmTrainer):
    """ORM on as many right as wrong samples of each question: the paper's baseline against the ORM's pessimism.

    Questions with only right or only wrong samples are left out.
    """

    name = "balanced-orm"

    def examples(self, inputs: Mapping[str, Sequence[StageFolder]], tokenizer: Any, seed: int) -> list[Lesson]:
        """Equally many right and wrong samples of each question, drawn from the seed."""
        import random

        rng = random.Random(seed)
        lessons = []
        for row in _rows(inputs):
            samples = [sample for sample in row["samples"] if sample["text"].strip()]
            by_outcome = [[sample for sample in samples if sample["right"] is right] for right in (True, False)]
            fewer = min(map(len, by_outcome))
            for found in by_outcome:
                lessons += [_lesson(tokenizer, row["question"], sample) for sample in rng.sample(found, fewer)]
        return lessons


def _rows(inputs: Mapping[str, Sequence[StageFolder]]) -> list[dict[str, Any]]:
    from refine_eval.stages.collect import check_outcomes

    rows = [row for folder in inputs["collect"] for row in folder.rows("samples.jsonl")]
    check_outcomes(rows, "an ORM cannot be trained on one outcome alone")
    return rows


def _lesson(tokenizer: Any, question: str, sample: Mapping[str, Any]) -> Lesson:
    from refine_eval.stages.rules import outcome_labels
    from refine_eval.training.examples import critic_example

    steps = split_steps(sample["text"])
    return Lesson(question, critic_example(tokenizer, question, steps, outcome_labels(steps, sample["right"])))
