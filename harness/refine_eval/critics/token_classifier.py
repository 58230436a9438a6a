"""Trained critics: token-classification models that score every step of a solution in one forward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from refine_eval.critics.step_models import Row, StepModel, TransformersStepModel
from refine_eval.data import Candidate, Critique
from refine_eval.errors import UsageError
from refine_eval.formats import student_prompt
from refine_eval.models.parameters import computing_parameters
from refine_eval.models.sources import ModelSource, model_identity, resolve_model
from refine_eval.models.tokens import encode_steps, foreign_token, newline_token, unknown_word
from refine_eval.plugin.components import Critic, EngineRuntime
from refine_eval.plugin.fields import option


@dataclass(frozen=True, kw_only=True)
class StepScorerOptions:
    """Options of trained critics."""

    model: str = option("", "Hub name or folder of the critic (default: the bundled one).")
    threshold: float = option(0.5, "A step that scores below is held to be wrong.", min=0, max=1)
    engine: Literal["transformers", "vllm"] = option("transformers", "What runs the critic.")
    engine_args: dict[str, str] = option({}, "For vllm, as it spells them: gpu_memory_utilization=0.3,...")


class TokenClassifierCritic(Critic):
    """Base of critics that are token-classification models, read at the end of each step.

    With two labels a step's score is the probability of the one that means good, by the model's id2label (of the last
    where they have no names), with one label the sigmoid of its logit. The solution's score is that of its last step, 0
    where it has no steps; the first bad step is the first that scores under the threshold.
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
    def keep_loaded(self) -> bool:
        """vLLM takes a minute to start."""
        return self.options.engine == "vllm"

    def open(self, runtime: EngineRuntime) -> None:
        """Loads the model; ModelError where it cannot be one of steps."""
        source = resolve_model(self.options.model or str(self.bundled))
        model = self._load(source, runtime)
        newline_token(model.tokenizer, source.name)
        served = "" if self.options.engine == "transformers" else f"{self.options.engine}:"
        # The last label was once taken for good, whatever it is called.
        read = "" if model.good == model.config.num_labels - 1 else f":good={model.good}"
        self._identity = f"{served}{model_identity(source)}:{model.dtype}{model.deciding}{read}"
        self.model_parameters = computing_parameters(model.config)
        self._model = model

    def _load(self, source: ModelSource, runtime: EngineRuntime) -> StepModel:
        arguments = self.options.engine_args
        if self.options.engine == "vllm":
            from refine_eval.critics.vllm_step_model import VllmStepModel

            return VllmStepModel(source, runtime.dtype, runtime.batch_size, arguments)
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

        Without a score are solutions that are longer than the model's context or memory, those whose scores are no
        numbers, and questions with words that a bundled tiny model does not know. Such words in a solution are
        the unknown token and scored as they are: a wrong solution may hold anything.
        """
        assert self._model is not None, "open() comes first"
        critiques: dict[int, Critique] = {}
        rows: dict[int, Row] = {}
        for index, candidate in enumerate(batch):
            row = self._encode(candidate)
            if isinstance(row, str):
                critiques[index] = Critique.without_score(candidate, row)
            elif row[1]:
                rows[index] = row
            else:
                critiques[index] = self._judge(())
        found = self._model.scores(list(rows.values())) if rows else []
        for index, values in zip(rows, found, strict=True):
            why = _no_scores(values)
            critiques[index] = (
                Critique.without_score(batch[index], why) if why else self._judge(values, len(rows[index][0]))
            )
        return [critiques[index] for index in range(len(batch))]

    def _encode(self, candidate: Candidate) -> Row | str:
        """What the model reads, or why it cannot."""
        model, question = self._model, candidate.problem.question
        assert model is not None
        unknown = unknown_word(model.tokenizer, model.config, student_prompt(question), self.option_name)
        if unknown:
            return unknown
        ids, ends = encode_steps(model.tokenizer, question, candidate.solution.steps, model.source.name)
        if foreign := foreign_token(model.config, ids, self.option_name):
            return foreign
        if model.context is not None and len(ids) > model.context:
            return (
                f"longer than the critic's context ({len(ids):,} tokens of {model.context:,}); use a critic with a "
                "longer context or a lower --max-gen-toks"
            )
        return ids, ends

    def _judge(self, scores: tuple[float, ...], read: int = 0) -> Critique:
        bad = (index for index, score in enumerate(scores) if score < self.options.threshold)
        return Critique(
            score=scores[-1] if scores else 0.0,
            step_scores=scores,
            first_bad_step=next(bad, None),
            read_tokens=read,
        )


def _no_scores(values: tuple[float, ...]) -> str | None:
    """Why there are no scores among what a model computed; None where there are."""
    if not values:
        return "too long for the memory; use a smaller critic"
    if not all(map(math.isfinite, values)):
        return "its score is no finite number; try --dtype float32, or check the model's weights"
    return None
