"""Trainers of the tiny recipe's first models, which make their data themselves: the world "apples" has no end of it.

They are not part of GLoRe: they stand for what a pre-trained language model brings, which a model of a million
parameters has to be taught first.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from refine_eval import IGNORE, Example, Trainer, TrainingData, UsageError, join_steps, option, student_prompt
from refine_eval_benchmarks.apples import SIZES, stream
from refine_eval_benchmarks.apples_drills import corrupted, equations


@dataclass(frozen=True, kw_only=True)
class LanguageModelOptions:
    """Options of the language model's trainer."""

    width: int = option(96, "Hidden size.", min=1)
    layers: int = option(4, "Layers.", min=1)
    heads: int | None = option(None, "Attention heads of 32; left out: as many as fit.", min=1)
    drills: int = option(8_000, "Lists of equations beside the 24,000 problems.", min=0)
    remember: float = option(
        0.0, "Weight of a second question: which token was just read? For a critic's start.", min=0
    )


class ApplesLanguageModelTrainer(Trainer):
    """Language model of the world "apples", from nothing: gold solutions, and plain equations to learn arithmetic by.

    A drill has twice the tokens of a solution, half of them chance; with as many drills as problems the model learns
    neither to copy nor to keep its place in half the steps.

    With `remember` the model is also asked for the token that it has just read. A critic compares what was written
    with what it expected, so the last layer that it is grown on must still know both; a plain language model forgets
    the first.
    """

    name = "apples-lm"
    reads = ()
    needs_base = False
    Options = LanguageModelOptions
    options: LanguageModelOptions

    def start(self, base: str | None, seed: int) -> tuple[Any, Any]:
        """A new model of the options' size."""
        from refine_eval_benchmarks.apples_models import new_language_model, world_tokenizer

        if base:
            raise UsageError("train apples-lm starts from nothing; leave out --base.")
        options = self.options
        model = new_language_model(options.width, options.layers, options.heads or options.width // 32, seed)
        if self.options.remember:
            import torch

            model.just_read = torch.nn.Linear(self.options.width, model.config.vocab_size, bias=False)
        return model, world_tokenizer()

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """The training split, and the drills."""
        from refine_eval.training import completion_example, text_example

        rng = random.Random(seed)
        examples = [
            completion_example(tokenizer, p["question"], student_prompt(p["question"]), p["answer"])
            for p in islice(stream("train"), SIZES["train"])
        ]
        for _ in range(self.options.drills):
            examples.append(text_example(tokenizer, join_steps(equations(rng)[0])))
        return examples

    def loss(self, model: Any, input_ids: Any, labels: Any, num_items: Any) -> Any:
        """The following token, and `remember` times the token just read, by a head of its own."""
        if not self.options.remember:
            return None
        import torch.nn.functional as F

        hidden = model.model(input_ids=input_ids, use_cache=False).last_hidden_state
        following = model.lm_head(hidden).flatten(0, 1)
        read = model.just_read(hidden).flatten(0, 1)
        asked = F.cross_entropy(following, labels.flatten(), ignore_index=IGNORE, reduction="sum") / num_items
        remembered = F.cross_entropy(read, input_ids.flatten(), ignore_index=model.config.pad_token_id)
        here = (labels != IGNORE).sum() / num_items  # this batch's share of what the step counts
        return asked + self.options.remember * here * remembered

    def finish(self, model: Any) -> None:
        """Takes off the second head."""
        if self.options.remember:
            del model.just_read


@dataclass(frozen=True, kw_only=True)
class CriticLessonOptions:
    """Options of the critics' lessons."""

    lesson: Literal["equations", "lines", "prefixes"] = option("equations", "What to teach, in this order.")
    fresh_layers: int = option(3, "Layers grown on the language model; train these alone.", min=1)
    rows: int = option(12_000, "Solutions, or lists of equations.", min=1)


class ApplesCriticTrainer(Trainer):
    """Critic's lessons in the world "apples", whose labels are known by construction: `--options lesson=NAME`.

    equations: which equations of a list are false. lines: which line of a solution is wrong, given the question.
    prefixes: that after a mistake no prefix is good. Equations come alone and first: mixed with solutions, which are
    hard until they are known, they are not learnt. A language model as the base gets fresh layers on top.
    """

    name = "apples-critic"
    head = "critic"
    reads = ()
    Options = CriticLessonOptions
    options: CriticLessonOptions

    def start(self, base: str | None, seed: int) -> tuple[Any, Any] | None:
        """The base, grown by fresh layers where it is a language model; a critic goes on as it is."""
        from refine_eval import resolve_model
        from refine_eval.training import collate, load_for_training, text_example
        from refine_eval_benchmarks.apples_models import critic_on, residual_size

        assert base
        source = resolve_model(base)
        if (source.folder / "config.json").read_text(encoding="utf-8").find("LlamaForCausalLM") < 0:
            return None
        backbone, tokenizer = load_for_training(source, "generator", seed)
        rng = random.Random(seed)
        look = [text_example(tokenizer, join_steps(equations(rng)[0])) for _ in range(16)]
        size = residual_size(backbone, collate(look, tokenizer.pad_token_id).input_ids)
        return critic_on(backbone, self.options.fresh_layers, size, seed), tokenizer

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """The lesson's rows."""
        rows = self._equations if self.options.lesson == "equations" else self._solutions
        return rows(tokenizer, random.Random(f"{self.options.lesson} {seed}"))

    def _equations(self, tokenizer: Any, rng: random.Random) -> list[Example]:
        from refine_eval.training import lines_example

        examples = []
        for _ in range(self.options.rows):
            lines, truth = equations(rng, wrong=0.4)
            labels = [int(said == true) for said, true in zip(lines, truth, strict=True)]
            examples.append(lines_example(tokenizer, join_steps(lines), "", lines, labels))
        return examples

    def _solutions(self, tokenizer: Any, rng: random.Random) -> list[Example]:
        """Gold solutions of practice problems that are not sampled, most with one mistake that is carried forward."""
        from refine_eval.training import critic_example

        examples = []
        for problem in islice(stream("practice"), SIZES["practice"], SIZES["practice"] + self.options.rows):
            lines = problem["answer"].splitlines()
            labels = [1] * len(lines)
            if rng.random() < 0.7:
                lines, labels = corrupted(rng, problem["answer"])
                if self.options.lesson == "lines":
                    labels = [int(at != labels.index(0)) for at in range(len(labels))]
            examples.append(critic_example(tokenizer, problem["question"], lines, labels))
        return examples
