"""`refine-eval label`: step labels for the SORM by rollout, from the samples that `collect` drew.

The rules are switches of `LabelSettings`, so that an ablation is one option. Rule 3, balance, is left to training: it
depends on which samples are trained on (see `refine_eval.stages.rules.balance`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine_eval.data import Problem
from refine_eval.errors import StageError
from refine_eval.formats import continued, join_steps, split_steps
from refine_eval.plugin.registry import Registry
from refine_eval.results.table import notes
from refine_eval.runs.assembly import make_student, without_usual_steps
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.session import session
from refine_eval.runs.settings import CHAT_SETTINGS, PLAIN_PROMPTS, SessionSettings
from refine_eval.stages.folder import StageFolder, check_place, read_folder, write_folder
from refine_eval.stages.rollouts import Verified, naive_labels, rollout_labels
from refine_eval.stages.rows import LABELS, check_outcomes, labels_to_json, read_samples
from refine_eval.stages.rules import monotone
from refine_eval.stages.settings import LabelSettings
from refine_eval.terminal import Progress
from refine_eval.training_rows import LabelledSample, QuestionSamples

if TYPE_CHECKING:
    from refine_eval.tasks.task import LmEvalTask

STAGE = "rollout"

_NEEDED = ("task", "split", "limit", "num_fewshot", "max_gen_toks", "filter", "student")
"""Settings of `collect` that labels are made with."""


def label_stage(
    samples: Path,
    how: LabelSettings,
    settings: SessionSettings,
    *,
    out: Path,
    registry: Registry,
    progress: Progress,
) -> StageFolder:
    """Labels the samples in a folder of `collect` and writes the stage's folder; the task is that of the samples."""
    check_place(out, "label")
    collected = read_folder(samples, "collect")
    of = collected.settings
    if lacking := [name for name in _NEEDED if name not in of]:
        raise StageError(f"{samples} does not say its {lacking[0]!r}, which labels need; collect again.")
    rows = read_samples(collected)[: how.limit]
    check_outcomes(rows, "labels by rollout need both")
    named = ("task", "num_fewshot", "max_gen_toks", "filter")
    settings = replace(settings, **{name: of[name] for name in named})
    unsaid: dict[str, Any] = {name: of.get(name) for name in ("metric", "correct_above", *CHAT_SETTINGS)}
    unsaid["apply_chat_template"] = unsaid["apply_chat_template"] or PLAIN_PROMPTS  # whatever the student's card says
    unsaid["steps"] = settings.steps or of.get("steps")
    settings = without_usual_steps(replace(settings, **unsaid), registry)
    student = make_student(settings, registry, progress)
    with session(settings, student, registry, progress) as (task, runtime):
        problems = {problem.id: problem for problem in task.questions(of["split"], of["limit"])}
        for row in rows:
            if row.id not in problems or problems[row.id].question != row.question:
                raise StageError(
                    f"{samples} was made from other data: question {row.id} reads differently now; pass the "
                    "--data-dir that collect had, or collect again."
                )
        labeller = Labeller(runtime, task, how)
        found = list(labeller.label(chosen_samples(rows, problems, how.per_question, solved=how.solved)))
        identity = runtime.student_identity()
    for note in notes(runtime.usage.left_out()):
        progress.note(f"Note: {note}; the samples that they are of are left out ({labeller.left_out:,}).")
    if identity != of["student"]:
        progress.note(f"Note: the samples are of another student than the rollouts ({of['student']}).")
    return write_folder(
        out,
        stage="label",
        settings={
            "task": of["task"],
            **asdict(how),
            **settings.steps_choice,
            "seed": settings.seed,
            "student": identity,
        },
        inputs={"samples": collected},
        counts={
            "samples": len(found),
            "wrong": sum(not sample.correct for sample in found),
            "steps": sum(len(sample.labels) for sample in found),
            "positive_steps": sum(value > 0 for sample in found for value in sample.labels),
            **({"left_out": labeller.left_out} if labeller.left_out else {}),
            "rollouts": labeller.rollouts,
            "rollout_tokens": labeller.tokens,
            "generated_now": runtime.generated,
        },
        rows={LABELS: map(labels_to_json, found)},
    )


