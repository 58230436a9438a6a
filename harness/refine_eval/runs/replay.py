"""What another gate, choice or set of refiners would have done with a record's candidates and scores.

The pipeline of a run, with the record in the place of student, critics and refiners: its rows are those of a real run
with the same settings, and nothing is written. What the record does not have is a RunError that says so. Scores have
six decimals in records: candidates that differ by less are ties here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from refine_eval.data import (
    AnswerGroup,
    Candidate,
    Critique,
    EngineSpec,
    Generation,
    Problem,
    Request,
    Sampling,
    ScoredCandidate,
    Trace,
    first_below,
)
from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.errors import RunError
from refine_eval.plugin.combining import CombiningCritic, with_members
from refine_eval.plugin.components import Component, Critic, Refiner
from refine_eval.plugin.options import make_options
from refine_eval.plugin.registry import Registry
from refine_eval.results.ledger import Row, rows
from refine_eval.results.records import RunRecord
from refine_eval.runs.assembly import make_strategy
from refine_eval.runs.pipeline import Pipeline, Strategy
from refine_eval.runs.record import described_components
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.settings import RunSettings
from refine_eval.runs.store import Store
from refine_eval.tasks.truth import loaded_problems
from refine_eval.terminal import Progress

_INSTEAD = "To make what is missing: --generate-missing."

ROLES = ("when", "where", "choose")


class Missing(RunError):
    """What a record does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A replay: its settings, its table, its traces, its components, and identities of those that were opened."""

    settings: RunSettings
    filter: str
    rows: tuple[Row, ...]
    traces: tuple[Trace, ...]
    strategy: Strategy
    identities: Mapping[str, str]


def recorded_settings(record: RunRecord) -> RunSettings:
    """The decisions of a run as settings: critics, refiners, selectors with their options, gate and rounds.

    RunError for a record that does not say them, or says them of each half of its problems.
    """
    said = record.settings
    if record.tuning is not None and record.tuning.on == "halves":
        raise RunError(
            f"The record {record.name} has thresholds of each half of its problems, so it cannot be replayed: replay "
            f"the run that it was made from, {record.tuning.run}."
        )
    if not all(name in said for name in (*ROLES, "refiners", "selectors")):
        raise RunError(f"The record {record.name} does not say its components, so it cannot be replayed.")
    return RunSettings(
        task=str(said["task"]["name"]),
        when=str(said["when"]["name"]),
        where=str(said["where"]["name"]),
        choose=str(said["choose"]["name"]),
        refiners=tuple(str(each["name"]) for each in said["refiners"]),
        selectors=tuple(str(each["name"]) for each in said["selectors"]),
        refine_below=said.get("refine_below"),
        rounds=int(said.get("rounds", 1)),
        until_accepted=said.get("until_accepted"),
        seed=int(said.get("seed", 0)),
        options={(kind, str(each["name"])): dict(each.get("options", {})) for kind, each in described_components(said)},
    )


def replay(
    record: RunRecord,
    traces: Sequence[Trace],
    settings: RunSettings,
    registry: Registry,
    *,
    has_texts: bool = True,
    data_dir: Path | None = None,
) -> Replayed:
    """What a run with these settings makes of the record's candidates and scores; RunError says what it lacks.

    `has_texts`: whether the traces have texts, and not stand-ins for them (`published.Outcomes`).
    """
    with replaying(record, traces, settings, registry, has_texts=has_texts, data_dir=data_dir) as replayed:
        return replayed(settings, traces)


Replays = Callable[[RunSettings, Sequence[Trace]], Replayed]
"""Settings, and all or some of the record's traces -> what comes of them."""


@contextmanager
def replaying(
    record: RunRecord,
    traces: Sequence[Trace],
    settings: RunSettings,
    registry: Registry,
    *,
    has_texts: bool = True,
    data_dir: Path | None = None,
) -> Iterator[Replays]:
    """`replay` for many settings, of which critics score each text once; those given are the first."""
    was = recorded_settings(record)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        store = stack.enter_context(Store(Path(folder) / "store.sqlite"))
        runtime = _Runtime(
            student=ScriptedEngine.from_function(lambda _: None),
            registry=registry,
            store=store,
            tasks=_Tasks(record, traces, registry, has_texts, data_dir),
            progress=Progress(quiet=True),
            seed=settings.seed,
        )
        stack.callback(runtime.close)
        pipeline = _Replay(make_strategy(settings, registry), runtime, record, was, traces, has_texts)
        stack.callback(pipeline.close)

        def replayed(settings: RunSettings, some: Sequence[Trace]) -> Replayed:
            _check_costs(record, was, traces, settings)
            pipeline.follow(make_strategy(settings, registry))
            found = pipeline.run([trace.problem for trace in some])
            graded = tuple(_graded(trace, old) for trace, old in zip(found, some, strict=True))
            return Replayed(
                settings=settings,
                filter=record.filter,
                rows=table(graded, record.filter, pipeline.strategy),
                traces=graded,
                strategy=pipeline.strategy,
                identities=dict(pipeline.identities),
            )

        yield replayed


