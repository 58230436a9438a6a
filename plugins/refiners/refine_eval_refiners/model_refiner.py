"""What refiners share that have a model continue a prompt made from the judged solution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from refine_eval import (
    Prompt,
    PromptForm,
    Prompts,
    Refiner,
    Sampling,
    ScoredCandidate,
    Solution,
    UsageError,
    check_options,
    option,
    prompt_form,
)

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
    prompts: Prompts = option("as-trained", "How it is asked: plain, or messages, by its chat template.", recent=True)

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
        tasks = {index: task for index, judged in enumerate(batch) if (task := self.task(judged)) is not None}
        written = self.write(batch, tasks, dict.fromkeys(tasks, self.options.samples))
        return [written.get(index, []) for index in range(len(batch))]

    def write(
        self,
        batch: Sequence[ScoredCandidate],
        tasks: Mapping[int, Task],
        samples: Mapping[int, int],
        attempt: int = 0,
        attempts: int = 1,
    ) -> dict[int, list[Solution]]:
        """For each task, by its candidate's index in the batch, so many solutions: others in each round and attempt."""
        alike: dict[tuple[Sampling, int, int], list[int]] = defaultdict(list)
        for index in tasks:
            sampling = self.runtime.sampling(batch[index].candidate.problem, temperature=self.options.temperature)
            alike[sampling, batch[index].round, samples[index]].append(index)
        found = {}
        for (sampling, number, count), group in alike.items():
            problems = [batch[index].candidate.problem for index in group]
            written = self.runtime.generate(
                problems,
                [tasks[index].prompt for index in group],
                purpose=self.name,
                sampling=sampling,
                samples=count,
                model=self.model,
                first=((number - 1) * attempts + attempt) * self.options.samples,
            )
            for index, problem, texts in zip(group, problems, written, strict=True):
                found[index] = [self.runtime.solution(problem, text, prefix=tasks[index].kept) for text in texts]
        return found


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

    @cached_property
    def form(self) -> PromptForm:
        """How the model is asked: as the user says, else as it was trained."""
        return prompt_form(self.options.prompts, self.model)

    def asked(self, prompt: str, kept: str = "") -> Task:
        """The task of a prompt that ends with what is kept, as the model is asked."""
        return Task(prompt=self.form.prompt(prompt.removesuffix(kept), kept), kept=kept)
