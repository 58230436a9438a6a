"""A run of six toy problems on components small enough to see through: even answers are right."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from small_run import PlainTasks

from refine_eval.data import Candidate, Critique, Generation, Problem, Request, ScoredCandidate, Solution
from refine_eval.plugin.components import Critic, Engine, Refiner, Selector
from refine_eval.plugin.registry import Registry
from refine_eval.runs.pipeline import Strategy
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.store import Store
from refine_eval.terminal import Progress

PROBLEMS = [Problem(id=f"toy/{i}", task="toy", question=f"{i}?", prompt=f"Question: {i}?\nAnswer:\n") for i in range(6)]


class Digits(Engine):
    """Drafts "d<i>\\n#### <i>"; samples are numbered by their seed."""

    name = "digits"
    accepts_pretrained = False

    def __init__(self, options: Any = None, fail_after: int | None = None) -> None:
        super().__init__(options)
        self.asked: list[Request] = []
        self.fail_after = fail_after

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        for index, request in reversed(list(enumerate(requests))):  # any order is allowed
            if self.fail_after is not None and len(self.asked) >= self.fail_after:
                raise RuntimeError("the machine is on fire")
            self.asked.append(request)
            number = request.problem.id.split("/")[1]
            answer = number if request.purpose == "draft" else f"{number}{request.seed % 10}"
            yield (
                index,
                Generation(text=f"{request.purpose}\n#### {answer}", tokens=5, finish_reason="stop", seconds=0.1),
            )


class Even(Critic):
    """Holds even answers for right."""

    name = "even"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        return [
            Critique(
                score=score, step_scores=(score,) * len(c.solution.steps), first_bad_step=None if score > 0.5 else 1
            )
            for c in batch
            for score in [0.9 if int(c.solution.answer or 1) % 2 == 0 else 0.2]
        ]


class Again(Refiner):
    """Samples once more."""

    name = "again"

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        problems = [judged.candidate.problem for judged in batch]
        return self.runtime.sample_answers(problems, 2, 0.7, first=2 * (batch[0].round - 1))


class Best(Selector):
    """The highest score."""

    name = "best"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        return [max(range(len(found)), key=lambda i: found[i].critique.score) for found in batch]


class ToyTasks(PlainTasks):
    """Answers are what follows "#### "; everything even is right."""

    def is_correct(self, candidate: Candidate) -> bool:
        return int(candidate.solution.answer or 1) % 2 == 0

    def first_bad_step(self, candidate: Candidate) -> int | None:
        return None if self.is_correct(candidate) else 0


def runtime(tmp_path: Path, engine: Engine, seed: int = 0) -> RunRuntime:
    return RunRuntime(
        student=engine,
        registry=Registry([]),
        store=Store(tmp_path / "s.sqlite"),
        tasks=ToyTasks(),
        progress=Progress(quiet=True),
        seed=seed,
    )


def strategy(**changes: Any) -> Strategy:
    critic = Even()
    base = Strategy(when=critic, where=critic, choose=critic, refiners=(Again(),), selectors=(Best(),))
    return replace(base, **changes)
