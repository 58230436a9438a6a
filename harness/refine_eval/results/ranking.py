"""Run records, pooled over seeds and ranked: one table for each task and student, a line for each strategy."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval.data import DRAFT
from refine_eval.errors import RunError
from refine_eval.files import read_file
from refine_eval.reading import from_json
from refine_eval.results.ledger import ROUND, Row
from refine_eval.results.manifest import read_manifest
from refine_eval.results.memory import recall
from refine_eval.results.records import RunRecord
from refine_eval.results.row_shares import Key, key, outcomes_file, read_shares
from refine_eval.results.table import TUNED, UPPER_BOUND, marks
from refine_eval.results.tuning import REFINE_BELOW, tuning_from_json, without_tuned
from refine_eval.results.typed import FLAG, LIST, NAME, OBJECT, SHARE, field
from refine_eval.statistics.intervals import paired_difference, rate
from refine_eval.statistics.shares import holm

LEFT_OUT, REPORTED, SECOND_HAND = "†", "reported", "reported, second-hand"

REPORTED_FILE = "reported.json"
"""Figures of papers, beside the leaderboard: a list of objects, one for each line (`_reported_line`)."""

_MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One strategy, over all seeds of it that there are. What is not known is None.

    `accuracy` with its 95 % interval and `gain` (over the draft of the same run) are shares; `p_value` is paired over
    problems and seeds, and Holm's over the table; an upper bound has none. `gained` and `lost` (wrong to right, right
    to wrong), `tokens` written, `read_tokens` and `flops` a problem, `seconds` for all problems and the share `cut_off`
    of answers that hit the length limit are means over seeds; `seeds` are 0 where a paper does not say. `marks` say
    what the line is, where it is no ordinary one; `runs` are the names of its records.
    """

    strategy: str
    critics: str = ""
    accuracy: float
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    p_value: float | None = None
    gained: float | None = None
    lost: float | None = None
    tokens: float | None = None
    read_tokens: float | None = None
    flops: float | None = None
    seconds: float | None = None
    cut_off: float | None = None
    problems: int | None = None
    seeds: int = 0
    marks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    source: str = ""

    @property
    def is_method(self) -> bool:
        """Whether it has a rank: upper bounds, what was tuned on its own problems and others' figures have none."""
        return not {UPPER_BOUND, TUNED, REPORTED, SECOND_HAND} & set(self.marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The strategies of one task and student, the best first; `identities` are the student's, one a seed if trained."""

    task: str
    student: str
    identities: tuple[str, ...]
    lines: tuple[Line, ...]


Pool = Sequence[RunRecord]
"""Records that differ in nothing but the seed, each with another one."""


def rankings(records: Sequence[RunRecord], reported: Sequence[tuple[str, str, Line]] = ()) -> list[Ranking]:
    """All tables, by task, those of the students with most records first.

    `reported` are (task, student, line) of others. RunError where the outcomes of seeds that are to be pooled are
    corrupt, or not over the same problems.
    """
    tables: dict[tuple[str, str, tuple[str, ...]], list[Pool]] = defaultdict(list)
    for pool in pools(records):
        identities = tuple(sorted({str(record.settings["model"].get("identity", "")) for record in pool}))
        tables[str(pool[0].settings["task"]["name"]), _student(pool[0].settings), identities].append(pool)
    found = [
        (
            -sum(map(len, of_student)),
            Ranking(task=task, student=student, identities=identities, lines=_lines(of_student)),
        )
        for (task, student, identities), of_student in tables.items()
    ]
    others: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for task, student, line in reported:
        others[task, student].append(line)
    found += [
        (0, Ranking(task=task, student=student, identities=(), lines=tuple(sorted(lines, key=_order))))
        for (task, student), lines in others.items()
    ]
    return [
        table
        for _, table in sorted(found, key=lambda each: (each[1].task, each[0], each[1].student, each[1].identities))
    ]


def pools(records: Sequence[RunRecord]) -> list[Pool]:
    """Records of equal settings but for the seed, together; one without outcomes, or of a seed that is there, alone."""
    found: dict[str, list[list[RunRecord]]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.name):
        same = found[_settings_but_seed(record.settings)]
        seed = record.settings.get("seed")
        free = (pool for pool in same if seed not in [other.settings.get("seed") for other in pool])
        pool = next(free, None) if _has_outcomes(record) else None
        if pool is None:
            same.append([record])
        else:
            pool.append(record)
    return [pool for same in found.values() for pool in same]


def _settings_but_seed(settings: Mapping[str, Any]) -> str:
    """What records have to share. The models of a recipe's stage are trained anew with each seed, so may differ."""
    incidental = {"format", "seed", "versions", "machine", "command"}
    kept = {name: value for name, value in settings.items() if name not in incidental}
    if (tuning := tuning_from_json(settings)) is not None:  # each seed has its own values
        kept = {**without_tuned(kept, tuning), "tuning": (tuning.on, tuning.task)}
    if "stage" in settings:
        kept = {**_without_identities(kept), "command": re.sub(r"\bseed=\S+", "seed=N", settings["command"])}
    return json.dumps(kept, sort_keys=True, default=str)


def _without_identities(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_identities(inner) for key, inner in value.items() if key != "identity"}
    return [_without_identities(inner) for inner in value] if isinstance(value, list) else value


def _has_outcomes(record: RunRecord) -> bool:
    return record.folder is not None and outcomes_file(record.folder) is not None


def _student(settings: Mapping[str, Any]) -> str:
    model = settings["model"]
    options = model.get("options") or {}
    return str(options.get("pretrained") or options.get("model") or model["name"])


def _lines(pools: Sequence[Pool]) -> tuple[Line, ...]:
    """The lines of a table, lines of equal name and figures as one: runs share drafts, and refiners of their own."""
    merged: dict[tuple[Any, ...], list[Line]] = defaultdict(list)
    for line in (line for pool in sorted(pools, key=lambda pool: -len(pool)) for line in _pool_lines(pool)):
        merged[_figures(line)].append(line)
    lines = [
        replace(same[0], runs=tuple(sorted(run for each in same for run in each.runs))) for same in merged.values()
    ]
    tested = [line for line in lines if line.p_value is not None]
    adjusted = dict(zip(tested, holm([line.p_value for line in tested if line.p_value is not None]), strict=True))
    return tuple(sorted((replace(line, p_value=adjusted.get(line)) for line in lines), key=_order))


def _order(line: Line) -> tuple[Any, ...]:
    return -line.accuracy, line.tokens or 0.0, line.strategy, line.critics, line.runs


def _figures(line: Line) -> tuple[Any, ...]:
    """Equal for lines of one strategy; a draft that needed no seed is the same with any number of them."""
    seeds = None if line.strategy == DRAFT else line.seeds
    shown = line.strategy, line.critics, line.problems, line.marks
    return *shown, line.gained, line.lost, round(line.accuracy, 9), seeds


def _pool_lines(pool: Pool) -> Iterator[Line]:
    first = pool[0]
    table = [row for row in first.rows if all(_find(other, row) is not None for other in pool)]
    pooled = _pooled(pool, table)
    for row in table:
        rows = [found for record in pool if (found := _find(record, row)) is not None]
        strategy, critics = _names(first.settings, row)
        low, high, gain, p_value = pooled[key(row)] if pooled else _of_one(row)
        yield Line(
            strategy=strategy,
            critics=critics,
            accuracy=_mean([row.accuracy(record.filter) for record, row in zip(pool, rows, strict=True)]),
            low=low,
            high=high,
            gain=gain,
            p_value=p_value if row.is_method else None,
            gained=None if row.kind == DRAFT else _mean([row.gained for row in rows]),
            lost=None if row.kind == DRAFT else _mean([row.lost for row in rows]),
            tokens=_mean([row.tokens for row in rows]),
            read_tokens=_known_mean([row.read_tokens for row in rows]),
            flops=_known_mean([row.flops for row in rows]),
            seconds=_mean([row.seconds for row in rows]),
            cut_off=_known_mean([None if row.cut_off is None else row.cut_off / row.problems for row in rows]),
            problems=row.problems,
            seeds=len(pool),
            marks=(*marks(row), *[LEFT_OUT] * any(record.left_out for record in pool)),
            runs=tuple(record.name for record in pool),
        )


Figures = Sequence[float | None]
"""Low and high of a line's accuracy, its gain and the p-value of that."""


def _of_one(row: Row) -> Figures:
    """The figures of one seed, as its record has them."""
    if row.kind == DRAFT:
        return row.low, row.high, None, None
    return row.low, row.high, (row.gained - row.lost) / row.answers, row.p_value


def _pooled(pool: Pool, table: Sequence[Row]) -> Mapping[Key, Figures]:
    """The figures of each row over the outcomes of several seeds; nothing for one seed.

    RunError where outcomes are corrupt, or not over the same problems.
    """
    if len(pool) < 2:
        return {}
    hashes = [_outcomes_hash(record) for record in pool]
    if None in hashes:
        found = _over_seeds(pool, table)
    else:
        of = json.dumps([hashes, [record.filter for record in pool], [key(row) for row in table]])
        found = recall(lambda kept: _are_figures(kept, len(table)), lambda: _over_seeds(pool, table), "pooled", of)
    return dict(zip(map(key, table), found, strict=True))


def _over_seeds(pool: Pool, table: Sequence[Row]) -> list[list[float | None]]:
    shares, found = list(map(read_shares, pool)), []
    drafts = [each[key(table[0])] for each in shares]
    for row in table:
        right = [each[key(row)] for each in shares]
        share = rate(right)
        gain = None if row.kind == DRAFT else paired_difference(list(zip(right, drafts, strict=True)))
        interval = [share.low, share.high] if share else [None, None]
        found.append([*interval, *([gain.value, gain.p_value] if gain else [None, None])])
    return found


def _are_figures(kept: Any, rows: int) -> bool:
    return (
        isinstance(kept, list)
        and len(kept) == rows
        and all(isinstance(each, list) and len(each) == 4 for each in kept)
        and all(value is None or isinstance(value, float | int) for each in kept for value in each)
    )


def _outcomes_hash(record: RunRecord) -> str | None:
    """The hash of a record's outcomes, which reading the record compared with the file; None of an older one."""
    path = outcomes_file(record.folder) if record.folder else None
    hashes = read_manifest(path.parent) if path else None
    return hashes.get(path.name) if path and hashes else None


def _known_mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is not known."""
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None


def _find(record: RunRecord, row: Row) -> Row | None:
    return next((each for each in record.rows if (each.kind, each.name) == (row.kind, row.name)), None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _names(settings: Mapping[str, Any], row: Row) -> tuple[str, str]:
    """What a row's strategy is called, and its critics: that of *where* for a refiner alone, else when/where/choose."""
    critics = [str(settings.get(role, {}).get("name", "")) for role in ("when", "where", "choose")]
    below = settings.get("refine_below")
    gate = f" below {below:g}" if below is not None else ""
    tuning = tuning_from_json(settings)
    if tuning is not None and REFINE_BELOW in {each.name for each in tuning.thresholds}:
        gate = " below tuned"
    if row.kind == DRAFT:
        return DRAFT, ""
    if row.kind == "refiner":
        return f"{row.name} alone{gate}", critics[0] + "/" + critics[1] if gate else critics[1]
    refiners = " + ".join(str(refiner["name"]) for refiner in settings.get("refiners", []))
    rounds = f" × {settings['rounds']}" if settings.get("rounds", 1) > 1 else ""
    if until := settings.get("until_accepted"):
        rounds += f" until accepted {until} ×"
    named = critics[0] if len(set(critics)) == 1 else "/".join(critics)
    chosen = f"{settings['selectors'][0]['name']}, {row.name}" if row.kind == ROUND else row.name
    return f"{refiners}{rounds}{gate} → {chosen}", named


def read_reported(path: Path) -> list[tuple[str, str, Line]]:
    """(task, student, line) of each published figure in a file; none where there is no file. RunError: a bad one."""
    try:
        given = LIST.check(from_json(read_file(path, _MOST_BYTES).decode()), path.name)
        return [_reported_line(OBJECT.check(each, "figure")) for each in given]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is not a list of reported figures ({error}); correct it or move it away.") from error


def _reported_line(row: Mapping[str, Any]) -> tuple[str, str, Line]:
    line = Line(
        strategy=field(row, "strategy", NAME),
        critics=field(row, "critics", NAME) if "critics" in row else "",
        accuracy=field(row, "accuracy", SHARE),
        marks=(SECOND_HAND if field(row, "second_hand", FLAG) else REPORTED,),
        source=field(row, "source", NAME),
    )
    return field(row, "task", NAME), field(row, "student", NAME), line
