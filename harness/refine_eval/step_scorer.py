"""Trained critics: token-classification models that score every step of a solution in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from refine_eval.components import Critic, Runtime
from refine_eval.data import Candidate, Critique
from refine_eval.errors import ModelError, UsageError
from refine_eval.formats import STEP_END, student_prompt
from refine_eval.model_sources import ModelSource, model_identity, resolve_model
from refine_eval.models import check_vocabulary
from refine_eval.step_models import Row, StepModel, TransformersStepModel


@dataclass(frozen=True, kw_only=True)
class StepScorerOptions:
    """Options of trained critics."""

    model: str = field(default="", metadata={"help": "Hub name or folder of the critic (default: the bundled one)."})
    threshold: float = field(default=0.5, metadata={"help": "A step that scores below is held to be wrong."})
    engine: str = field(default="transformers", metadata={"help": "What runs the critic: transformers or vllm."})
    engine_args: dict[str, str] = field(
        default_factory=dict, metadata={"help": "For vllm, as it spells them: gpu_memory_utilization=0.3,..."}
    )


def newline_token(tokenizer: Any, model_name: str) -> int:
    """The token that ends a step; ModelError where the tokenizer has no single token for it."""
    ids: list[int] = tokenizer.encode(STEP_END, add_special_tokens=False)
    if len(ids) == 2:
        # Llama-2's tokenizer puts a space before every text; the newline itself is one token.
        alone, followed = (tokenizer.encode(text, add_special_tokens=False) for text in ("a", "a" + STEP_END))
        ids = followed[len(alone) :] if followed[: len(alone)] == alone else ids
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ModelError(
            f"The tokenizer of {model_name} has {len(ids) if len(ids) != 1 else 'no'} tokens for the newline that ends "
            "a step, where a critic needs exactly one; pass a critic whose tokenizer has it as one token."
        )
    return ids[0]


def encode_steps(
    tokenizer: Any, question: str, steps: Sequence[str], model_name: str = "the critic"
) -> tuple[list[int], list[int]]:
    """What a critic reads, and the positions of the step ends, where it is scored: (token ids, positions).

    Prompt and steps are encoded apart, with a newline token after each step, so that no tokenizer can merge
    across the place where a score is read. The beginning-of-text token is added where the tokenizer adds it.
    ModelError where the tokenizer splits the newline.
    """
    return encode_lines(tokenizer, student_prompt(question), steps, model_name)


def encode_lines(
    tokenizer: Any, prompt: str, steps: Sequence[str], model_name: str = "the critic"
) -> tuple[list[int], list[int]]:
    """`encode_steps` after any prompt."""
    newline = newline_token(tokenizer, model_name)
    texts = [prompt, *steps]
    encoded_prompt, *encoded = tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
    ids = [*first_tokens(tokenizer), *encoded_prompt]
    positions = []
    for step in encoded:
        ids += [*step, newline]
        positions.append(len(ids) - 1)
    return ids, positions


class TokenClassifierCritic(Critic):
    """Base of critics that are token-classification models, read at the end of each step.

    With two labels a step's score is the probability of label 1, with one label the sigmoid of its logit. The
    solution's score is that of its last step, 0 where it has no steps; the first bad step is the first that
    scores under the threshold.
    """

    Options = StepScorerOptions
    options: StepScorerOptions

    bundled: ClassVar[Path]
    """The folder of the model that comes with the plugin."""

    _model: StepModel | None = None

    @property
    def option_name(self) -> str:
        """What users pass to choose another model."""
        return f"--{self.name}-model"

    @property
    def stays_open(self) -> bool:
        """vLLM takes a minute to start."""
        return self.options.engine == "vllm"

    def open(self, runtime: Runtime) -> None:
        """Loads the model; ModelError where it cannot be one of steps."""
        super().open(runtime)
        source = resolve_model(self.options.model or str(self.bundled))
        model = self._load(source, runtime)
        if model.config.num_labels not in (1, 2):
            raise ModelError(
                f"The critic {source.name} has {model.config.num_labels} labels; a step is right or wrong, so "
                "pass a critic with one or two."
            )
        newline_token(model.tokenizer, source.name)
        served = "" if self.options.engine == "transformers" else f"{self.options.engine}:"
        self._identity = f"{served}{model_identity(source)}:{model.dtype}"
        self._model = model

    def _load(self, source: ModelSource, runtime: Runtime) -> StepModel:
        arguments = self.options.engine_args
        if self.options.engine == "vllm":
            from refine_eval.engines.vllm_step_model import VllmStepModel

            return VllmStepModel(source, runtime.dtype, runtime.batch_size, arguments)
        if self.options.engine != "transformers":
            raise UsageError(
                f"A trained critic is served by transformers or vllm, not by {self.options.engine!r}; "
                f"correct --{self.name}-engine."
            )
        if arguments:
            raise UsageError(f"--{self.name}-engine-args is for --{self.name}-engine vllm; leave it out.")
        return TransformersStepModel(source, runtime.device, runtime.dtype, runtime.batch_size)

    def close(self) -> None:
        """Frees the model's memory."""
        if self._model is not None:
            self._model.close()
            self._model = None

    def identity(self) -> str:
        """Name, model content, what it computes in, and the threshold."""
        return f"critic:{self.name}:{self._identity}:threshold={self.options.threshold}"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique a candidate, in order.

        ModelError, naming the problem, for a solution that is longer than the model's context, scores that are
        no numbers, and questions with words that a bundled tiny model does not know. Such words in a solution are
        the unknown token and scored as they are: a wrong solution may hold anything.
        """
        assert self._model is not None, "open() comes first"
        encoded = [self._encode(candidate) for candidate in batch]
        with_steps = [index for index, (_, ends) in enumerate(encoded) if ends]
        scores: list[tuple[float, ...]] = [()] * len(batch)
        found = self._model.scores([encoded[index] for index in with_steps]) if with_steps else []
        for index, values in zip(with_steps, found, strict=True):
            if not all(map(math.isfinite, values)):
                raise ModelError(
                    f"The critic {self.name} computed no finite score for problem {batch[index].problem.id}; "
                    "try --dtype float32, or check the model's weights."
                )
            scores[index] = values
        return [self._judge(values) for values in scores]

    def _encode(self, candidate: Candidate) -> Row:
        model, problem = self._model, candidate.problem
        assert model is not None
        prompt = student_prompt(problem.question)
        check_vocabulary(
            model.tokenizer, model.config, prompt, problem.id, f"The critic {self.name!r}", self.option_name
        )
        ids, ends = encode_steps(model.tokenizer, problem.question, candidate.solution.steps, model.source.name)
        if model.context is not None and len(ids) > model.context:
            raise ModelError(
                f"The question and solution of problem {problem.id} have {len(ids)} tokens and the context of the "
                f"critic {self.name} is {model.context}; use a critic with a longer context or a lower --max-gen-toks."
            )
        return ids, ends

    def _judge(self, scores: tuple[float, ...]) -> Critique:
        bad = (index for index, score in enumerate(scores) if score < self.options.threshold)
        return Critique(score=scores[-1] if scores else 0.0, step_scores=scores, first_bad_step=next(bad, None))


def first_tokens(tokenizer: Any) -> list[int]:
    """[beginning-of-text] where the tokenizer puts it before every text, else []."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("").input_ids[:1] == [bos] else []
