"""Fresh samples instead of refinements: the best-of-N baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from refine_eval import Refiner, ScoredCandidate, Solution, check_options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampleOptions:
    """Options of the resample refiner."""

    samples: int = option(3, "Fresh samples of the student for each problem.", min=1)
    temperature: float = option(0.7, "Sampling temperature.", above=0, max=100)

    def __post_init__(self) -> None:
        check_options(self)


class ResampleRefiner(Refiner):
    """Draws fresh samples from the student and ignores the draft: the best-of-N baseline.

    They are the samples that the critic `agreement` draws too where the temperatures are equal, so that both
    together cost one set. Each round draws the next ones.
    """

    name = "resample"
    Options = ResampleOptions
    options: ResampleOptions

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        """`samples` solutions for each candidate, the next ones for each round."""
        refined: list[list[Solution]] = [[] for _ in batch]
        rounds: dict[int, list[int]] = defaultdict(list)
        for index, judged in enumerate(batch):
            rounds[judged.round].append(index)
        for number, indices in rounds.items():
            drawn = self.runtime.sample_answers(
                [batch[index].candidate.problem for index in indices],
                self.options.samples,
                self.options.temperature,
                first=(number - 1) * self.options.samples,
            )
            for index, solutions in zip(indices, drawn, strict=True):
                refined[index] = list(solutions)
        return refined
