"""`refine-eval collect`: K samples per question from the student, graded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refine_eval.data import Problem
from refine_eval.errors import StageError
from refine_eval.formats import student_prompt
from refine_eval.plugin.registry import Registry
from refine_eval.results.table import notes
from refine_eval.runs.assembly import make_student
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.session import session
from refine_eval.runs.settings import SessionSettings
from refine_eval.runs.trained import settled
from refine_eval.stages.folder import StageFolder, check_place, write_folder
from refine_eval.stages.rows import SAMPLES, samples_to_json
from refine_eval.stages.settings import CollectSettings
from refine_eval.tasks.bounds import is_read, unread_note
from refine_eval.terminal import Progress
from refine_eval.training_rows import QuestionSamples, Sample

if TYPE_CHECKING:
    from refine_eval.tasks.task import LmEvalTask

STAGE = "sample"
"""The stage of the requests, as it is called in texts asked for, seeds and cost predictions."""

_TEXTS_AT_ONCE = 16_384
"""So many requests are made at a time: hundreds of thousands would fill the memory, few would starve an engine."""


def collect_stage(
    how: CollectSettings, settings: SessionSettings, *, out: Path, registry: Registry, progress: Progress
) -> StageFolder:
    """Draws the samples, or takes the gold solutions, grades them, and writes the stage's folder."""
    check_place(out, "collect")
    settings = settled(settings, registry)
    # A gold solution is one, and nothing is drawn.
    samples, temperature = (1, 0.0) if how.gold else (how.samples, how.temperature)
    student = make_student(settings, registry, progress)
    with session(settings, student, registry, progress) as (task, runtime):
        problems = task.questions(how.split, how.limit)
        if how.gold:
            rows = gold_samples(runtime, task, problems)
            identity = None
        else:
            rows = list(collect(runtime, task, problems, samples=samples, temperature=temperature))
            identity = runtime.student_identity()
        grading = {"filter": task.filter, **task.metric.settings}
    unread = sum(not is_read(sample.text) for row in rows for sample in row.samples)
    if unread:
        progress.note(unread_note(unread))
    unwritten = samples * len(rows) - sum(len(row.samples) for row in rows)
    for note in notes(runtime.usage.left_out()):
        progress.note(f"Note: {note}.")
    right = [sum(sample.correct for sample in row.samples) for row in rows]
    return write_folder(
        out,
        stage="collect",
        settings={
            "task": settings.task,
            "split": how.split,
            "limit": how.limit,
            "num_fewshot": settings.num_fewshot,
            "max_gen_toks": settings.max_gen_toks,
            **settings.chat_choices,
            **settings.steps_choice,
            **grading,
            "samples": samples,
            "temperature": temperature,
            "seed": settings.seed,
            "student": identity,
        },
        inputs={},
        counts={
            "questions": len(rows),
            "samples": samples * len(rows) - unwritten,
            **({"unwritten": unwritten} if unwritten else {}),
            **({"gold_not_right": len(problems) - len(rows)} if len(rows) < len(problems) else {}),
            "right": sum(right),
            "questions_never_right": right.count(0),
            "questions_always_right": sum(0 < n == len(row.samples) for n, row in zip(right, rows, strict=True)),
            "tokens": sum(sample.tokens for row in rows for sample in row.samples),
            "generated_now": runtime.generated,
        },
        rows={SAMPLES: map(samples_to_json, rows)},
    )


def collect(
    runtime: RunRuntime, task: LmEvalTask, problems: Sequence[Problem], *, samples: int, temperature: float
) -> Iterator[QuestionSamples]:
    """Each question with its samples, in order, without thoughts and without those that could not be written.

    What is stored is not generated again.
    """
    view = runtime.for_component(runtime.student)
    at_once = max(1, _TEXTS_AT_ONCE // samples)
    for start in range(0, len(problems), at_once):
        some = problems[start : start + at_once]
        sampling = view.sampling(some[0], temperature=temperature)
        prompts = [problem.prompt for problem in some]
        written = view.generate(some, prompts, purpose=STAGE, sampling=sampling, samples=samples)
        for problem, generations in zip(some, written, strict=True):
            there = [generation for generation in generations if generation.unwritten is None]
            texts = [view.parted(generation).text for generation in there]
            found = [
                Sample(text=text, correct=task.grade(problem.id, text)[task.filter], tokens=g.tokens, cuts=cuts)
                for g, text, cuts in zip(there, texts, _cuts(runtime, texts), strict=True)
            ]
            yield QuestionSamples(id=problem.id, question=problem.question, samples=tuple(found), asked=_asked(problem))


def _asked(problem: Problem) -> str | None:
    """As `QuestionSamples.asked` has it."""
    if isinstance(problem.prompt, str):
        return None
    *system, last = problem.prompt
    alone = last.role == "user" and all(message.role == "system" for message in system)
    return last.content if alone and last.content != student_prompt(problem.question) else None


def _cuts(runtime: RunRuntime, texts: Sequence[str]) -> Sequence[tuple[int, ...] | None]:
    """Where each text is cut into steps; None: they are lines."""
    return runtime.cuts(texts) or [None] * len(texts)


def gold_samples(runtime: RunRuntime, task: LmEvalTask, problems: Sequence[Problem]) -> list[QuestionSamples]:
    """The task's own solutions as one sample a question, if its metric accepts them; StageError where it does none."""
    texts = {problem.id: task.gold_text(problem) for problem in problems}
    right = [problem for problem in problems if task.grade(problem.id, texts[problem.id])[task.filter]]
    if problems and not right:
        raise StageError(
            f"The gold solution of {problems[0].id} is not right by the task's own filter {task.filter!r}, nor is any "
            "other; the task has answers rather than solutions, which cannot be trained on, or needs another --filter."
        )
    cuts = _cuts(runtime, [texts[problem.id] for problem in right])
    return [
        QuestionSamples(
            id=problem.id,
            question=problem.question,
            samples=(Sample(text=texts[problem.id], correct=True, tokens=0, cuts=own),),
            asked=_asked(problem),
        )
        for problem, own in zip(right, cuts, strict=True)
    ]
