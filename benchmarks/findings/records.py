"""What the findings page is made of: the run records of a size of models, one set a seed, and the truth about them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refine_eval.data import Trace
from refine_eval.errors import RunError
from refine_eval.formats import split_steps
from refine_eval.results.ledger import Row
from refine_eval.results.published import read_outcomes
from refine_eval.results.records import RunRecord, read_run
from refine_eval.statistics.critic_quality import (
    cross_fitted,
    draft_scores,
    final_cases,
    first_error_cases,
    right_cases,
    role_of,
    step_cases,
)
from refine_eval.statistics.intervals import Cases, same_problems
from refine_eval.tasks.truth import Known, known_problems, knows_steps

GLORE = "glore"
OPTIONAL = ("best-of-3", "where-orm", "oracle-steps", "calculator", "control")
CRITICS = ("orm", "sorm")
_TRIED = tuple(at / 50 for at in range(1, 50))  # thresholds among which a critic's best is looked for


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of models on one task: its records' names begin with the prefixes, one for each training seed.

    `make` are the commands that make the records, with N for the seed. `stand_ins`: which component stands for a part
    of the method that the records do not have, such as rewrite for global. `without` are records that need training
    where there is none.
    """

    key: str
    title: str
    prefixes: Sequence[str]
    make: str
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    without: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of a task's test problems: gold steps by problem id, and whether any first wrong step is."""

    steps: Mapping[str, int]
    exact: bool = False


@dataclass(frozen=True)
class Run:
    """A published record with its outcomes, and the first wrong line of each draft where the task can tell.

    Refiners and critics go by the names of the method's parts that they stand for.
    """

    record: RunRecord
    traces: Sequence[Trace]
    first_bad: Mapping[str, int | None] | None
    stand_ins: Mapping[str, str] = field(default_factory=dict)

    def right(self, answer: str) -> Cases:
        """Which problems "draft", "choice", "oracle" or a refiner alone answers rightly."""
        return right_cases(self.traces, self.record.filter, self.stand_ins.get(answer, answer))

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.record.settings["task"]["name"])

    @property
    def refiners(self) -> list[str]:
        """The refiners that the run had, by name; one that never wrote has no row."""
        return [self._part(refiner["name"]) for refiner in self.record.settings["refiners"]]

    def critic(self, role: str) -> str:
        """The name of the critic that had this role."""
        return self._part(self.record.settings[role]["name"])

    def _part(self, name: str) -> str:
        """What a component stands for, else its own name."""
        return next((part for part, stand_in in self.stand_ins.items() if stand_in == name), name)

    def row(self, kind: str, name: str = "") -> Row | None:
        """The first row of that kind (and name, where one is given) in the run's own table."""
        wanted = self.stand_ins.get(name, name)
        return next((row for row in self.record.rows if row.kind == kind and wanted in ("", row.name)), None)

    def scores(self, critic: str) -> Mapping[str, Any] | None:
        """This critic's view of the drafts, by problem; None where the run had no such critic."""
        role = role_of(self.record.settings, self.stand_ins.get(critic, critic))
        return None if role is None else draft_scores(self.traces, role) or None

    def threshold(self, critic: str) -> float:
        """The score under which this critic holds a step, or an answer, to be wrong."""
        role = role_of(self.record.settings, self.stand_ins.get(critic, critic))
        return float(self.record.settings[role]["options"].get("threshold", 0.5)) if role else 0.5


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One training seed's records: `runs` by name ("glore", "control", ...), `ablations` by theirs."""

    prefix: str
    runs: Mapping[str, Run]
    ablations: Mapping[str, Run]
    truth: Truth

    @property
    def glore(self) -> Run:
        """The record on which all else depends."""
        return self.runs[GLORE]

    def steps(self, critic: str, run: Run | None = None, threshold: float | None = None) -> Cases | None:
        """How many steps of each draft the critic judges rightly; None without critic or truth."""
        return self._judged(step_cases, critic, run or self.glore, threshold)

    def first_errors(self, critic: str, run: Run | None = None, threshold: float | None = None) -> Cases | None:
        """In which wrong drafts the critic finds the first wrong step; None without critic or truth."""
        return self._judged(first_error_cases, critic, run or self.glore, threshold)

    def finals(self, critic: str, threshold: float | None = None) -> Cases | None:
        """Which drafts' answers the critic judges rightly; None without the critic."""
        run = self.glore
        scores = run.scores(critic)
        at = run.threshold(critic) if threshold is None else threshold
        return scores and final_cases(run.traces, scores, run.record.filter, at)

    def at_best(self, measure: Callable[..., Cases | None], critic: str) -> Cases | None:
        """`steps`, `first_errors` or `finals` at the critic's best threshold, chosen on the other half of problems."""
        found = {at: cases for at in _TRIED if (cases := measure(self, critic, threshold=at)) is not None}
        return cross_fitted(found) if found else None

    def _judged(self, measure: Callable[..., Cases], critic: str, run: Run, threshold: float | None) -> Cases | None:
        scores = run.scores(critic)
        if scores is None or run.first_bad is None:
            return None
        return measure(run.traces, scores, run.first_bad, run.threshold(critic) if threshold is None else threshold)


