"""The critics `likelihood` and `self-certainty`: how sure a language model is of a solution's tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from refine_eval import (
    Candidate,
    CausalStepModel,
    Critique,
    ModelSource,
    Runtime,
    StepModel,
    TokenClassifierCritic,
    TokenRow,
    first_below,
    option,
    resolve_model,
)


class _Means(CausalStepModel):
    """A language model whose scores are means over the tokens of the solution and of each step."""

    def measure(self, mean: float) -> float:
        """From a mean over tokens to a score in [0, 1]."""
        return mean

    def scores(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        """See `StepModel.scores`: one for the solution, and one for each step.

        The first position of a row is the last token before the solution, the others are the last of each step.
        """
        return [
            self._means(sums, places) if sums else ()
            for sums, (_, places) in zip(super().scores(rows), rows, strict=True)
        ]

    def _means(self, sums: Sequence[float], places: Sequence[int]) -> tuple[float, ...]:
        whole = (sums[-1] - sums[0]) / max(places[-1] - places[0], 1)
        steps = zip(pairwise(sums), pairwise(places), strict=True)
        # A step that is but a part of a token has no token of its own.
        means = [(after - before) / (end - begin) if end > begin else whole for (before, after), (begin, end) in steps]
        return tuple(self.measure(mean) for mean in (whole, *means))


class TokenProbability(_Means):
    """The geometric mean of the tokens' probabilities: exp of the mean log-probability, 1 / perplexity."""

    def measure(self, mean: float) -> float:
        """From (-inf, 0] to [0, 1]."""
        return math.exp(mean)


class TokenEntropy(_Means):
    """1 less the mean entropy of the next token, as a share of the highest that there is."""

    def value(self, log_probabilities: Any, tokens: Any) -> Any:
        """See `CausalStepModel.value`."""
        entropy = -(log_probabilities.exp() * log_probabilities).nansum(-1)  # 0 where a token cannot be
        return 1 - entropy / math.log(log_probabilities.shape[-1])


class SelfCertainty(_Means):
    """The mean divergence c of the next token from a uniform one, as c / (1 + c): the order is that of c."""

    def measure(self, mean: float) -> float:
        """From [0, inf) to [0, 1)."""
        return mean / (1 + mean)

    def value(self, log_probabilities: Any, tokens: Any) -> Any:
        """KL(uniform || next token) (Kang et al. 2025, arXiv 2502.18581, section 3)."""
        return -math.log(log_probabilities.shape[-1]) - log_probabilities.mean(-1)


@dataclass(frozen=True, kw_only=True)
class SelfCertaintyOptions:
    """Options of the critic `self-certainty`."""

    model: str = option("", "Hub name or folder of a language model (default: the student).")
    threshold: float = option(0.0, "A step that scores below is held to be wrong.", min=0, max=1)


@dataclass(frozen=True, kw_only=True)
class LikelihoodOptions(SelfCertaintyOptions):
    """Options of the critic `likelihood`."""

    measure: Literal["probability", "entropy"] = option(
        "probability", "The mean probability of the tokens, or how far the mean entropy is from the highest."
    )


class SelfCertaintyCritic(TokenClassifierCritic):
    """How far a language model's next token is from a uniform one, over a solution's tokens (arXiv 2502.18581).

    One forward pass a solution, after the prompt that the student had, a chat template included. The score is
    c / (1 + c) of the mean divergence c of all tokens, a step's that of its own tokens. No step is called bad unless
    `--self-certainty-threshold` says from where on: a sure model need not be right.
    """

    name = "self-certainty"
    Options = SelfCertaintyOptions
    options: SelfCertaintyOptions  # type: ignore[assignment]  # transformers alone runs it
    replicable = False  # it may ask for the student's model

    def source(self, runtime: Runtime) -> ModelSource:  # type: ignore[override]  # who opens critics has a whole one
        """The model asked for, else the student's."""
        return resolve_model(self.options.model) if self.options.model else resolve_model(*runtime.student_model())

    @property
    def step_model(self) -> type[_Means]:  # type: ignore[override]
        """What reads the model."""
        return SelfCertainty

    def check(self, model: StepModel) -> None:
        """Any language model will do."""

    def reading(self, model: StepModel) -> str:
        """What is measured."""
        return f":{type(model).__name__}"

    def encode(self, model: StepModel, candidate: Candidate) -> TokenRow | str:
        """The prompt and the solution; positions are the last token before the solution and of each step."""
        solution = candidate.solution
        if not solution.steps:
            return [], []
        assert isinstance(model, CausalStepModel)
        ends = [len(solution.before(step)) for step in range(len(solution.steps) + 1)]
        return model.row(candidate.problem.prompt, solution.written[: ends[-1]], ends)

    def judge(self, candidate: Candidate, scores: tuple[float, ...]) -> Critique:
        """The first score is the whole solution's; without steps, 0."""
        whole, *steps = scores or (0.0,)
        bad = first_below(steps, self.options.threshold)
        return Critique(score=whole, step_scores=tuple(steps), first_bad_step=bad)


class LikelihoodCritic(SelfCertaintyCritic):
    """How likely a language model, by default the student, finds a solution: exp of its tokens' mean log-probability.

    One forward pass a solution, after the prompt that the student had, a chat template included. A step's score is that
    of its own tokens. `--likelihood-measure entropy` looks at how sure the model was of the next token, whichever came.
    No step is called bad unless `--likelihood-threshold` says from where on.
    """

    name = "likelihood"
    Options = LikelihoodOptions
    options: LikelihoodOptions

    @property
    def step_model(self) -> type[_Means]:  # type: ignore[override]
        """What reads the model, and what it measures."""
        return TokenProbability if self.options.measure == "probability" else TokenEntropy
