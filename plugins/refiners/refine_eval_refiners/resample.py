"""Fresh samples instead of refinements: the best-of-N baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from refine_eval import Judged, Refiner, Solution, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampleOptions:
    """Options of the resample refiner."""

    samples: int = field(default=3, metadata={"help": "Fresh samples of the student for each problem."})
    temperature: float = field(default=0.7, metadata={"help": "Sampling temperature, above 0."})

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"The resample refiner draws at least one sample, not {self.samples}.")
        if self.temperature <= 0:
            raise UsageError(f"Fresh samples need a temperature above 0, not {self.temperature}.")


class ResampleRefiner(Refiner):
    """Draws fresh samples from the student and ignores the draft: the best-of-N baseline.

    They are the samples that the critic `agreement` draws too where the temperatures are equal, so that both
    together cost one set. Each round draws the next ones.
    """

    name = "resample"
    Options = ResampleOptions
    options: ResampleOptions

    def refine(self, batch: Sequence[Judged]) -> list[list[Solution]]:
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
