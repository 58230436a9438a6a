"""Thresholds chosen by the right answers to other problems than those that a table is of.

A threshold is replayed at each of the values that are tried, and has the one with which most answers are right: of the
run's choice for the gate of drafts (`refine-below`), of its own choice for a selector's. Of equals it is the one that
costs fewest tokens, then the lowest. A *where* critic's has the value with which most drafts' first wrong steps are
named rightly, as another place means other refinements, which no record has. Several are tuned one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from refine_eval.data import Trace
from refine_eval.errors import RunError, UsageError, suggestion
from refine_eval.plugin.components import Component, Critic
from refine_eval.plugin.options import option_fields
from refine_eval.plugin.registry import Registry
from refine_eval.results.ledger import problem_shares
from refine_eval.results.published import read_outcomes
from refine_eval.results.records import RunRecord, find_run, keeps_texts, read_run, read_traces
from refine_eval.results.tuning import REFINE_BELOW, On, Tuned, Tuning, marked
from refine_eval.runs.assembly import make_strategy
from refine_eval.runs.replay import (
    Missing,
    Replayed,
    Replays,
    follows_threshold,
    recorded_options,
    recorded_settings,
    replaying,
    table,
)
from refine_eval.runs.settings import RunSettings, data_folder
from refine_eval.runs.store import content_key
from refine_eval.statistics.critic_quality import draft_scores, place_cases, role_of
from refine_eval.statistics.intervals import Cases
from refine_eval.statistics.tuning import THRESHOLDS, best, halves
from refine_eval.tasks.truth import first_bad_steps

_OF_CHOICE, _OF_PLACE = "right answers of {}, then fewest tokens", "first wrong steps of drafts named rightly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A record with its traces: `has_texts` as in `replay`."""

    record: RunRecord
    traces: Sequence[Trace]
    has_texts: bool

    @property
    def task(self) -> str:
        """Its task's name."""
        return str(self.record.settings["task"]["name"])


class _Threshold(NamedTuple):
    """A threshold by its name on the command line: of the component of this kind and name, or the gate's (None)."""

    name: str
    of: tuple[str, str] | None

    def set(self, settings: RunSettings, value: float | None) -> RunSettings:
        if self.of is None:
            return replace(settings, refine_below=value)
        options = {**settings.options.get(self.of, {}), "threshold": value}
        return replace(settings, options={**settings.options, self.of: options})


class _Chosen(NamedTuple):
    settings: RunSettings
    values: list[float | None]
    tried: list[int]


def read_source(run: str, results: Path) -> Source:
    """A record by folder or name, published ones included; RunError where it is missing or corrupt."""
    folder = find_run(run, results)
    record, has_texts = read_run(folder), keeps_texts(folder)
    traces = read_traces(folder) if has_texts else read_outcomes(folder).traces
    return Source(record=record, traces=traces, has_texts=has_texts)


def tuned_replay(
    source: Source,
    settings: RunSettings,
    registry: Registry,
    on: Source | str,
) -> tuple[Replayed, Tuning]:
    """A replay with thresholds that were tuned on another record, on "halves", or on the "same" problems.

    RunError where the other record is of the same problems, or a record lacks what all values of a threshold need;
    UsageError for a threshold that nothing here has.
    """
    thresholds = _thresholds(settings, registry)
    tuner = _Tuner(registry, thresholds, data_folder(settings.data_dir))
    if isinstance(on, Source):
        check_other_problems(source.task, {t.problem.first_id for t in source.traces}, on)
        chosen, tuning = _held_out(on, settings, tuner)
        with tuner.replaying(source, chosen.settings) as replayed:
            return replayed(chosen.settings, source.traces), tuning
    with tuner.replaying(source, settings) as replayed:
        if on == "same":
            of_all = tuner.choose(source, replayed, source.traces, settings)
            found, parts = replayed(of_all.settings, source.traces), [of_all]
        else:
            found, parts = _crossed(source, replayed, settings, tuner)
    tuning = _tuning(source, "same" if on == "same" else "halves", thresholds, parts, settings)
    return replace(found, rows=tuple(marked(found.rows, tuning))), tuning


def tuned_on(settings: RunSettings, registry: Registry) -> tuple[RunSettings, Tuning | None]:
    """A run's settings with thresholds as its `tune_on` wants them; errors as above, and for one that is given, too."""
    if settings.tune_on is None:
        return settings, None
    if settings.tune_on in ("halves", "same"):
        raise UsageError(
            f"--tune-on {settings.tune_on} needs the run's own scores: make the run without it, and then type "
            f"refine-eval replay RUN --tune-on {settings.tune_on}."
        )
    check_free(settings, registry, settings.refine_below, settings.options)
    source = read_source(settings.tune_on, settings.results)
    if source.task == settings.task:
        raise _same_problems(source.record.name, settings.task)
    tuner = _Tuner(registry, _thresholds(settings, registry), data_folder(settings.data_dir))
    chosen, tuning = _held_out(source, settings, tuner)
    return chosen.settings, tuning


