"""Trainers of the refiners (GLoRe, section 3).

Global: question and a wrong sample -> a right sample of the same question. Local: question and a draft with [BAD]
before its first bad step -> a continuation, verified by a rollout, of the steps before the marker.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from refine_eval.components import Lesson, Trainer
from refine_eval.formats import global_prompt, split_steps

if TYPE_CHECKING:
    from refine_eval.training.folder import StageFolder
    from refine_eval_refiners.train import Pair


@dataclass(frozen=True, kw_only=True)
class GlobalTrainerOptions:
    """Options of the global refiner's trainer."""

    per_question: int = field(default=4, metadata={"help": "At most N distinct wrong drafts a question."})
    right_share: float = field(
        default=0.1, metadata={"help": "Right drafts, to be kept as they are, for each wrong one."}
    )


class GlobalTrainer(Trainer):
    """Global refiner: from a wrong sample to a right one of the same question; some right ones stay as they are."""

    name = "global"
    Options = GlobalTrainerOptions
    options: GlobalTrainerOptions

    def examples(self, inputs: Mapping[str, Sequence[StageFolder]], tokenizer: Any, seed: int) -> list[Lesson]:
        """Pairs, deduplicated, at most `per_question` of a question; StageError where there is none."""
        from refine_eval.training.collect import check_outcomes

        rows = [row for folder in inputs["collect"] for row in folder.rows("samples.jsonl")]
        check_outcomes(rows, "a global refiner needs wrong and right samples of one question")
        rng = random.Random(seed)
        lessons, kept = [], []
        for row in rows:
            right, wrong = (
                list(
                    dict.fromkeys(
                        split_steps(s["text"]) for s in row["samples"] if s["right"] is outcome and s["text"].strip()
                    )
                )
                for outcome in (True, False)
            )
            if right:
                kept.append(_lesson(tokenizer, row["question"], global_prompt(row["question"], right[0]), right[0]))
                for draft in wrong[: self.options.per_question]:
                    prompt = global_prompt(row["question"], draft)
                    lessons.append(_lesson(tokenizer, row["question"], prompt, rng.choice(right)))
        return lessons + rng.sample(kept, min(len(kept), round(self.options.right_share * len(lessons))))


class LocalTrainer(Trainer):
    """Local refiner: from a draft marked before its first bad step to a continuation that a rollout verified."""

    name = "local"
    needs = ("label",)

    def examples(self, inputs: Mapping[str, Sequence[StageFolder]], tokenizer: Any, seed: int) -> list[Lesson]:
        """One pair for each distinct wrong draft whose last good prefix was verified."""
        from refine_eval.training.batches import completion_example
        from refine_eval_refiners.train import local_pair

        pairs: dict[Pair, str] = {}
        for folder in inputs["label"]:
            for row in folder.rows("labels.jsonl"):
                verified = {int(length): rest for length, rest in row["verified"].items()}
                if not row["right"] and (pair := local_pair(row["question"], row["steps"], row["labels"], verified)):
                    pairs[pair] = row["question"]
        return [
            Lesson(question, completion_example(tokenizer, pair.prompt, pair.completion))
            for pair, question in pairs.items()
        ]


def _lesson(tokenizer: Any, question: str, prompt: str, steps: Sequence[str]) -> Lesson:
    from refine_eval.training.batches import completion_example
    from refine_eval_refiners.train import completion_text

    return Lesson(question, completion_example(tokenizer, prompt, completion_text(steps)))
