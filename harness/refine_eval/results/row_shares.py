"""How many of each problem's drafts each row of a record's table answers rightly, from as little as tells it.

A record whose hashes vouch for it is read for grades and choices alone, which takes a tenth of the time; what is read
is checked, and has to give the record's table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refine_eval.data import Candidate, Problem, Solution, Trace
from refine_eval.errors import first_line
from refine_eval.files import reading_folder
from refine_eval.results.ledger import Row, problem_shares
from refine_eval.results.manifest import corrupt, read_manifest
from refine_eval.results.published import read_outcomes
from refine_eval.results.records import OUTCOMES, TRACES, RunRecord
from refine_eval.results.traces import read_lines
from refine_eval.results.typed import COUNT, FLAG, LIST, NAME, OBJECT, Fault, field
from refine_eval.statistics.intervals import Cases
from refine_eval.terminal import shown

Key = tuple[str, str]
"""A row's kind and name."""


def key(row: Row) -> Key:
    """What rows of several records are one row by."""
    return row.kind, row.name


def outcomes_file(folder: Path) -> Path | None:
    """The file that says who answered what rightly; None where a record was kept without it."""
    names = (OUTCOMES, TRACES, f"{TRACES}.gz")
    return next((folder / name for name in names if os.path.exists(folder / name)), None)


def read_shares(record: RunRecord) -> Mapping[Key, Cases]:
    """The shares of every row of a record that has outcomes; RunError where they are corrupt."""
    assert record.folder is not None
    return reading_folder(record.folder, lambda folder: _read_shares(folder, record))


def _read_shares(folder: Path, record: RunRecord) -> Mapping[Key, Cases]:
    path = outcomes_file(folder)
    if path is None or read_manifest(folder) is None:
        traces = read_outcomes(folder).traces
        return {
            key(row): problem_shares(traces, [t.correct[row.answer(t).id][record.filter] for t in traces])
            for row in record.rows
        }
    found: dict[Key, dict[str, list[bool]]] = {key(row): {} for row in record.rows}
    seen: set[str] = set()
    for problem, right in read_lines(path, lambda line: _line(line, record.rows, record.filter), _parsed):
        if problem.id in seen:
            raise corrupt(path, f"the problem {shown(problem.id)} is there twice")
        seen.add(problem.id)
        for each, is_right in right.items():
            found[each].setdefault(problem.first_id, []).append(is_right)
    for row in record.rows:
        if sum(map(sum, found[key(row)].values())) != row.correct[record.filter]:
            raise corrupt(path, f"the figures of {shown(row.name)} in its table are not those of its traces")
    return {
        each: {problem: (sum(right) / len(right), 1.0) for problem, right in by_problem.items()}
        for each, by_problem in found.items()
    }


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except RecursionError as error:
        raise Fault("it is nested too deeply") from error


_NOTHING = Solution(text="", steps=(), answer=None, finish_reason="stop", tokens=0)


def _line(value: Any, rows: Sequence[Row], main: str) -> tuple[Problem, dict[Key, bool]]:
    """A line's problem, and whether each row answers it rightly."""
    line = OBJECT.check(value, "the line")
    problem = Problem(
        id=field(line, "problem", NAME),
        task="",
        question="",
        prompt="",
        repeat=field(line, "repeat", COUNT) if "repeat" in line else 0,
    )
    grades, rounds = field(line, "correct", OBJECT), field(line, "rounds", LIST) if "rounds" in line else []
    trace = Trace(
        problem=problem,
        candidates=tuple(_candidate(problem, each) for each in field(line, "candidates", LIST)),
        critiques={},
        refined=True,
        selected=field(line, "selected", OBJECT),
        rounds=tuple(rounds),
        correct={},
    )
    try:
        answers = [row.answer(trace).id for row in rows]
    except (KeyError, IndexError) as error:
        raise Fault(f"it has no answer of one of its table's rows ({first_line(error)})") from error
    return problem, {
        key(row): field(field(grades, answer, OBJECT), main, FLAG) for row, answer in zip(rows, answers, strict=True)
    }


def _candidate(problem: Problem, value: Any) -> Candidate:
    row = OBJECT.check(value, "candidate")
    return Candidate(
        id=field(row, "id", NAME),
        problem=problem,
        solution=_NOTHING,
        origin="",
        component=field(row, "component", NAME),
        sample=0,
    )