def _graded(trace: Trace, old: Trace) -> Trace:
    """A replayed trace with what the record says of it; how long critics took it does not say."""
    correct = {c.id: old.correct[c.id] for c in trace.candidates}
    return replace(trace, correct=correct, critic_tokens=old.critic_tokens, critic_seconds=0.0)


def table(traces: Sequence[Trace], main: str, strategy: Strategy) -> tuple[Row, ...]:
    """The rows of replayed traces under the filter `main`."""
    components: tuple[Component, ...] = (*strategy.refiners, *strategy.selectors)
    found = rows(
        traces,
        main,
        gold={component.name for component in components if component.needs_gold},
        decides_on_draft_alone={s.name for s in strategy.selectors if s.decides_on_draft_alone},
        sees_group={r.name for r in strategy.refiners if r.sees_group},
    )
    if any(critic.needs_gold for critic in (strategy.when, strategy.where, strategy.choose)):
        found = [found[0], *(replace(row, needs_gold=True) for row in found[1:])]
    return tuple(found)


def _check_costs(record: RunRecord, was: RunSettings, traces: Sequence[Trace], settings: RunSettings) -> None:
    """RunError where critics wrote texts and something other than the choice changes: which were whose is not told."""
    same = all(getattr(was, name) == getattr(settings, name) for name in (*ROLES, "refiners", "refine_below"))
    if not same and any(trace.critic_tokens for trace in traces):
        raise Missing(
            f"The record {record.name} does not say which of its critics' texts these settings need: of such a record "
            f"only selectors can be replayed. {_INSTEAD}"
        )


class _Replay(Pipeline):
    """The pipeline with the record's drafts, scores and refinements."""

    def __init__(
        self,
        strategy: Strategy,
        runtime: RunRuntime,
        record: RunRecord,
        was: RunSettings,
        traces: Sequence[Trace],
        has_texts: bool,
    ) -> None:
        super().__init__(strategy, runtime)
        self._has_texts = has_texts
        self._record, self._was = record, was
        self._recorded = {trace.problem.id: trace for trace in traces}
        self._thresholds: dict[str, float] = {}
        self._roles: dict[str, list[str]] = {}
        self.follow(strategy)

    def follow(self, strategy: Strategy) -> None:
        """Takes another strategy; of critics with other options nothing is kept."""
        critics, old = _critics(strategy), _critics(self.strategy)
        for name, critic in critics.items():
            if name not in old or _options(old[name]) != _options(critic):
                self._critiques.pop(name, None)
        self.strategy = strategy
        self._thresholds.clear()
        self._roles = {
            name: [role for role in ROLES if getattr(self._was, role) == name and self._takes(critic)]
            for name, critic in critics.items()
        }
        for name, critic in critics.items():
            if self._roles[name] and _options(critic) == self._recorded_options(critic):
                self.identities[f"critic {name}"] = str(
                    self._record.settings[self._roles[name][0]].get("identity") or ""
                )

    def _drafts(self, problems: Sequence[Problem]) -> list[Candidate]:
        return [self._recorded[problem.id].draft for problem in problems]

    def _critique(self, critic: Critic, batch: Sequence[Candidate]) -> list[Critique]:
        roles = self._roles[critic.name]
        found = [self._scored(critic, candidate, roles) for candidate in batch]
        lacking = [c for c, critique in zip(batch, found, strict=True) if critique is None]
        if lacking and (critic.stored or not self._has_texts) and not isinstance(critic, CombiningCritic):
            raise Missing(
                f"{self._record.name} lacks scores of {critic.name!r} for {len(lacking):,} of {len(batch):,} "
                f"texts, the first of problem {lacking[0].problem.id}. {_INSTEAD}"
            )
        made = dict(zip(map(id, lacking), super()._critique(critic, lacking), strict=True)) if lacking else {}
        return [made[id(c)] if critique is None else critique for c, critique in zip(batch, found, strict=True)]

    def _scored(self, critic: Critic, candidate: Candidate, roles: Sequence[str]) -> Critique | None:
        critiques = self._recorded[candidate.problem.id].critiques.get(candidate.id, {})
        found = next((critiques[role] for role in roles if role in critiques), None)
        if found is None or critic.name not in self._thresholds or found.unscored is not None:
            return found
        return replace(found, first_bad_step=first_below(found.step_scores, self._thresholds[critic.name]))

    def _takes(self, critic: Critic) -> bool:
        """Whether the record's scores are what this critic with its options gives.

        With another threshold alone they are, if in all of the record the step named is the first below the threshold.
        """
        (old, *members), (new, *others) = self._recorded_options(critic), _options(critic)
        if members != others:
            return False
        if old == new:
            return True
        if "threshold" not in old or {**new, "threshold": None} != {**old, "threshold": None}:
            return False
        roles = [role for role in ROLES if getattr(self._was, role) == critic.name]
        if not follows_threshold(self._recorded.values(), roles, old["threshold"]):
            return False
        self._thresholds[critic.name] = new["threshold"]
        return True

    def _recorded_options(self, critic: Critic) -> list[dict[str, Any]]:
        """What `_options` was in the record's run."""
        return [recorded_options(self._was, type(each)) for each in reversed(with_members([critic]))]

    def _refine(self, refiner: Refiner, scored: Sequence[ScoredCandidate], number: int) -> Iterator[Candidate]:
        lacking = [item for item in scored if not self._was_refined(refiner, item, number)]
        if lacking:
            first = lacking[0].candidate.problem.id
            raise Missing(
                f"{self._record.name} lacks what {refiner.name!r} makes of {len(lacking):,} of {len(scored):,} texts "
                f"in round {number}, the first of problem {first}. {_INSTEAD}"
            )
        for item in scored:
            for c in self._recorded[item.candidate.problem.id].candidates:
                if (c.component, c.round, c.parent) == (refiner.name, number, item.candidate.id):
                    yield c

    def _was_refined(self, refiner: Refiner, item: ScoredCandidate, number: int) -> bool:
        """Whether this refiner was given this candidate, in this round and with this verdict on its steps."""
        trace, here = self._recorded[item.candidate.problem.id], item.candidate
        names = [each["name"] for each in self._record.settings["refiners"]]
        given = trace.critiques.get(here.id, {}).get("where")
        sent = (
            trace.refined if number == 1 else any(c.round == number and c.parent == here.id for c in trace.candidates)
        )
        return refiner.name in names and sent and given == item.critique and self._read_the_same(refiner, item, number)

    def _read_the_same(self, refiner: Refiner, item: ScoredCandidate, number: int) -> bool:
        """Whether one that sees the whole group saw this one, which is what stands before what it wrote."""
        if not refiner.sees_group:
            return True
        found = self._recorded[item.candidate.problem.id].candidates
        wrote = [at for at, c in enumerate(found) if (c.component, c.round) == (refiner.name, number)]
        return not wrote or item.group == found[: wrote[0]]


