"""What components may ask of the run that they work in, as protocols: the Runtime, and parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from refine_eval.data import AnswerGroup, Candidate, EngineSpec, Generation, Problem, Prompt, Sampling, Solution


class Grader(Protocol):
    """Knows the gold answers. Given to components that declare `needs_gold`, and to nobody else."""

    def is_correct(self, candidate: Candidate) -> bool:
        """Whether the task's metric, under the run's filter, accepts the candidate."""
        ...

    def first_bad_step(self, candidate: Candidate) -> int | None:
        """The exact first wrong step (from 0; None: all right); TaskError where the task cannot tell."""
        ...


class EngineRuntime(Protocol):
    """The part of a Runtime that engines, and models that critics load, look at; `ComputeSettings` is one by itself."""

    @property
    def seed(self) -> int:
        """The run's seed."""
        ...

    @property
    def device(self) -> str:
        """Where models run: "auto", "cpu", "cuda", "cuda:1", "mps"."""
        ...

    @property
    def dtype(self) -> str:
        """What models compute in: "auto", "float32", "bfloat16", "float16"."""
        ...

    @property
    def batch_size(self) -> int | None:
        """Sequences at once in a model of one's own; None: choose."""
        ...


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """Where models run and in what they compute, for whoever opens an engine without a run."""

    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None


class Runtime(EngineRuntime, Protocol):
    """What a component may use while it is open. Made by the pipeline; `refine_eval.testing` has a toy one."""

    def generate(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        *,
        purpose: str,
        sampling: Sampling | None = None,
        samples: int = 1,
        model: str | EngineSpec | None = None,
        first: int = 0,
    ) -> list[list[Generation]]:
        """Texts number `first` to `first + samples - 1` for each prompt; what is stored is not written again.

        A prompt is a text or messages, which the model's own chat template renders; UsageError for an engine that
        takes no messages.
        One that cannot be written is empty and says why as `unwritten`; its `solution` is left out of a refiner's.
        `sampling` None takes the task's own; `model` None is the student, else a hub name or folder, or an engine with
        a model of its own; it is opened once and shared by all who name it.
        """
        ...

    def can_choose(self, model: str | EngineSpec | None = None) -> bool:
        """Whether the engine of a model, which is the student's for None, has `choose`."""
        ...

    def choose(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        choices: Sequence[str],
        *,
        purpose: str,
        model: str | EngineSpec | None = None,
    ) -> list[Generation]:
        """For each prompt how likely each choice is to come next, as `logprobs` of a Generation without a text.

        A choice is a text of one token or several, " Yes" where the prompt ends in a word. Nothing is written: it takes
        one reading of the prompt, and prompts that begin alike are read once where the engine can. UsageError for an
        engine that has no `choose`; `generate` says the rest.
        """
        ...

    def sampling(self, problem: Problem, *, temperature: float = 0.0, top_p: float = 1.0) -> Sampling:
        """The task's stop strings and length limit with this temperature and top-p."""
        ...

    def solution(self, problem: Problem, generation: Generation, prefix: str = "") -> Solution:
        """A generation as a solution: `prefix` + text, split into steps, answer extracted by the task's filter."""
        ...

    def sample_answers(
        self, problems: Sequence[Problem], samples: int, temperature: float, first: int = 0
    ) -> list[list[Solution]]:
        """The student's sampled solutions number `first` to `first + samples - 1` of each problem.

        Everybody who asks for the same numbers at one temperature gets the same solutions.
        """
        ...

    def answer_groups(
        self, problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]]
    ) -> list[list[AnswerGroup]]:
        """For each problem its solutions by their answers, in the order in which answers appear.

        Answers are equal as the task compares them: numbers by value, formulas by math-verify, other texts as they are.
        Solutions without an answer are in no group.
        """
        ...

    def student_identity(self) -> str:
        """What the student's texts depend on: model, revision, run seed."""
        ...

    def student_model(self) -> tuple[str, str | None]:
        """Hub name or folder of the student's model, and its revision: for critics that read the same model.

        UsageError where it has none here, as that of a server.
        """
        ...

    @property
    def grader(self) -> Grader:
        """The grader; raises PluginError for a component that does not declare `needs_gold`."""
        ...