def check_free(
    settings: RunSettings,
    registry: Registry,
    refine_below: float | None,
    options: Mapping[tuple[str, str], Mapping[str, Any]],
) -> None:
    """UsageError where a threshold that is to be tuned was given besides."""
    given = {f"{name}-threshold" for (_, name), of in options.items() if "threshold" in of}
    given |= {REFINE_BELOW} if refine_below is not None else set()
    for threshold in _thresholds(settings, registry):
        if threshold.name in given:
            raise UsageError(
                f"--{threshold.name} is given, and --tune-on tunes it: leave it out, or name with --tune what to tune."
            )


def kept_tuning(record: RunRecord, settings: RunSettings) -> Tuning | None:
    """What a replay with these settings keeps of a record's tuning: the thresholds that stay as they were tuned."""
    if record.tuning is None:
        return None
    was = recorded_settings(record)
    options = {f"{name}-threshold": key for key in settings.options for _, name in [key]}

    def stays(name: str) -> bool:
        if name == REFINE_BELOW:
            return settings.refine_below == was.refine_below
        key = options.get(name)
        return key is not None and settings.options[key].get("threshold") == was.options[key].get("threshold")

    kept = tuple(each for each in record.tuning.thresholds if stays(each.name))
    return replace(record.tuning, thresholds=kept) if kept else None


def check_other_problems(task: str, problems: set[str], on: Source) -> None:
    """RunError where a record has some of these problems."""
    if problems & {trace.problem.first_id for trace in on.traces}:
        raise _same_problems(on.record.name, task)


def _same_problems(run: str, task: str) -> RunError:
    return RunError(
        f"{run} is over the very problems of {task} that the table is of, and a threshold that is tuned on these says "
        f"too much: tune it on a run of other problems or with --tune-on halves, or ask for --tune-on same, which "
        f"marks the rows."
    )


def _held_out(source: Source, settings: RunSettings, tuner: _Tuner) -> tuple[_Chosen, Tuning]:
    with tuner.replaying(source, settings) as replayed:
        chosen = tuner.choose(source, replayed, source.traces, settings)
    return chosen, _tuning(source, "held-out", tuner.thresholds, [chosen], settings)


def _crossed(source: Source, replayed: Replays, settings: RunSettings, tuner: _Tuner) -> tuple[Replayed, list[_Chosen]]:
    """Each half of the problems with the thresholds of the other, put together."""
    first, second = halves((trace.problem.first_id for trace in source.traces), settings.seed)
    if not second:
        raise RunError(f"{source.record.name} has one problem, so there are no halves to tune on.")
    sides = [[t for t in source.traces if t.problem.first_id in half] for half in (first, second)]
    chosen = [tuner.choose(source, replayed, other, settings) for other in reversed(sides)]
    parts = [replayed(each.settings, side) for each, side in zip(chosen, sides, strict=True)]
    by_id = {trace.problem.id: trace for part in parts for trace in part.traces}
    traces = tuple(by_id[trace.problem.id] for trace in source.traces)
    # What is tuned has no one value here: the settings are those that were given.
    strategy = make_strategy(settings, tuner.registry)
    found = replace(parts[0], settings=settings, strategy=strategy, traces=traces)
    return replace(found, rows=table(traces, found.filter, strategy)), chosen


def _tuning(
    source: Source, on: On, thresholds: Sequence[_Threshold], parts: Sequence[_Chosen], settings: RunSettings
) -> Tuning:
    ids = sorted(trace.problem.id for trace in source.traces)
    return Tuning(
        on=on,
        task=source.task,
        run=source.record.name,
        problems=len({trace.problem.first_id for trace in source.traces}),
        digest=content_key(ids).hex(),
        seed=settings.seed if on == "halves" else None,
        thresholds=tuple(
            Tuned(
                name=threshold.name,
                values=tuple(part.values[at] for part in parts),
                tried=min(part.tried[at] for part in parts),
                objective=_objective(threshold, settings),
            )
            for at, threshold in enumerate(thresholds)
        ),
    )


