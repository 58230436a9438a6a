"""One run: from names and options to a table and a run record. The command line only fills in RunSettings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval.costs import CutOff, LeftOut, RequestedText
from refine_eval.data import Trace
from refine_eval.plugin.boundary import identity_of
from refine_eval.plugin.combining import with_members
from refine_eval.plugin.components import Component
from refine_eval.plugin.registry import Registry
from refine_eval.results.curves import Curve, curves, curves_to_json
from refine_eval.results.ledger import Row, rows
from refine_eval.results.records import write_run
from refine_eval.results.tables import row_to_json
from refine_eval.results.tuning import Tuning, tuning_to_json
from refine_eval.runs.assembly import make_splitter, make_strategy, make_student
from refine_eval.runs.drafting import Drafting, drafting_of
from refine_eval.runs.pipeline import Pipeline, Strategy
from refine_eval.runs.record import check_name, default_name, describe
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.session import KeptStudent, session
from refine_eval.runs.settings import RunSettings
from refine_eval.runs.trained import settled, steps_notes
from refine_eval.runs.tuning import tuned_on
from refine_eval.runs.usage import FLOPS_RULE, READING_RULE, Tally, cut_off_warning
from refine_eval.statistics.curves import READING_SCORES, WAYS
from refine_eval.terminal import Progress


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """A finished run: its table, its traces, where its record is."""

    folder: Path | None
    """The run record; None where none was to be written."""
    filter: str
    metric: str
    """The task's metric that decides, and from where a text counts as right where that was said."""
    only_metric: bool
    """Whether the task has no other, and nothing was said of it."""
    rows: tuple[Row, ...]
    traces: tuple[Trace, ...]
    left_out: tuple[LeftOut, ...]
    """What components could not write, score or refine."""
    usage: Mapping[str, Any]
    """What each model read and wrote, and by which rules read tokens and FLOPs are counted."""
    cut_off: tuple[CutOff, ...]
    """How many texts of each stage hit the length limit."""
    generated: int
    """Texts written by this process; all others came from the store."""
    seconds: Mapping[str, float]
    """Wall time by stage, "total" among them."""
    requested: Mapping[str, Mapping[bytes, RequestedText]]
    """The texts that were asked of engines, by stage and key, and what critics' own models read ("critic NAME")."""
    curves: tuple[Curve, ...]
    """What k of several samples are worth, where that was asked for or there are several drafts."""
    tuning: Tuning | None
    """How thresholds were tuned, where they were."""
    problems_in_all: int
    """How many problems the task has, of which `limit` may have taken a part."""


