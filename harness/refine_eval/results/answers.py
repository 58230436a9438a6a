"""Who answered which problem rightly: from run records and rows of them, lm-eval's samples files and Inspect's logs.

RUN                 a run record's choice; RUN:draft, RUN:local, RUN:vote: another row of its table
samples_*.jsonl     what lm-eval writes with --log_samples; FILE:strict-match: under another filter
*.eval, *.json      a log of Inspect (the extra `inspect`); FILE:SCORER: by another scorer
A,B,C               one each of several training seeds or repeats; a row or filter after them is that of all
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from refine_eval.data import PREFERRED_FILTER, Trace
from refine_eval.errors import RunError, missing_extra, suggestion
from refine_eval.files import open_file
from refine_eval.reading import from_json
from refine_eval.results.ledger import CHOSEN, Row, problem_shares, row_named
from refine_eval.results.published import read_outcomes
from refine_eval.results.records import RunRecord, find_run, read_run
from refine_eval.results.typed import COUNT, NAME, OBJECT, Fault
from refine_eval.results.typed import field as value_of
from refine_eval.statistics.intervals import Cases
from refine_eval.terminal import shown

_SAMPLES = re.compile(r"samples_(.+?)_\d{4}-\d\d-\d\dT[^/]*$")
_LOGS = (".eval", ".json")
_OF_THE_FILE = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}

_Read = tuple[RunRecord, Sequence[Trace]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One way to answer a task's problems, once for each seed: for every problem (share of right answers, 1).

    Problems are named by their number or id in the task. `filter` is what decided, `sees_gold` says that it is an upper
    bound and `tuned` that a threshold was chosen by the right answers to these very problems; `hashes` tell problems
    with other questions apart where the file has them; `is_inspect` logs number problems in their own way.
    """

    name: str
    task: str | None
    filter: str
    seeds: tuple[Cases, ...]
    sees_gold: bool = False
    tuned: bool = False
    is_inspect: bool = False
    hashes: Mapping[str, str] = field(default_factory=dict)


def read_answers(given: Sequence[str], results: Path, metric: str | None = None) -> list[Answers]:
    """What each word names (see above), the seeds of one together; no record is read twice.

    `metric` decides in samples files with several. RunError for what is missing, corrupt or of several tasks.
    """
    records: dict[Path, _Read] = {}

    def read(source: str, part: str | None) -> Answers:
        path = Path(source)
        if path.suffix in (*_LOGS, ".jsonl") and not path.is_dir():
            return _read_inspect(path, part) if path.suffix in _LOGS else _read_samples(path, part, metric)
        folder = find_run(source, results)
        if folder not in records:
            records[folder] = read_run(folder), read_outcomes(folder).traces
        return _of_row(*records[folder], part)

    return [_seeds(name, *_sources(name, results), read) for name in given]


def _seeds(name: str, sources: Sequence[str], part: str | None, read: Callable[[str, str | None], Answers]) -> Answers:
    first, *others = (read(source, part) for source in sources)
    for source, other in zip(sources[1:], others, strict=True):
        same = ((a.task, a.filter, a.is_inspect, a.sees_gold, a.tuned) for a in (first, other))
        if len(set(same)) > 1:
            raise RunError(f"{sources[0]} and {source} are not seeds of one thing: they differ in task, filter or row.")
    return replace(first, name=name, seeds=tuple(cases for each in (first, *others) for cases in each.seeds))


def _sources(given: str, results: Path) -> tuple[list[str], str | None]:
    """The files or records that a word names, and the row or filter after its last colon."""
    if _is_there(given, results):
        return [given], None
    names, colon, part = given.rpartition(":")
    if not colon or _is_there(given.rpartition(",")[2], results):
        names, part = given, ""
    return [name.strip() for name in names.split(",") if name.strip()] or [given], part.strip() or None