def _thresholds(settings: RunSettings, registry: Registry) -> list[_Threshold]:
    """The thresholds that `tune` names; of none the gate's, and that of the first selector where it has one."""
    strategy = make_strategy(settings, registry)
    components = [component for component in (strategy.where, *strategy.selectors) if _has_threshold(component)]
    known = {REFINE_BELOW: _Threshold(REFINE_BELOW, None)}
    known |= {f"{c.name}-threshold": _Threshold(f"{c.name}-threshold", (c.kind, c.name)) for c in components}
    usual = [name for name in (REFINE_BELOW, f"{strategy.selectors[0].name}-threshold") if name in known]
    wanted = list(dict.fromkeys(name.removeprefix("--") for name in settings.tune)) or usual
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"--tune has no threshold {name!r} here.{suggestion(name, known)} It has: {', '.join(known)}; of "
                f"critics only the where critic's decides something."
            )
    return [known[name] for name in wanted]


def _has_threshold(component: Component) -> bool:
    return any(field.name == "threshold" and field.kind is float for field in option_fields(type(component)))


def _objective(threshold: _Threshold, settings: RunSettings) -> str:
    if threshold.of is None:
        return _OF_CHOICE.format(settings.selectors[0])
    kind, name = threshold.of
    return _OF_PLACE if kind == "critic" else _OF_CHOICE.format(name)


@dataclass(frozen=True, slots=True)
class _Tuner:
    registry: Registry
    thresholds: Sequence[_Threshold]
    data_dir: Path | None

    def replaying(self, source: Source, settings: RunSettings) -> AbstractContextManager[Replays]:
        return replaying(
            source.record,
            source.traces,
            settings,
            self.registry,
            has_texts=source.has_texts,
            data_dir=self.data_dir,
        )

    def choose(self, source: Source, replayed: Replays, traces: Sequence[Trace], settings: RunSettings) -> _Chosen:
        """The best value of each threshold on these traces, one after the other."""
        chosen = _Chosen(settings, [], [])
        for threshold in self.thresholds:
            if threshold.of is not None and threshold.of[0] == "critic":
                by_value, tokens = self._places(source, traces, chosen.settings, threshold), None
            else:
                by_value, tokens = self._choices(source, replayed, traces, chosen.settings, threshold)
            value = best(by_value, list(next(iter(by_value.values()))), tokens)
            chosen.values.append(value)
            chosen.tried.append(len(by_value))
            chosen = chosen._replace(settings=threshold.set(chosen.settings, value))
        return chosen

    def _choices(
        self, source: Source, replayed: Replays, traces: Sequence[Trace], settings: RunSettings, threshold: _Threshold
    ) -> tuple[dict[float | None, Cases], dict[float | None, float]]:
        """What is answered rightly at each value, up to that of a gate that the record's run had, and the tokens."""
        answer = settings.selectors[0] if threshold.of is None else threshold.of[1]
        values: tuple[float | None, ...] = THRESHOLDS[::-1]
        if threshold.of is None and settings.until_accepted is None:
            values = (None, *values)
        by_value: dict[float | None, Cases] = {}
        tokens: dict[float | None, float] = {}
        lacking: Missing | None = None
        for value in values:
            try:
                found = replayed(threshold.set(settings, value), traces)
            except Missing as missing:
                if threshold.of is not None or source.record.settings.get("refine_below") is None:
                    raise
                lacking = missing  # drafts that its gate let through
                continue
            row = next(row for row in found.rows if (row.kind, row.name) == ("selector", answer))
            right = [trace.correct[row.answer(trace).id][found.filter] for trace in found.traces]
            by_value[value], tokens[value] = problem_shares(found.traces, right), row.tokens
        if lacking is not None and len(set(tokens.values())) < 2:  # no draft refined is what every record has
            raise lacking
        return dict(sorted(by_value.items(), key=lambda each: 2.0 if each[0] is None else each[0])), tokens

    def _places(
        self, source: Source, traces: Sequence[Trace], settings: RunSettings, threshold: _Threshold
    ) -> dict[float | None, Cases]:
        """On which drafts the first step under each value is the first wrong one."""
        record, name = source.record, settings.where
        role = role_of(record.settings, name)
        if role is None:
            raise RunError(f"{record.name} has no scores of {name!r}, so {threshold.name} cannot be tuned on it.")
        known = read_outcomes(record.folder).first_bad if record.folder is not None else None
        if known is None and source.has_texts:
            known = first_bad_steps(source.task, self.registry.benchmarks(), traces)
        if known is None:
            raise RunError(
                f"{record.name} does not tell the first wrong steps of its drafts, by which {threshold.name} is tuned: "
                f"tune it on a run of a task that can tell, such as apples."
            )
        was = recorded_settings(record)
        if not follows_threshold(traces, [role], recorded_options(was, type(self._critic(settings)))["threshold"]):
            raise RunError(f"{name!r} names other steps than the first under its threshold, so it cannot be tuned.")
        scores = draft_scores(traces, role)
        return {value: place_cases(traces, scores, known, value) for value in THRESHOLDS}

    def _critic(self, settings: RunSettings) -> Critic:
        return make_strategy(settings, self.registry).where
