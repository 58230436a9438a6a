"""The critic `prm`: public process and outcome reward models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from refine_eval import (
    Candidate,
    CausalStepModel,
    Critique,
    EngineRuntime,
    ModelError,
    ModelSource,
    StepModel,
    StepScorerOptions,
    TokenClassifierCritic,
    TokenRow,
    UsageError,
    first_below,
    model_identity,
    option,
    resolve_model,
)
from refine_eval_prm.families import FAMILIES, Family, choose_family
from refine_eval_prm.heads import LogRatio
from refine_eval_prm.texts import Misread

_AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "product": math.prod,
    "mean": lambda scores: math.fsum(scores) / len(scores),
}


@dataclass(frozen=True, kw_only=True)
class PrmOptions(StepScorerOptions):
    """Options of the critic `prm`."""

    model: str = option("", "Hub name or folder of the reward model.")
    family: Literal[
        "auto",
        "math-shepherd",
        "rlhflow-prm",
        "rlhflow-orm",
        "qwen",
        "skywork",
        "trl",
        "implicit",
        "sequence-classifier",
    ] = option("auto", "How the model is read; auto: as its files say.")
    aggregation: Literal["last", "min", "product", "mean"] = option(
        "min", "A solution's score from those of its steps."
    )
    reference: str = option("", "For implicit: hub name or folder of the model that it was trained from.")


class PrmCritic(TokenClassifierCritic):
    """Public process and outcome reward models: Math-Shepherd, RLHFlow, Qwen2.5-Math-PRM, Skywork, TRL's and others.

    One forward pass a solution. A step's score is the model's probability that it is good, the solution's their
    aggregate; the first step that scores below the threshold is the first bad one. Models of outcomes give all steps
    the score of the whole, and name no step.
    """

    name = "prm"
    Options = PrmOptions
    options: PrmOptions
    family: Family

    def open(self, runtime: EngineRuntime) -> None:
        """Loads the model; ModelError where it is not of its family."""
        if not self.options.model:
            raise UsageError("The critic prm needs a reward model: pass --prm-model NAME, a hub name or folder.")
        super().open(runtime)
        if isinstance(self._model, LogRatio) and self.model_parameters:
            self.model_parameters *= 2  # the model that it was trained from reads as much again

    def load(self, source: ModelSource, runtime: EngineRuntime) -> StepModel:
        """The model, on the engine asked for."""
        self.family = choose_family(self.options.family, source)
        if self.options.engine == "vllm" and not self.family.on_vllm:
            served = " and ".join(name for name, family in FAMILIES.items() if family.on_vllm)
            raise UsageError(f"vLLM serves reward models of {served}, not {self.family.name}: leave out --prm-engine.")
        self.step_model, self.good = self.family.model, self.family.good_on_vllm
        model = super().load(source, runtime)
        if isinstance(model, LogRatio):
            model.reference, model.deciding = self._reference(runtime)
        return model

    def _reference(self, runtime: EngineRuntime) -> tuple[CausalStepModel, str]:
        """The model that an implicit one is compared with, and its identity."""
        if not self.options.reference:
            raise UsageError("An implicit reward model needs the one it was trained from: pass --prm-reference NAME.")
        source = resolve_model(self.options.reference)
        return (
            CausalStepModel(source, runtime.device, runtime.dtype, runtime.batch_size),
            f":reference={model_identity(source)}",
        )

    def check(self, model: StepModel) -> None:
        """Reads a solution of two steps as all will be read; ModelError where the tokenizer spoils it."""
        try:
            self.family.encode(model.tokenizer, "What is 1 + 1?", ("1 + 1 = 2.", "The answer is 2."))
        except Misread as error:
            raise ModelError(
                f"{model.source.name} cannot be read as a {self.family.name} model: {error}; pass the model with its "
                "own tokenizer, or another --prm-family."
            ) from error

    def reading(self, model: StepModel) -> str:
        """Family and aggregation."""
        return f":{self.family.name}:{self.options.aggregation}"

    def encode(self, model: StepModel, candidate: Candidate) -> TokenRow | str:
        """As the family reads it."""
        steps = candidate.solution.steps
        if not steps:
            return [], []
        try:
            return self.family.encode(model.tokenizer, candidate.problem.question, steps)
        except Misread as error:
            return f"it cannot be read as the reward model was trained ({error})"

    def judge(self, candidate: Candidate, scores: tuple[float, ...]) -> Critique:
        """The aggregate of the steps' scores; without steps, 0."""
        steps = len(candidate.solution.steps)
        if self.family.outcome and scores:
            return Critique(score=scores[0], step_scores=scores * steps)
        if len(scores) != steps:
            return Critique.without_score(candidate, "its scores are not one for each step")
        total = _AGGREGATIONS[self.options.aggregation](scores) if scores else 0.0
        bad = first_below(scores, self.options.threshold)
        return Critique(score=total, step_scores=scores, first_bad_step=bad)