def _critics(strategy: Strategy) -> dict[str, Critic]:
    """The critics of a strategy by name, members of those that combine some among them."""
    return {critic.name: critic for critic in with_members((strategy.when, strategy.where, strategy.choose))}


def _options(critic: Critic) -> list[dict[str, Any]]:
    """The options of a critic, and after it those of its members, if it combines some."""
    return [asdict(each.options) for each in reversed(with_members([critic]))]


def recorded_options(was: RunSettings, critic: type[Critic]) -> dict[str, Any]:
    """All options that a critic had in a run with these settings."""
    return asdict(make_options(critic, was.options.get(("critic", critic.name), {})))


def follows_threshold(traces: Iterable[Trace], roles: Sequence[str], threshold: float) -> bool:
    """Whether all that a critic judged in these roles has the first step below the threshold as its first bad one."""
    judged = (
        found[role]
        for trace in traces
        for found in trace.critiques.values()
        for role in roles
        if role in found and found[role].unscored is None
    )
    return all(each.step_scores and each.first_bad_step == first_below(each.step_scores, threshold) for each in judged)


class _Runtime(RunRuntime):
    """A runtime without a student: whoever wants a text is told that the record has none."""

    def generate(
        self, requests: Sequence[Request], model: str | EngineSpec | None, wanted_by: Component
    ) -> list[Generation]:
        raise Missing(
            f"A record has no samples for {wanted_by.kind} {wanted_by.name!r}, which needs {len(requests):,} of its "
            f"own. {_INSTEAD}"
        )


class _Tasks:
    """The record's grades; the task itself, with its data, only where answers are to be compared."""

    def __init__(
        self, record: RunRecord, traces: Sequence[Trace], registry: Registry, has_texts: bool, data_dir: Path | None
    ) -> None:
        self._record = record
        self._registry = registry
        self._has_texts = has_texts
        self._data_dir = data_dir
        self._correct = {trace.problem.id: trace.correct for trace in traces}

    @cached_property
    def _task(self) -> Any:
        if not self._has_texts:
            raise Missing(
                f"The record {self._record.name} keeps no texts, and answers are to be compared: replay the run's own "
                f"record, or make it again with: {self._record.settings['command']}"
            )
        said: Mapping[str, Any] = self._record.settings["task"]
        return loaded_problems(said, self._registry.benchmarks(), self._data_dir)

    def answers(self, problem: Problem, texts: Sequence[str]) -> list[str | None]:
        raise Missing("A record's answers are read already.")

    def answer_groups(self, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> list[list[AnswerGroup]]:
        task, known = self._task
        found: list[list[AnswerGroup]] = task.answer_groups([known[problem.first_id] for problem in problems], texts)
        return found

    def sampling(self, problem: Problem) -> Sampling:
        return Sampling(max_tokens=1)

    def is_correct(self, candidate: Candidate) -> bool:
        return self._correct[candidate.problem.id][candidate.id][self._record.filter]

    def first_bad_step(self, candidate: Candidate) -> int | None:
        task, known = self._task
        step: int | None = task.first_bad_step(replace(candidate, problem=known[candidate.problem.first_id]))
        return step