def row_of(given: str, results: Path) -> tuple[Path, str | None]:
    """The folder of the one record that a word names, and the row after its colon; RunError where there is none."""
    (name, *others), part = _sources(given, results)
    if others:
        raise RunError(f"{shown(given)} names several runs; name one.")
    return find_run(name, results), part


def find_row(record: RunRecord, part: str | None) -> Row:
    """The row of a record's table by its name, of the run's choice where there is none; RunError for an unknown one."""
    try:
        return row_named(record.rows, part or CHOSEN)
    except KeyError:
        names = [row.name for row in record.rows]
        raise RunError(
            f"The run {record.name} has no row {part!r}; it has {', '.join(names)}.{suggestion(part or '', names)}"
        ) from None


def _is_there(name: str, results: Path) -> bool:
    return bool(name) and any(
        os.path.exists(path) for path in (name, results / "runs" / name, results / "published" / name)
    )


def _of_row(record: RunRecord, traces: Sequence[Trace], part: str | None) -> Answers:
    row = find_row(record, part)
    task = str(record.settings["task"]["name"])
    shares = problem_shares(traces, [t.correct[row.answer(t).id][record.filter] for t in traces])
    return Answers(
        name=record.name,
        task=task,
        filter=record.filter,
        seeds=({problem.removeprefix(f"{task}/"): share for problem, share in shares.items()},),
        sees_gold=row.needs_gold,
        tuned=row.tuned,
    )


def _read_samples(path: Path, wanted: str | None, metric: str | None) -> Answers:
    """A file of lm-eval's --log_samples: a line for each problem under each filter."""
    try:
        with open_file(path) as file:
            rows = [OBJECT.check(from_json(line.decode()), "the line") for line in file if line.strip()]
        filters = list(dict.fromkeys(value_of(row, "filter", NAME) for row in rows))
        if not filters:
            raise Fault("it has no lines")
        used = wanted or (PREFERRED_FILTER if PREFERRED_FILTER in filters else filters[0])
        if used not in filters:
            raise Fault(f"it has no filter {shown(used)}, but {', '.join(filters)}")
        cases: dict[str, tuple[float, float]] = {}
        for row in rows:
            if row["filter"] == used:
                problem = str(value_of(row, "doc_id", COUNT))
                if problem in cases:
                    raise Fault(f"the problem {problem} is in it twice under the filter {shown(used)}")
                cases[problem] = (_share(row, _metric(row, metric)), 1.0)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{path} cannot be read as a samples file of lm-eval (--log_samples): {why}.") from error
    named = _SAMPLES.match(path.name)
    return Answers(
        name=path.name,
        task=named.group(1) if named else None,
        filter=used,
        seeds=(cases,),
        hashes={str(row["doc_id"]): str(row["doc_hash"]) for row in rows if "doc_hash" in row},
    )


def _metric(row: Mapping[str, Any], wanted: str | None) -> str:
    names = row.get("metrics") or [k for k in row if k not in _OF_THE_FILE and not k.endswith("_hash")]
    if wanted and wanted not in names:
        raise Fault(f"it has no metric {shown(wanted)}, but {', '.join(map(str, names))}")
    if not names:
        raise Fault("its lines have no metric")
    return wanted or str(names[0])


def _share(row: Mapping[str, Any], metric: str) -> float:
    value = row.get(metric)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Fault(f"{metric} of the problem {row['doc_id']} is {shown(value)}, neither right nor wrong")
    return float(value)


