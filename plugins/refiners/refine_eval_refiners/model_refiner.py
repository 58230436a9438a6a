"""What refiners share that have a model continue a prompt made from the judged solution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from refine_eval import Prompt, Refiner, Sampling, ScoredCandidate, Solution, UsageError, check_options, option

MODELS = Path(__file__).parent / "models"
"""The bundled models; they know the bundled task only."""


class Task(NamedTuple):
    """What a refiner's model reads, and what stands before its text in the new solution."""

    prompt: Prompt
    kept: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Options of a refiner with a model of its own."""

    model: str = option("", "Hub name or folder of the refiner's model; left empty: the bundled one.")
    samples: int = option(1, "Refinements to write for each solution.", min=1)
    temperature: float = option(0.0, "Sampling temperature; 0 is greedy and allows one sample only.", min=0, max=100)

    def __post_init__(self) -> None:
        check_options(self)
        check_samples(self)


class SamplingOptions(Protocol):
    """How many texts to write for each solution, and how."""

    @property
    def samples(self) -> int: ...

    @property
    def temperature(self) -> float: ...


def check_samples(options: SamplingOptions) -> None:
    """UsageError for several greedy samples."""
    if options.samples > 1 and options.temperature == 0:
        raise UsageError(
            f"{options.samples} greedy samples would all be the same; set the refiner's temperature above 0, say 0.7."
        )


class WritingRefiner(Refiner):
    """A refiner that has a model write: the student, or one of its own."""

    options: SamplingOptions

    @property
    def model(self) -> str | None:
        """The model's hub name or folder; None: the student."""
        return None

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
                model=self.model,
                first=(number - 1) * self.options.samples,
            )
            for (index, task), generations in zip(group, written, strict=True):
                problem = batch[index].candidate.problem
                refined[index] = [self.runtime.solution(problem, text, prefix=task.kept) for text in generations]
        return refined


class ModelRefiner(WritingRefiner):
    """A refiner with a model that was trained for it, of which one is bundled."""

    Options = ModelOptions
    options: ModelOptions
    bundled: ClassVar[str]
    """The bundled model's folder in `models/`."""

    @property
    def model(self) -> str:
        """The model named, or the bundled one."""
        return self.options.model or str(MODELS / self.bundled)
