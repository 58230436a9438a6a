"""The critic `ensemble`: the scores of several critics, combined by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from refine_eval import (
    Candidate,
    CombiningCritic,
    CriticWeights,
    Critique,
    Runtime,
    UsageError,
    check_options,
    first_below,
    option,
)

_Rule = Callable[[Mapping[str, float]], float]
"""The members' scores, by name, to one."""


@dataclass(frozen=True, kw_only=True)
class EnsembleOptions:
    """Options of the critic `ensemble`."""

    of: tuple[str, ...] = option(("agreement", "calculator"), "Critics that are combined, each with its own options.")
    rule: Literal["mean", "min", "logistic"] = option("mean", "How: logistic takes weights.")
    weights: str = option("", "File of weights that `refine-eval critics fit` wrote, for the rule logistic.")
    threshold: float = option(0.5, "A step that scores below is held to be wrong.", min=0, max=1)

    def __post_init__(self) -> None:
        check_options(self)
        if (self.rule == "logistic") != bool(self.weights):
            raise UsageError(
                "The rule logistic and a file of weights go together: pass --ensemble-rule logistic "
                "--ensemble-weights FILE; refine-eval critics fit writes such a file."
            )


class EnsembleCritic(CombiningCritic):
    """Several critics as one: the mean or the minimum of their scores, or a logistic combination that was fitted.

    A solution's score is combined from the members' scores of it, a step's from theirs of that step; every critic has
    one for each, and one that judges whole solutions alone says the same of all steps. The first bad step is the first
    that then scores under the threshold, whichever the members named. A solution that a member leaves unscored is
    unscored; the feedback of members is joined. `refine-eval critics fit` writes the weights of the rule `logistic`,
    which are refused for other members than theirs and for the problems that they were fitted on.
    """

    name = "ensemble"
    Options = EnsembleOptions
    options: EnsembleOptions

    _weights: CriticWeights | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """As the option says."""
        return self.options.of

    def open(self, runtime: Runtime) -> None:
        """Reads the weights, where the rule takes some."""
        super().open(runtime)
        self._weights = CriticWeights.read(self.options.weights) if self.options.weights else None

    def identity(self) -> str:
        """What the combined scores depend on: the content of the file of weights, too."""
        return super().identity() + (f" with {self._weights.digest}" if self._weights else "")

    def combine(self, batch: Sequence[Candidate], critiques: Mapping[str, Sequence[Critique]]) -> list[Critique]:
        """One critique per candidate, by the rule."""
        of_solution, of_step = self._rules(batch)
        return [
            self._combined(candidate, {name: found[at] for name, found in critiques.items()}, of_solution, of_step)
            for at, candidate in enumerate(batch)
        ]

    def _rules(self, batch: Sequence[Candidate]) -> tuple[_Rule, _Rule]:
        """For solutions and for steps; UsageError where weights are of other critics, or of these very problems."""
        if self._weights is not None:
            self._weights.check_members(self.identities)
            self._weights.check_apart(candidate.problem for candidate in batch)
            return self._weights.of_solution, self._weights.of_step
        rule = _mean if self.options.rule == "mean" else _least
        return rule, rule

    def _combined(
        self, candidate: Candidate, found: Mapping[str, Critique], of_solution: _Rule, of_step: _Rule
    ) -> Critique:
        feedback = "\n\n".join(critique.feedback for critique in found.values() if critique.feedback) or None
        for name, critique in found.items():
            if critique.unscored is not None:
                why = f"its member {name} has no score for it ({critique.unscored})"
                return Critique.without_score(candidate, why, feedback=feedback, parsed=critique.parsed)
        steps = tuple(
            of_step({name: critique.step_scores[at] for name, critique in found.items()})
            for at in range(len(candidate.solution.steps))
        )
        return Critique(
            score=of_solution({name: critique.score for name, critique in found.items()}),
            step_scores=steps,
            first_bad_step=first_below(steps, self.options.threshold),
            feedback=feedback,
        )


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def _least(scores: Mapping[str, float]) -> float:
    return min(scores.values())
