"""Published records: small, without texts unless asked for, and seen to be unchanged.

    results/published/<name>/run.yaml, metrics.json, results_lm_eval.json, manifest.json    as in a run's own record
    results/published/<name>/outcomes.jsonl.gz    one line a problem: all that statistics need
    results/published/<name>/traces.jsonl.gz      with texts, of a few runs only

An outcome is a trace in which a number stands for each candidate's text (equal where the texts are), without answers,
with scores of steps for the draft only, and, where the task can tell, with `first_bad`: the draft's first wrong step,
counted from 0, or null.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine_eval.data import DRAFT, Trace
from refine_eval.errors import RunError
from refine_eval.files import replacing_folder
from refine_eval.results.records import (
    SUMMARY,
    TRACES,
    RunRecord,
    check_unchanged,
    dumps,
    read_lines,
    read_run,
    read_runs_in,
    read_traces,
    trace_from_json,
    trace_to_json,
    write_manifest,
)

OUTCOMES = "outcomes.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A run as statistics read it: traces in which equal texts have equal stand-ins, and the drafts' first wrong steps.

    `first_bad` is None where the task cannot tell, or the record does not say.
    """

    traces: Sequence[Trace]
    first_bad: Mapping[str, int | None] | None


def read_published(results: Path) -> list[RunRecord]:
    """All published records of a results folder, sorted by name; RunError names a corrupt one."""
    return read_runs_in(results / "published")


def publish(run: Path, results: Path, first_bad: Mapping[str, int | None] | None, with_traces: bool) -> Path:
    """Writes the small form of a run's record to RESULTS/published, in place of an older one; returns its path."""
    read_run(run)
    traces = read_traces(run)
    target = results / "published" / run.resolve().name
    try:
        with replacing_folder(target, wait_s=60) as new:
            for name in SUMMARY:
                shutil.copyfile(run / name, new / name)
            _write(new / OUTCOMES, (_outcome_to_json(trace, first_bad) for trace in traces))
            if with_traces:
                _write(new / f"{TRACES}.gz", map(trace_to_json, traces))
            write_manifest(new)
    except OSError as error:
        raise RunError(f"The published record {target} cannot be written ({error}); publish it again.") from error
    return target


def read_outcomes(folder: Path) -> Outcomes:
    """A record's outcomes, a run's own from its traces; RunError where they are missing or corrupt."""
    if not (folder / OUTCOMES).is_file():
        return Outcomes(read_traces(folder), None)
    found = read_lines(folder / OUTCOMES, _outcome_from_json)
    check_unchanged(folder, [OUTCOMES])
    told = {trace.problem.id: first_bad for trace, tells, first_bad in found if tells}
    return Outcomes([trace for trace, *_ in found], told or None)


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """The same bytes for the same rows: without name and time."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for row in rows:
            file.write((dumps(row) + "\n").encode())


def _outcome_to_json(trace: Trace, first_bad: Mapping[str, int | None] | None) -> dict[str, Any]:
    row = trace_to_json(trace)
    numbers: dict[str, int] = {}
    for candidate in row["candidates"]:
        del candidate["answer"]
        candidate["text"] = numbers.setdefault(candidate["text"], len(numbers))
    for candidate_id, roles in row["critiques"].items():
        for critique in roles.values() if candidate_id != DRAFT else ():
            del critique["step_scores"]
    return row if first_bad is None else {**row, "first_bad": first_bad[trace.problem.id]}


def _outcome_from_json(row: Mapping[str, Any]) -> tuple[Trace, bool, int | None]:
    """The trace, whether the row tells the first wrong step, and that step."""
    candidates = [{**candidate, "text": f"text {candidate['text']}", "answer": None} for candidate in row["candidates"]]
    critiques = {
        candidate: {role: {"step_scores": (), **critique} for role, critique in roles.items()}
        for candidate, roles in row["critiques"].items()
    }
    trace = trace_from_json({**row, "candidates": candidates, "critiques": critiques})
    return trace, "first_bad" in row, row.get("first_bad")
