"""One run: from names and options to a table and a run record. The command line only fills in RunSettings."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from refine_eval.data import Trace
from refine_eval.errors import UsageError
from refine_eval.pipeline import Pipeline, Strategy
from refine_eval.plugin.components import Component, Critic, Engine, Refiner, Selector
from refine_eval.plugin.options import make_options
from refine_eval.plugin.registry import Registry
from refine_eval.results.ledger import Row, rows
from refine_eval.results.records import run_name, write_run
from refine_eval.runtime import Asked
from refine_eval.session import SessionSettings, make_student, session
from refine_eval.store import content_key
from refine_eval.terminal import Progress

_RECORDED_VERSIONS = ("refine-eval", "lm-eval", "torch", "transformers")

C = TypeVar("C", bound=Component)


@dataclass(frozen=True, kw_only=True)
class RunSettings(SessionSettings):
    """All that decides a run's outcome, and where it goes.

    `when`, `where`, `choose` name critics, `refiners` and `selectors` the other components (the first selector
    makes the choice). `options[(kind, name)]` are values for that component's Options. `command` is what to type to
    run it again.
    """

    when: str = "orm"
    where: str = "sorm"
    choose: str = "orm"
    refiners: tuple[str, ...] = ("local", "global")
    selectors: tuple[str, ...] = ("rerank",)
    options: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    refine_below: float | None = None
    rounds: int = 1
    limit: int | None = None
    name: str | None = None
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """A finished run: its table, its traces, where its record is."""

    folder: Path | None
    """The run record; None where none was to be written."""
    filter: str
    rows: tuple[Row, ...]
    traces: tuple[Trace, ...]
    generated: int
    """Texts written by this process; all others came from the store."""
    seconds: Mapping[str, float]
    """Wall time by stage, "total" among them."""
    asked: Mapping[str, Mapping[bytes, Asked]]
    """The texts that were asked of engines, by stage and key."""
    problems_in_all: int
    """How many problems the task has, of which `limit` may have taken a part."""


def execute(settings: RunSettings, registry: Registry, progress: Progress, *, record: bool = True) -> RunOutcome:
    """Runs one task, writes the run record, if `record`, and returns the outcome. Raises RefineEvalError."""
    start = time.perf_counter()
    student = make_student(settings, registry, progress)
    strategy = make_strategy(settings, registry)
    # Everything cheap is checked by now; what follows takes seconds to import.
    with session(settings, student, registry, progress) as (task, runtime):
        from refine_eval.lm_eval_bridge import evaluate

        pipeline = Pipeline(strategy, runtime)
        try:
            traces, lm_eval_results = evaluate(task, pipeline.run, limit=settings.limit, progress=progress)
            student_identity = student.identity()
        finally:
            pipeline.close()
    components: tuple[Component, ...] = (*strategy.refiners, *strategy.selectors)
    table = rows(
        traces,
        task.filter,
        gold={component.name for component in components if component.needs_gold},
        draft_first={selector.name for selector in strategy.selectors if selector.draft_first},
    )
    if any(critic.needs_gold for critic in (strategy.when, strategy.where, strategy.choose)):
        table = [table[0], *(_with_gold(row) for row in table[1:])]
    seconds = {**pipeline.seconds, "total": time.perf_counter() - start}
    folder = None
    if record:
        described = _record(settings, strategy, student, student_identity, pipeline.identities, task.filter)
        folder = write_run(
            settings.results,
            settings.name or _default_name(settings, described),
            settings=described,
            traces=traces,
            metrics={"filter": task.filter, "rows": [asdict(row) for row in table], "stage_seconds": seconds},
            lm_eval_results=lm_eval_results,
        )
    return RunOutcome(
        folder=folder,
        filter=task.filter,
        rows=tuple(table),
        traces=tuple(traces),
        generated=runtime.generated,
        seconds=seconds,
        asked=runtime.asked,
        problems_in_all=int(lm_eval_results["n-samples"][settings.task]["original"]),
    )


def make_strategy(settings: RunSettings, registry: Registry) -> Strategy:
    """The run's components with their options, not open yet; UsageError or PluginError where they cannot be."""

    def make(kind: type[C], name: str) -> C:
        component = registry.named_component(kind, name)
        return component(make_options(component, settings.options.get((component.kind, name), {})))

    if settings.rounds < 1:
        raise UsageError(f"--rounds must be at least 1, not {settings.rounds}.")
    critics = {name: make(Critic, name) for name in {settings.when, settings.where, settings.choose}}
    reported = [r.name for r in registry.all("selector") if getattr(r.item, "always_reported", False)]
    selectors = dict.fromkeys((*settings.selectors, *reported))
    return Strategy(
        when=critics[settings.when],
        where=critics[settings.where],
        choose=critics[settings.choose],
        refiners=tuple(make(Refiner, name) for name in dict.fromkeys(settings.refiners)),
        selectors=tuple(make(Selector, name) for name in selectors),
        refine_below=settings.refine_below,
        rounds=settings.rounds,
    )


def _with_gold(row: Row) -> Row:
    return replace(row, needs_gold=True)


def _record(
    settings: RunSettings,
    strategy: Strategy,
    student: Engine,
    student_identity: str,
    identities: Mapping[str, str],
    filter_name: str,
) -> dict[str, Any]:
    """What run.yaml holds: enough to run it again and to see whether it was the same."""

    def described(component: Component) -> dict[str, Any]:
        # Through lists and dicts: YAML knows no tuples.
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(component.options).items()}
        identity = identities.get(f"{component.kind} {component.name}")
        return {"name": component.name, "options": options, "identity": identity}

    return {
        "command": settings.command,
        "task": {
            "name": settings.task,
            "limit": settings.limit,
            "num_fewshot": settings.num_fewshot,
            "max_gen_toks": settings.max_gen_toks,
            "filter": filter_name,
        },
        "model": {**described(student), "identity": student_identity},
        "when": described(strategy.when),
        "where": described(strategy.where),
        "choose": described(strategy.choose),
        "refine_below": strategy.refine_below,
        "refiners": [described(refiner) for refiner in strategy.refiners],
        "selectors": [described(selector) for selector in strategy.selectors],
        "rounds": strategy.rounds,
        "seed": settings.seed,
        "versions": {name: _version(name) for name in _RECORDED_VERSIONS} | {"python": platform.python_version()},
        "machine": _machine(),
    }


def _default_name(settings: RunSettings, record: Mapping[str, Any]) -> str:
    """Readable, and the same for the same settings: a command typed again replaces its own record."""
    critics = "+".join(dict.fromkeys((settings.when, settings.where, settings.choose)))
    decisive = {k: v for k, v in record.items() if k not in ("command", "versions", "machine")}
    digest = content_key(decisive).hex()[:6]
    return run_name(f"{settings.task}-{settings.model}-{critics}-{'+'.join(settings.refiners)}-{digest}")


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _machine() -> str:
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} {platform.machine()} cores{gpu}"