def execute(
    settings: RunSettings,
    registry: Registry,
    progress: Progress,
    *,
    record: bool = True,
    suite: Tally | None = None,
    kept: KeptStudent | None = None,
) -> RunOutcome:
    """Runs one task, writes the run record, if `record`, and returns the outcome. Raises RefineEvalError.

    `suite` is the tally of the suite's runs until now, to which this run's is added; `kept` has the student of the run
    before, and keeps this run's.
    """
    start = time.perf_counter()
    settings, tuning = tuned_on(settled(settings, registry), registry)
    student = make_student(settings, registry, progress)
    if kept is not None:
        student = kept.or_new(student, settings)
    strategy = make_strategy(settings, registry)
    if record:
        check_name(settings, strategy, student)
    for note in steps_notes(settings, registry):
        progress.note(note)
    # Everything cheap is checked by now; what follows takes seconds to import.
    with session(settings, student, registry, progress, kept) as (task, runtime):
        from refine_eval.tasks.evaluate import evaluate

        drafting = drafting_of(settings, task, progress.warn)
        if record:
            check_name(settings, strategy, student, drafting)
        task.task.set_config(key="repeats", value=drafting.drafts)
        pipeline = Pipeline(replace(strategy, drafting=drafting), runtime)
        try:
            traces, lm_eval_results = evaluate(task, pipeline.run, limit=settings.limit, progress=progress)
            student_identity = identity_of(student)
        finally:
            pipeline.close()
        shared = [c.name for c in with_members((strategy.choose,)) if runtime.usage.shares_texts(c)]
        found = _curves(settings, strategy, drafting, traces, task.filter, runtime, shared)
    table = rows(
        traces,
        task.filter,
        gold=_seeing_gold(strategy),
        decides_on_draft_alone={selector.name for selector in strategy.selectors if selector.decides_on_draft_alone},
        sees_group={refiner.name for refiner in strategy.refiners if refiner.sees_group},
    )
    if any(critic.needs_gold for critic in (strategy.when, strategy.where, strategy.choose)):
        table = [table[0], *(_with_gold(row) for row in table[1:])]
    usage = {
        "read": READING_RULE,
        "flops": FLOPS_RULE,
        "models": [asdict(model) for model in runtime.usage.by_model()],
        "written": Tally().add(runtime.usage).counts(),
        **({} if suite is None else {"suite": suite.add(runtime.usage).counts()}),
    }
    cut_off = runtime.usage.cut_off()
    if warning := cut_off_warning(cut_off):
        progress.warn(warning)
    seconds = {**pipeline.seconds, "total": time.perf_counter() - start}
    folder = None
    if record:
        identities = {**pipeline.identities, "engine student": student_identity}
        grading = {"filter": task.filter, **task.metric.settings}
        described = describe(settings, strategy, student, identities, runtime.models, grading, drafting)
        described |= {"tuning": tuning_to_json(tuning)} if tuning else {}
        folder = write_run(
            settings.results,
            settings.name or default_name(settings, described),
            settings=described,
            traces=traces,
            metrics={
                "filter": task.filter,
                "rows": [row_to_json(row) for row in table],
                **({"curves": curves_to_json(found)} if found else {}),
                **({"shared_texts": shared} if shared else {}),
                **({"left_out": [asdict(entry) for entry in pipeline.left_out]} if pipeline.left_out else {}),
                "cut_off": [asdict(entry) for entry in cut_off],
                "usage": usage,
                "stage_seconds": seconds,
            },
            lm_eval_results=lm_eval_results,
        )
    return RunOutcome(
        folder=folder,
        filter=task.filter,
        metric=task.metric.label,
        only_metric=not task.metric.settings and len(task.metric.names) == 1,
        rows=tuple(table),
        traces=tuple(traces),
        left_out=pipeline.left_out,
        usage=usage,
        cut_off=cut_off,
        generated=runtime.generated,
        seconds=seconds,
        requested={**runtime.usage.requested, **runtime.usage.judged},
        curves=tuple(found),
        tuning=tuning,
        problems_in_all=int(lm_eval_results["n-samples"][settings.task]["original"]),
    )


def _seeing_gold(strategy: Strategy) -> set[str]:
    components: tuple[Component, ...] = (*strategy.refiners, *strategy.selectors)
    return {component.name for component in components if component.needs_gold}


def _curves(
    settings: RunSettings,
    strategy: Strategy,
    drafting: Drafting,
    traces: Sequence[Trace],
    filter_name: str,
    runtime: RunRuntime,
    shared: Sequence[str],
) -> list[Curve]:
    """What k of the samples are worth: where that was asked for, and where there are several drafts to show for it.

    `shared` are critics that scored a sample by the others: what they would say of k alone is not known.
    """
    if not settings.curves and drafting.drafts == 1:
        return []
    groups = runtime.for_component(runtime.student).answer_groups
    ways = [way for way in WAYS if not (shared and way in READING_SCORES)]
    found = curves(traces, filter_name, groups, _seeing_gold(strategy), strategy.choose.needs_gold, ways)
    if found and shared:
        runtime.progress.note(
            f"No best-of-k and weighted-maj@k: critic {shared[0]!r} scored a sample by the others, and so would score "
            "k of them otherwise."
        )
    if not found:
        runtime.progress.warn(
            "Warning: --curves shows nothing: no refiner wrote several samples of every problem; pass --refiner "
            "resample, or --drafts N with a --draft-temperature."
        )
    return found


def check_names(all_settings: Sequence[RunSettings], registry: Registry, progress: Progress) -> None:
    """RunError where the record of one of several runs must not be written, before the first one begins.

    `execute` checks a run's own name at once, so that the first one's needs no look here.
    """
    for given in all_settings[1:]:
        settings = settled(given, registry)
        make_splitter(settings, registry)
        if settings.name is not None:
            check_name(settings, make_strategy(settings, registry), make_student(settings, registry, progress))


def _with_gold(row: Row) -> Row:
    return replace(row, needs_gold=True)
