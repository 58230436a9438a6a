"""Trainers of the student: supervised fine-tuning and expert iteration (GLoRe, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from refine_eval.formats import join_steps, split_steps, student_prompt
from refine_eval.plugin.components import Lesson, Trainer
from refine_eval.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from refine_eval.stages.folder import StageFolder


@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """Options of the student's trainers."""

    per_question: int | None = field(default=None, metadata={"help": "At most N distinct right solutions a question."})


class SftTrainer(Trainer):
    """Trains the student on right solutions: the gold ones, from `refine-eval collect --gold`."""

    name = "sft"
    Options = StudentOptions
    options: StudentOptions

    def examples(self, inputs: Mapping[str, Sequence[StageFolder]], tokenizer: Any, seed: int) -> list[Lesson]:
        """One example for each distinct right solution of each question."""
        from refine_eval.training.examples import completion_example

        right: dict[str, dict[str, None]] = {}
        for folder in inputs["collect"]:
            for row in folder.rows("samples.jsonl"):
                texts = right.setdefault(row["question"], {})
                for sample in row["samples"]:
                    if sample["right"]:
                        texts[join_steps(split_steps(sample["text"])).rstrip("\n")] = None
        return [
            Lesson(question, completion_example(tokenizer, student_prompt(question), text))
            for question, texts in right.items()
            for text in list(texts)[: self.options.per_question]
        ]


class ExpertIterationTrainer(SftTrainer):
    """Trains the student, from its base again, on its own right samples and the gold solutions, each once.

    GLoRe, section 3: sample K solutions a question, keep the right ones, remove duplicates, fine-tune from the base.
    """

    name = "expert-iteration"


@hookimpl
def refine_eval_trainers() -> list[type[Trainer]]:
    """The student's trainers."""
    return [SftTrainer, ExpertIterationTrainer]