class Labeller:
    """Labels samples with the student's rollouts; counts what it asked for."""

    def __init__(self, runtime: RunRuntime, task: LmEvalTask, settings: LabelSettings) -> None:
        self.task, self.settings = task, settings
        self._runtime = runtime
        self._view = runtime.for_component(runtime.student)
        self.rollouts = 0
        """Continuations asked for, stored ones included."""
        self.tokens = 0
        """Tokens in them."""
        self.left_out = 0
        """Samples without labels: a rollout of theirs could not be written, which says neither good nor bad."""

    def label(self, samples: Sequence[tuple[Problem, str, bool]]) -> Iterator[LabelledSample]:
        """`samples` are (problem, text, whether it is right).

        Those without a step are left out, and those with a rollout that could not be written.
        """
        pieces = self._pieces([text for _, text, _ in samples])
        kept = [(problem, own, right) for (problem, _, right), own in zip(samples, pieces, strict=True) if own]
        if not kept:
            return
        settings, steps = self.settings, [steps for _, steps, _ in kept]
        odd: set[int] = set()

        def is_correct(n: int, solution: Sequence[str]) -> bool:
            return self.task.grade(kept[n][0].id, self._joined(solution))[self.task.filter]

        def write(prefixes: Sequence[tuple[int, Sequence[str]]], number: int) -> list[tuple[str, ...]]:
            written = self._write([(kept[n][0], prefix) for n, prefix in prefixes], number)
            odd.update(n for (n, _), rest in zip(prefixes, written, strict=True) if rest is None)
            return [rest or () for rest in written]

        verified: Verified
        if settings.naive:
            shares, verified = naive_labels(steps, is_correct, write, settings.rollouts, consistent=settings.consistent)
            hard = [[int(share > 0) for share in row] for row in shares]
            if settings.monotone:
                hard = [monotone(row) for row in hard]
            labels: list[list[float]] = shares if settings.soft else [[*map(float, row)] for row in hard]
        else:
            hard, verified = rollout_labels(steps, is_correct, write, settings.rollouts, consistent=settings.consistent)
            labels = [[*map(float, row)] for row in hard]
        self.left_out += len(odd)
        rests: list[dict[int, tuple[str, ...]]] = [{} for _ in kept]
        for (n, length), rest in verified.items():
            rests[n][length] = rest
        for n, ((problem, own, right), found, rest_by_length) in enumerate(zip(kept, labels, rests, strict=True)):
            if n in odd:
                continue
            yield LabelledSample(
                id=problem.id,
                question=problem.question,
                steps=own,
                correct=right,
                labels=tuple(found),
                verified=rest_by_length,
                exact=self._runtime.splitter is not None,
            )

    def _pieces(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """The steps of each text: its lines, or the splitter's pieces to the byte."""
        cuts = self._runtime.cuts(texts)
        if cuts is None:
            return [split_steps(text) for text in texts]
        return [tuple(text[a:b] for a, b in pairwise(found)) for text, found in zip(texts, cuts, strict=True)]

    def _joined(self, steps: Sequence[str]) -> str:
        return join_steps(steps) if self._runtime.splitter is None else "".join(steps)

    def _write(self, prefixes: Sequence[tuple[Problem, Sequence[str]]], number: int) -> list[tuple[str, ...] | None]:
        """Rollout `number` of each prefix, None where it could not be written; equal prefixes have the same."""
        problems = [problem for problem, _ in prefixes]
        written = self._view.generate(
            problems,
            [continued(problem.prompt, self._joined(steps)) for problem, steps in prefixes],
            purpose=STAGE,
            sampling=self._view.sampling(problems[0], temperature=self.settings.temperature),
            first=number,
        )
        self.rollouts += len(written)
        self.tokens += sum(generation.tokens for (generation,) in written)
        rests = self._pieces([self._view.parted(one).text for (one,) in written])
        return [None if one.unwritten is not None else rest for (one,), rest in zip(written, rests, strict=True)]


def chosen_samples(
    rows: Sequence[QuestionSamples],
    problems: Mapping[str, Problem],
    per_question: int | None,
    *,
    solved: bool = False,
) -> list[tuple[Problem, str, bool]]:
    """The distinct samples of each question, at most `per_question` wrong and as many right ones, in order.

    `solved`: of questions that have a right one.
    """
    chosen = []
    for row in rows:
        if solved and not any(sample.correct for sample in row.samples):
            continue
        for right in (False, True):
            texts = dict.fromkeys(sample.text for sample in row.samples if sample.correct is right)
            chosen += [(problems[row.id], text, right) for text in list(texts)[:per_question]]
    return chosen
