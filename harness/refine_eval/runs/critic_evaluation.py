"""Critics evaluated: on which solutions, by which thresholds, and what came of it. Nothing is refined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from refine_eval.errors import UsageError
from refine_eval.formats import one_line
from refine_eval.plugin.registry import Registry
from refine_eval.results.critic_records import EvaluatedCritic, Evaluation
from refine_eval.results.label_files import LabelFile
from refine_eval.runs.judging import Views, judge_drafts, judge_files
from refine_eval.runs.portable import portable_command
from refine_eval.runs.settings import RunSettings
from refine_eval.statistics.judged import Judged, Labelled, figures
from refine_eval.statistics.judged_tuning import best_thresholds, cross_fitted
from refine_eval.tasks.splits import task_and_split
from refine_eval.terminal import Progress, shortened

HALVES: Literal["halves"] = "halves"
"""Each half of the problems by the thresholds that are best on the other."""


def evaluate_critics(
    settings: RunSettings,
    critics: Sequence[str],
    registry: Registry,
    progress: Progress,
    *,
    labels: LabelFile | None,
    tune_on: Literal["halves"] | None = None,
    tune_labels: LabelFile | None = None,
) -> Evaluation:
    """The critics on the solutions of `labels` or, without them, on drafts of the settings' task.

    Their thresholds are their own, or chosen on halves or on the solutions of `tune_labels`. UsageError where a
    question of those is measured on, too; else raises RefineEvalError.
    """
    if labels is not None:
        solutions, unused = labels.solutions, labels.unused
        _check_apart(tune_labels, solutions)
        views = judge_files(settings, critics, solutions, registry, progress)
        data, details = of_files(labels)
    else:
        drafts, views = judge_drafts(settings, critics, registry, progress)
        solutions, unused = drafts.solutions, drafts.unused
        _check_apart(tune_labels, solutions)
        data, details = of_drafts(settings, solutions, drafts.student)
    tuning = judge_files(settings, critics, tune_labels.solutions, registry, progress) if tune_labels else None
    return Evaluation(
        command=portable_command(settings.command),
        data=data,
        details=details | (_tuned_details(tune_labels) if tune_labels else {}),
        tuned=", ".join(tune_labels.names) if tune_labels else tune_on or "",
        unused=unused,
        critics=tuple(
            _evaluated(
                of_critic,
                solutions,
                tune_on,
                list(zip(tune_labels.solutions, tuning[at].critiques, strict=True)) if tune_labels and tuning else None,
            )
            for at, of_critic in enumerate(views)
        ),
    )


def _evaluated(
    views: Views, solutions: Sequence[Labelled], tune_on: str | None, apart: Sequence[Any] | None
) -> EvaluatedCritic:
    pairs = list(zip(solutions, views.critiques, strict=True))
    if tune_on == HALVES:
        judged = cross_fitted(pairs, views.own)
    else:
        own = views.own if apart is None else best_thresholds(apart, "the file of --tune-data", views.own)
        judged = [Judged(solution=s, critique=c, thresholds=own) for s, c in pairs]
    names_steps = any(each.named is not None for each in judged)
    sources = dict.fromkeys(s.source for s in solutions if s.source is not None)
    return EvaluatedCritic(
        name=views.name,
        options=views.options,
        identity=views.identity,
        needs_gold=views.needs_gold,
        thresholds=tuple(dict.fromkeys(each.thresholds for each in judged)),
        figures=figures(judged, names_steps),
        subsets={
            source: figures([each for each in judged if each.solution.source == source], names_steps)
            for source in sources
        },
        unscored=views.unscored,
        cost=views.cost,
    )


def _check_apart(tuned_on: LabelFile | None, measured: Sequence[Labelled]) -> None:
    if tuned_on is None:
        return
    there = {text for s in measured for text in (s.problem, one_line(s.question))}
    both = {s.problem for s in tuned_on.solutions if s.problem in there or one_line(s.question) in there}
    if both:
        raise UsageError(
            f"--tune-data has {len(both):,} of the problems that are measured on, such as "
            f"{shortened(min(both), 60)!r}: leave them out, or pass --tune-on {HALVES} instead."
        )


def of_files(labels: LabelFile) -> tuple[str, dict[str, Any]]:
    """What a record says of labelled files, in words and exactly."""
    names = ", ".join(labels.names)
    return f"{names} ({labels.form})", {"files": _files(labels), "form": labels.form, "rows": labels.rows}


def _files(labels: LabelFile) -> list[dict[str, str]]:
    return [{"name": name, "sha256": digest} for name, digest in zip(labels.names, labels.sha256, strict=True)]


def _tuned_details(labels: LabelFile) -> dict[str, Any]:
    return {"tuned_on": {"files": _files(labels), "form": labels.form, "solutions": len(labels.solutions)}}


def of_drafts(settings: RunSettings, solutions: Sequence[Labelled], student: str) -> tuple[str, dict[str, Any]]:
    """What a record says of a task's drafts, in words and exactly."""
    details = {"task": settings.task, "limit": settings.limit, "student": student, "seed": settings.seed}
    drawn = {"drafts": settings.drafts, "draft_temperature": settings.draft_temperature}
    split = task_and_split(settings.task)[1] or "test"
    return f"{settings.task}, drafts of the {split} problems", details | {
        k: v for k, v in drawn.items() if v is not None
    }
