"""Trainers of the ORM, and of the balanced ORM: every step end carries its sample's outcome (GLoRe, section 3)."""

from __future__ import annotations

from typing import Any

from refine_eval import Example, QuestionSamples, Sample, Trainer, TrainingData, sample_steps


class OrmTrainer(Trainer):
    """Outcome reward model: each step end carries whether its sample's final answer is right.

    Equal samples of one question all stay: removing them would change the share of right ones, which is what the ORM
    learns (the probability that the student, going on from here, ends right).
    """

    name = "orm"
    head = "critic"
    takes_messages = True

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """One example a sample that has a step."""
        return [
            self._example(tokenizer, row.question, sample)
            for row in _checked(data)
            for sample in row.samples
            if sample.text.strip()
        ]

    def _example(self, tokenizer: Any, question: str, sample: Sample) -> Example:
        from refine_eval.training import critic_example, outcome_labels

        steps = sample_steps(sample)
        return critic_example(tokenizer, question, steps, outcome_labels(steps, sample.correct), self.form)


class BalancedOrmTrainer(OrmTrainer):
    """ORM on as many right as wrong samples of each question: the paper's baseline against the ORM's pessimism.

    Questions with only right or only wrong samples are left out.
    """

    name = "balanced-orm"

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """Equally many right and wrong samples of each question, drawn from the seed."""
        import random

        rng = random.Random(seed)
        examples = []
        for row in _checked(data):
            samples = [sample for sample in row.samples if sample.text.strip()]
            by_outcome = [[sample for sample in samples if sample.correct is correct] for correct in (True, False)]
            fewer = min(map(len, by_outcome))
            for found in by_outcome:
                examples += [self._example(tokenizer, row.question, sample) for sample in rng.sample(found, fewer)]
        return examples


def _checked(data: TrainingData) -> tuple[QuestionSamples, ...]:
    from refine_eval.training import check_outcomes

    check_outcomes(data.samples, "an ORM cannot be trained on one outcome alone")
    return data.samples