def possible(seed: Seed) -> Sequence[str]:
    """The records that its task can have beside the main one; an oracle of steps needs their exact truth."""
    return [name for name in OPTIONAL if name != "oracle-steps" or seed.truth.exact]


@dataclass(frozen=True)
class Tested:
    """A size with those of its seeds that have records."""

    size: Size
    seeds: Sequence[Seed]


def read_size(results: Path, size: Size) -> Tested:
    """The size's seeds; RunError where a seed's records are not over the same problems."""
    seeds = []
    for prefix in size.prefixes:
        if (results / "published" / f"{prefix}-{GLORE}").is_dir():
            seeds.append(_read_seed(results, prefix, size.stand_ins))
    for seed in seeds[1:]:
        _same(seeds[0].glore, seed.glore)
    return Tested(size, seeds)


def _read_seed(results: Path, prefix: str, stand_ins: Mapping[str, str]) -> Seed:
    folder = results / "published"
    names = [name for name in (GLORE, *OPTIONAL) if (folder / f"{prefix}-{name}").is_dir()]
    runs = {name: _read(results, f"{prefix}-{name}", stand_ins) for name in names}
    start, end = f"{prefix}-ablation-", f"-{GLORE}"
    ablations = {
        path.name.removeprefix(start).removesuffix(end): _read(results, path.name, stand_ins)
        for path in sorted(folder.glob(f"{start}*{end}"))
        if path.is_dir()
    }
    for other in (*runs.values(), *ablations.values()):
        _same(runs[GLORE], other)
    truth = known_truth(runs[GLORE].task, results)
    return Seed(prefix=prefix, runs=runs, ablations=ablations, truth=truth)


def _read(results: Path, name: str, stand_ins: Mapping[str, str]) -> Run:
    folder = results / "published" / name
    found = read_outcomes(folder)
    return Run(read_run(folder), found.traces, found.first_bad, stand_ins)


def _same(one: Run, other: Run) -> None:
    same_problems(
        [t.problem.id for t in one.traces],
        [t.problem.id for t in other.traces],
        f"The records {one.record.name} and {other.record.name}",
    )


def known_truth(task_name: str, results: Path) -> Truth:
    """The truth about a task's test problems.

    The solutions of a task that is made on the spot are at hand wherever the page is checked. Those of others are
    not, so of these only what results/gold-steps.json keeps is used, and the page is the same bytes everywhere.
    """
    from refine_eval.plugin.registry import registry

    benchmarks = registry().benchmarks()
    if not knows_steps(task_name, benchmarks):
        counts = read_gold_steps(results / "gold-steps.json").get(task_name, [])
        return Truth(steps={f"{task_name}/{number}": count for number, count in enumerate(counts)})
    known = _known(task_name)
    return Truth(steps={problem: len(split_steps(found.gold)) - 1 for problem, found in known.items()}, exact=True)


def read_gold_steps(path: Path) -> dict[str, list[int]]:
    """For each task the steps of its problems' solutions; none where there is no file, RunError for a broken one."""
    try:
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return {task: [int(count) for count in counts] for task, counts in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} cannot be read ({error}): remove it and make it again with benchmarks/findings/gold_steps.py."
        ) from error


@functools.cache
def _known(task_name: str) -> Mapping[str, Known]:
    from refine_eval.plugin.registry import registry

    return known_problems(task_name, registry().benchmarks())