def _read_inspect(path: Path, scorer: str | None) -> Answers:
    """A log of Inspect; its epochs are repeats of a problem."""
    try:
        from inspect_ai.log import read_eval_log
        from inspect_ai.scorer import value_to_float
    except ImportError:
        raise RunError(f"{path} looks like a log of Inspect. {missing_extra('inspect-ai', 'inspect')}") from None
    try:
        log = read_eval_log(str(path))
    except Exception as error:
        raise RunError(f"{path} cannot be read as a log of Inspect ({type(error).__name__}: {error}).") from error
    if log.status != "success" or not log.samples:
        raise RunError(f"{path} is not the log of a finished evaluation (status {log.status}); finish it first.")
    as_float, found = value_to_float(), dict[str, list[float]]()
    for sample in log.samples:
        scores = sample.scores or {}
        name = scorer or next(iter(scores), "")
        if name not in scores:
            raise RunError(
                f"{path} has no score {name!r} of the sample {sample.id}; it has {', '.join(scores) or 'none'}."
            )
        value = as_float(scores[name].value)
        if math.isnan(value) or not 0 <= value <= 1:
            raise RunError(f"{path}: the score {name!r} of the sample {sample.id} is neither right nor wrong.")
        found.setdefault(str(sample.id), []).append(value)
    return Answers(
        name=path.name,
        task=str(log.eval.task).rpartition("/")[2],
        filter=scorer or "its first scorer",
        seeds=({problem: (math.fsum(values) / len(values), 1.0) for problem, values in found.items()},),
        is_inspect=True,
    )


def paired(one: Answers, other: Answers, common: bool = False) -> list[tuple[Cases, Cases]]:
    """The two over the same problems, a pair a seed; of one that has a single seed this is paired with each.

    RunError where they cannot be compared: other tasks or questions, other problems (unless only the `common` ones are
    wanted), other numbers of seeds, or one that sees gold answers or was tuned on these problems and one that does not.
    """
    names = f"{one.name} and {other.name}"
    if one.is_inspect != other.is_inspect:
        raise RunError(f"{names} number their problems in different ways: a log of Inspect is compared with another.")
    if one.task and other.task and one.task != other.task:
        raise RunError(f"{names} answer different tasks ({one.task} and {other.task}), so they cannot be compared.")
    if one.sees_gold != other.sees_gold:
        seeing = one if one.sees_gold else other
        raise RunError(
            f"{seeing.name} sees the gold answers: it is an upper bound and cannot be compared with a method; compare "
            f"it with another row that sees them."
        )
    if one.tuned != other.tuned:
        raise RunError(
            f"{(one if one.tuned else other).name} has a threshold that was tuned on these very problems, so it cannot "
            f"be compared with a row that has none: tune it on other problems or on halves."
        )
    count = max(len(one.seeds), len(other.seeds))
    if {len(one.seeds), len(other.seeds)} - {1, count}:
        raise RunError(
            f"{names} have {len(one.seeds)} and {len(other.seeds)} seeds: name as many of both, in the same order."
        )
    if odd := [p for p, found in one.hashes.items() if other.hashes.get(p, found) != found]:
        raise RunError(f"{names} ask other questions: {_some(odd, one.task)} differ in their doc_hash.")
    pairs = [(one.seeds[min(s, len(one.seeds) - 1)], other.seeds[min(s, len(other.seeds) - 1)]) for s in range(count)]
    return [_shared(*pair, one, other, common) for pair in pairs]


def _shared(a: Cases, b: Cases, one: Answers, other: Answers, common: bool) -> tuple[Cases, Cases]:
    if a.keys() == b.keys():
        return a, b
    both = [p for p in a if p in b]
    if common and both:
        return {p: a[p] for p in both}, {p: b[p] for p in both}
    only = [
        f"{len(odd):,} only in {answers.name} ({_some(odd, answers.task)})"
        for answers, odd in ((one, [p for p in a if p not in b]), (other, [p for p in b if p not in a]))
        if odd
    ]
    instead = "; --common compares those that both have" if both else ""
    names = f"{one.name} and {other.name}"
    raise RunError(f"{names} are not over the same problems: {len(both):,} in both, {', '.join(only)}{instead}.")


def _some(problems: Sequence[str], task: str | None, most: int = 5) -> str:
    named = ", ".join(f"{task}/{p}" if task else p for p in problems[:most])
    return named + (", ..." if len(problems) > most else "")
