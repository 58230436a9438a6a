"""Trainers of the student: supervised fine-tuning and expert iteration (GLoRe, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refine_eval.formats import sample_text, student_prompt
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.fields import option
from refine_eval.plugin.hookspecs import hookimpl
from refine_eval.training_rows import Example, TrainingData


@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """Options of the student's trainers."""

    per_question: int | None = option(None, "At most N distinct right solutions per question.", min=1)


class SftTrainer(Trainer):
    """Trains the student on right solutions: the gold ones, from `refine-eval collect --gold`.

    On messages it learns to answer what `collect` asked it, which is what a run of the task asks.
    """

    name = "sft"
    takes_messages = True
    Options = StudentOptions
    options: StudentOptions

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """One example for each distinct right solution of each question."""
        from refine_eval.training.examples import completion_example

        solutions: dict[tuple[str, str], dict[str, None]] = {}
        for row in data.samples:
            asked = (row.asked if self.form.messages else None) or student_prompt(row.question)
            texts = solutions.setdefault((row.question, asked), {})
            texts |= {sample_text(sample): None for sample in row.samples if sample.correct}
        return [
            completion_example(tokenizer, question, asked, text, self.form)
            for (question, asked), texts in solutions.items()
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
