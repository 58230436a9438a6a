"""The critic `length`."""

from collections.abc import Sequence
from dataclasses import dataclass

from refine_eval import Candidate, Critic, Critique, option


@dataclass(frozen=True, kw_only=True)
class LengthOptions:
    """Each field becomes an option: `--length-target`, `--length-tolerance`."""

    target: int = option(4, "The number of steps that scores best.", min=1)
    tolerance: float = option(2.0, "How many steps off halves the score.", above=0)


class LengthCritic(Critic):
    """Prefers solutions whose number of steps is near a target."""

    name = "length"
    Options = LengthOptions

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate, in order."""
        return [self._critique(len(candidate.solution.steps)) for candidate in batch]

    def _critique(self, steps: int) -> Critique:
        score = 0.5 ** (abs(steps - self.options.target) / self.options.tolerance)
        too_many = steps > self.options.target
        return Critique(
            score=score,
            step_scores=tuple(1.0 if index < self.options.target else score for index in range(steps)),
            first_bad_step=self.options.target if too_many else None,
        )
