"""What the local and the global refiner share: a model of their own that continues a prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from refine_eval import Refiner, Sampling, ScoredCandidate, Solution, UsageError, check_options, option

MODELS = Path(__file__).parent / "models"
"""The bundled models; they know the bundled task only."""


class Task(NamedTuple):
    """What a refiner's model reads, and what stands before its text in the new solution."""

    prompt: str
    kept: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Options of a refiner with a model of its own."""

    model: str = option("", "Hub name or folder of the refiner's model; left empty: the bundled one.")
    samples: int = option(1, "Refinements to write for each solution.", min=1)
    temperature: float = option(0.0, "Sampling temperature; 0 is greedy and allows one sample only.", min=0, max=100)

    def __post_init__(self) -> None:
        check_options(self)
        if self.samples > 1 and self.temperature == 0:
            raise UsageError(
                f"{self.samples} greedy samples would all be the same; set the refiner's temperature above 0, say 0.7."
            )


class ModelRefiner(Refiner):
    """A refiner whose own model reads a prompt made from the judged solution."""

    Options = ModelOptions
    options: ModelOptions
    bundled: ClassVar[str]
    """The bundled model's folder in `models/`."""

    def task(self, judged: ScoredCandidate) -> Task | None:
        """What the model reads for this candidate; None: there is nothing to refine."""
        raise NotImplementedError

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        """`samples` refinements of each candidate that has something to refine."""
        refined: list[list[Solution]] = [[] for _ in batch]
        alike: dict[tuple[Sampling, int], list[tuple[int, Task]]] = defaultdict(list)
        for index, judged in enumerate(batch):
            task = self.task(judged)
            if task is not None:
                problem = judged.candidate.problem
                sampling = self.runtime.sampling(problem, temperature=self.options.temperature)
                alike[sampling, judged.round].append((index, task))
        for (sampling, number), group in alike.items():
            written = self.runtime.generate(
                [batch[index].candidate.problem for index, _ in group],
                [task.prompt for _, task in group],
                purpose=self.name,
                sampling=sampling,
                samples=self.options.samples,
                model=self.options.model or str(MODELS / self.bundled),
                first=(number - 1) * self.options.samples,
            )
            for (index, task), generations in zip(group, written, strict=True):
                problem = batch[index].candidate.problem
                refined[index] = [self.runtime.solution(problem, text, prefix=task.kept) for text in generations]
        return refined
