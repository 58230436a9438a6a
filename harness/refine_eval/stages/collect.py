"""`refine-eval collect`: K samples a question from the student, graded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from refine_eval.data import Problem, QuestionSamples, Sample
from refine_eval.errors import StageError
from refine_eval.runs.runtime import RunRuntime
from refine_eval.tasks.task import LmEvalTask

STAGE = "sample"
"""The stage of the requests, as it is called in texts asked for, seeds and cost predictions."""

_TEXTS_AT_ONCE = 16_384
"""So many requests are made at a time: hundreds of thousands would fill the memory, few would starve an engine."""


def collect(
    runtime: RunRuntime, task: LmEvalTask, problems: Sequence[Problem], *, samples: int, temperature: float
) -> Iterator[QuestionSamples]:
    """Each question with its samples, in order. What is stored is not generated again."""
    view = runtime.for_component(runtime.student)
    at_once = max(1, _TEXTS_AT_ONCE // samples)
    for start in range(0, len(problems), at_once):
        some = problems[start : start + at_once]
        sampling = view.sampling(some[0], temperature=temperature)
        prompts = [problem.prompt for problem in some]
        written = view.generate(some, prompts, stage=STAGE, sampling=sampling, samples=samples)
        for problem, generations in zip(some, written, strict=True):
            found = [
                Sample(text=g.text, correct=task.grade(problem.id, g.text)[task.filter], tokens=g.tokens)
                for g in generations
            ]
            yield QuestionSamples(id=problem.id, question=problem.question, samples=tuple(found))


def gold_sample(task: LmEvalTask, problem: Problem) -> QuestionSamples:
    """The task's own solution as a question's one sample; StageError where the task's metric does not accept it."""
    text = task.gold_text(problem)
    if not task.grade(problem.id, text)[task.filter]:
        raise StageError(
            f"The gold solution of {problem.id} is not right by the task's own filter {task.filter!r}; the task has "
            "answers rather than solutions, which cannot be trained on, or needs another --filter."
        )
    sample = Sample(text=text, correct=True, tokens=0)
    return QuestionSamples(id=problem.id, question=problem.question, samples=(sample,))
