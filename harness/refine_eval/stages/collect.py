"""`refine-eval collect`: K samples a question from the student, graded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.data import Problem
from refine_eval.errors import StageError
from refine_eval.formats import split_steps
from refine_eval.runs.runtime import RunRuntime
from refine_eval.tasks.task import LmEvalTask

STAGE = "sample"
"""The stage of the requests, as it is called in texts asked for, seeds and cost predictions."""

_TEXTS_AT_ONCE = 16_384
"""So many requests are made at a time: hundreds of thousands would fill the memory, few would starve an engine."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """One sample: `right` by the task's metric under the run's filter."""

    text: str
    tokens: int
    right: bool
    finish_reason: str

    @property
    def steps(self) -> tuple[str, ...]:
        """The sample's non-empty lines."""
        return split_steps(self.text)


def collect(
    runtime: RunRuntime, task: LmEvalTask, problems: Sequence[Problem], *, samples: int, temperature: float
) -> Iterator[tuple[Problem, list[Sampled]]]:
    """Each problem with its samples, in order. What is stored is not generated again."""
    view = runtime.for_component(runtime.student)
    at_once = max(1, _TEXTS_AT_ONCE // samples)
    for start in range(0, len(problems), at_once):
        some = problems[start : start + at_once]
        sampling = view.sampling(some[0], temperature=temperature)
        prompts = [problem.prompt for problem in some]
        written = view.generate(some, prompts, stage=STAGE, sampling=sampling, samples=samples)
        for problem, generations in zip(some, written, strict=True):
            yield (
                problem,
                [
                    Sampled(
                        text=generation.text,
                        tokens=generation.tokens,
                        right=task.grade(problem.id, generation.text)[task.filter],
                        finish_reason=generation.finish_reason,
                    )
                    for generation in generations
                ],
            )


def gold_sample(task: LmEvalTask, problem: Problem) -> Sampled:
    """The task's own solution as a right sample; StageError where the task's metric does not accept it."""
    text = task.gold_text(problem)
    if not task.grade(problem.id, text)[task.filter]:
        raise StageError(
            f"The gold solution of {problem.id} is not right by the task's own filter {task.filter!r}; the task has "
            "answers rather than solutions, which cannot be trained on, or needs another --filter."
        )
    return Sampled(text=text, tokens=0, right=True, finish_reason="stop")


def sample_row(problem: Problem, found: Sequence[Sampled]) -> dict[str, Any]:
    """A problem and its samples as a line of `samples.jsonl`."""
    samples = [{"text": s.text, "right": s.right, "tokens": s.tokens} for s in found]
    return {"id": problem.id, "question": problem.question, "samples": samples}


def check_outcomes(rows: Sequence[dict[str, Any]], need: str) -> None:
    """StageError where a student never, or always, succeeds: `need` says what cannot be trained then."""
    outcomes = {sample["right"] for row in rows for sample in row["samples"]}
    if outcomes != {True, False}:
        never, lacks = ("never", "no right sample") if True not in outcomes else ("always", "no wrong sample")
        raise StageError(
            f"The student {never} succeeds: collect has {lacks}, and {need}. Collect more samples, at a "
            f"{'lower' if never == 'never' else 'higher'} temperature, or from another student."
        )
