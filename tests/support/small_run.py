"""A whole run of four toy problems in this process, with components that a test makes: a second takes hundreds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from refine_eval.data import (
    AnswerGroup,
    Candidate,
    Critique,
    Generation,
    Problem,
    Request,
    Sampling,
    ScoredCandidate,
    Solution,
    Trace,
)
from refine_eval.plugin.components import Critic, Engine, Refiner, Selector
from refine_eval.plugin.registry import Registry
from refine_eval.runs.pipeline import Pipeline, Strategy
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.store import Store
from refine_eval.terminal import Progress

PROBLEMS = [Problem(id=f"toy/{n}", task="toy", question=f"{n}?", prompt=f"Question: {n}?\n") for n in range(4)]


class PlainEngine(Engine):
    """Writes two steps; the answer is the problem's number, of a sample one more."""

    name = "plain-engine"
    accepts_pretrained = False

    def identity(self) -> str:
        return "plain-engine, whichever class of it"

    def one(self, request: Request) -> Any:
        number = int(request.problem.id.partition("/")[2]) + (request.purpose != "draft")
        return Generation(text=f"so it is\n#### {number}", tokens=5, finish_reason="stop", seconds=0.5)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        for index, request in enumerate(requests):
            yield index, self.one(request)


class PlainCritic(Critic):
    """Scores everything a half."""

    name = "plain-critic"

    def one(self, candidate: Candidate) -> Any:
        return Critique(score=0.5, step_scores=(0.5,) * len(candidate.solution.steps), first_bad_step=0)

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        return [self.one(candidate) for candidate in batch]


class PlainRefiner(Refiner):
    """Samples once."""

    name = "plain-refiner"

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        return self.runtime.sample_answers([judged.candidate.problem for judged in batch], 1, 0.7)


class PlainSelector(Selector):
    """Keeps the draft."""

    name = "plain-selector"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        return [0 for _ in batch]


class _Tasks:
    """Answers are what follows "#### ", and all are right."""

    def answers(self, problem: Problem, texts: Sequence[str]) -> list[str | None]:
        return [text.rpartition("#### ")[2] or None for text in texts]

    def answer_groups(self, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> list[list[AnswerGroup]]:
        return [[AnswerGroup(members=(index,), best_spelt=index) for index, _ in enumerate(some)] for some in texts]

    def sampling(self, problem: Problem) -> Sampling:
        return Sampling(max_tokens=32)

    def is_correct(self, candidate: Candidate) -> bool:
        return True

    def first_bad_step(self, candidate: Candidate) -> int | None:
        return None


class SmallRun:
    """A run whose parts can be looked at. `components` take the places of the plain ones of their kinds."""

    def __init__(self, folder: Path, *components: Any) -> None:
        parts: dict[str, Any] = {"engine": PlainEngine(), "critic": PlainCritic(), "refiner": PlainRefiner()}
        parts |= {"selector": PlainSelector()} | {component.kind: component for component in components}
        self.store = Store(folder / "store.sqlite")
        self.runtime = RunRuntime(
            student=parts["engine"],
            registry=Registry([]),
            store=self.store,
            tasks=_Tasks(),
            progress=Progress(quiet=True),
        )
        critic = parts["critic"]
        strategy = Strategy(
            when=critic, where=critic, choose=critic, refiners=(parts["refiner"],), selectors=(parts["selector"],)
        )
        self.pipeline = Pipeline(strategy, self.runtime)

    def traces(self) -> list[Trace]:
        """Runs, and closes everything as `execute` does."""
        try:
            return self.pipeline.run(PROBLEMS)
        finally:
            self.pipeline.close()
            self.runtime.close()
            self.store.close()


def run(folder: Path, *components: Any) -> list[Trace]:
    """The traces of a run with these components in it."""
    return SmallRun(folder, *components).traces()
