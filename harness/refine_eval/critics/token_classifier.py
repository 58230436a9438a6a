"""Trained critics: token-classification models that score every step of a solution in one forward pass."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from refine_eval.critics.step_models import StepModel, TokenRow, TransformersStepModel
from refine_eval.data import Candidate, Critique, first_below
from refine_eval.errors import ModelError, UsageError
from refine_eval.formats import PLAIN, PromptForm, Prompts, student_prompt
from refine_eval.models.cards import prompt_form
from refine_eval.models.chat import UnrenderedError, form_text
from refine_eval.models.parameters import computing_parameters
from refine_eval.models.sources import ModelSource, model_identity, resolve_model
from refine_eval.models.tokens import encode_steps, foreign_token, newline_token, unknown_word
from refine_eval.plugin.components import Critic
from refine_eval.plugin.fields import option
from refine_eval.plugin.runtime import EngineRuntime


@dataclass(frozen=True, kw_only=True)
class StepScorerOptions:
    """Options of trained critics."""

    model: str = option("", "Hub name or folder of the critic (default: the bundled one).")
    threshold: float = option(0.5, "A step that scores below is held to be wrong.", min=0, max=1)
    engine: Literal["transformers", "vllm"] = option("transformers", "What runs the critic.")
    engine_args: dict[str, str] = option({}, "For vllm, as it spells them: gpu_memory_utilization=0.3,...")


@dataclass(frozen=True, kw_only=True)
class TrainedCriticOptions(StepScorerOptions):
    """Options of critics that read a question as it was trained: as plain text or as a message."""

    prompts: Prompts = option(
        "as-trained", "How it reads the question: plain, or messages, by its chat template.", recent=True
    )


class TokenClassifierCritic(Critic):
    """Base of critics that are token-classification models, read at the end of each step.

    With two labels a step's score is the probability of the one that means good, by the model's id2label (of the last
    where they have no names), with one label the sigmoid of its logit. The solution's score is that of its last step, 0
    where it has no steps; the first bad step is the first that scores under the threshold.

    A critic with another head, format or score has another `step_model`, `encode` or `judge`, and one that transformers
    alone can run may have Options without `engine` and `engine_args`; texts that do not fit the
    context, the memory or the model's vocabulary are left unscored here for all of them.
    """

    Options: ClassVar[type[Any]] = TrainedCriticOptions
    options: StepScorerOptions
    replicable = True

    bundled: ClassVar[Path]
    """The folder of the model that comes with the plugin."""
    step_model: type[TransformersStepModel] = TransformersStepModel
    """What reads the model with transformers."""
    good: int | None = None
    """The label that means good on vLLM; None: the model's configuration says."""
    form: PromptForm = PLAIN
    """How the model reads the question, once it is open: as the user says, else as its card does."""

    _model: StepModel | None = None

    @property
    def option_name(self) -> str:
        """What users pass to choose another model."""
        return f"--{self.name}-model"

    @property
    def served_by(self) -> str:
        """What runs the model."""
        return getattr(self.options, "engine", "transformers")

    @property
    def keep_loaded(self) -> bool:
        """vLLM takes a minute to start."""
        return self.served_by == "vllm"

    def open(self, runtime: EngineRuntime) -> None:
        """Loads the model; ModelError where it cannot be one of steps."""
        source = self.source(runtime)
        if isinstance(self.options, TrainedCriticOptions):
            self.form = prompt_form(self.options.prompts, str(source.folder))
        model = self._model = self.load(source, runtime)
        self.check(model)
        served = "" if self.served_by == "transformers" else f"{self.served_by}:"
        self._identity = f"{served}{model_identity(source)}:{model.dtype}{model.deciding}{self.reading(model)}"
        self.model_parameters = computing_parameters(model.config)

    def source(self, runtime: EngineRuntime) -> ModelSource:
        """The files of the model asked for, by default of the bundled one."""
        return resolve_model(self.options.model or str(self.bundled))

    def load(self, source: ModelSource, runtime: EngineRuntime) -> StepModel:
        """The model, on the engine asked for."""
        arguments = getattr(self.options, "engine_args", {})
        if self.served_by == "vllm":
            from refine_eval.critics.vllm_step_model import VllmStepModel

            return VllmStepModel(source, runtime.dtype, runtime.batch_size, arguments, self.good)
        if arguments:
            raise UsageError(f"--{self.name}-engine-args is for --{self.name}-engine vllm; leave it out.")
        return self.step_model(source, runtime.device, runtime.dtype, runtime.batch_size)

    def check(self, model: StepModel) -> None:
        """ModelError where the tokenizer cannot mark the places at which steps are scored, or render a question."""
        newline_token(model.tokenizer, model.source.name)
        try:
            form_text(model.source.name, model.tokenizer, self.form, student_prompt("1+1?"))
        except UnrenderedError as error:
            raise ModelError(
                f"The critic {self.name} is to read {error}, or pass --{self.name}-prompts plain."
            ) from error

    def reading(self, model: StepModel) -> str:
        """How the model is read, for the identity: "" for the usual way."""
        # The last label was once taken for good, whatever it is called.
        good = "" if model.good == model.config.num_labels - 1 else f":good={model.good}"
        if not self.form.messages:
            return good
        rendered = form_text(model.source.name, model.tokenizer, self.form, "\0")
        return f"{good}:messages={hashlib.sha256(rendered.encode()).hexdigest()[:32]}"

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
        rows: dict[int, TokenRow] = {}
        for index, candidate in enumerate(batch):
            row = self._row(candidate)
            if isinstance(row, str):
                critiques[index] = Critique.without_score(candidate, row)
            elif row[1]:
                rows[index] = row
            else:
                critiques[index] = self.judge(candidate, ())
        found = self._model.scores(list(rows.values())) if rows else []
        for index, values, read in zip(rows, found, self._model.read_tokens if rows else (), strict=True):
            why, candidate = _no_scores(values), batch[index]
            critiques[index] = (
                Critique.without_score(candidate, why)
                if why
                else replace(self.judge(candidate, values), read_tokens=read)
            )
        return [critiques[index] for index in range(len(batch))]

    def _row(self, candidate: Candidate) -> TokenRow | str:
        """What the model reads, or why it cannot."""
        model = self._model
        assert model is not None
        row = self.encode(model, candidate)
        if isinstance(row, str):
            return row
        ids, _ = row
        if foreign := foreign_token(model.config, ids, self.option_name):
            return foreign
        if model.context is not None and len(ids) > model.context:
            return (
                f"longer than the critic's context ({len(ids):,} tokens of {model.context:,}); use a critic with a "
                "longer context or a lower --max-gen-toks"
            )
        return row

    def encode(self, model: StepModel, candidate: Candidate) -> TokenRow | str:
        """The tokens that the model reads and the positions to score, one for each step; or why it cannot read them."""
        question = candidate.problem.question
        unknown = unknown_word(model.tokenizer, model.config, student_prompt(question), self.option_name)
        try:
            return unknown or encode_steps(
                model.tokenizer, question, candidate.solution.steps, model.source.name, self.form
            )
        except UnrenderedError as error:
            return str(error)

    def judge(self, candidate: Candidate, scores: tuple[float, ...]) -> Critique:
        """The critique made of the scores of a candidate's steps."""
        bad = first_below(scores, self.options.threshold)
        return Critique(score=scores[-1] if scores else 0.0, step_scores=scores, first_bad_step=bad)


def _no_scores(values: tuple[float, ...]) -> str | None:
    """Why there are no scores among what a model computed; None where there are."""
    if not values:
        return "too long for the memory; use a smaller critic"
    if not all(map(math.isfinite, values)):
        return "its score is no finite number; try --dtype float32, or check the model's weights"
    return None
