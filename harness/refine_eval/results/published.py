"""Published records: small, without texts unless asked for, and seen to be unchanged.

    results/published/<name>/run.yaml, metrics.json, results_lm_eval.json, manifest.json    as in a run's own record
    results/published/<name>/outcomes.jsonl.gz    one line a problem: all that statistics need
    results/published/<name>/traces.jsonl.gz      with texts, of a few runs only

An outcome is a trace in which numbers stand for each candidate's text and answer (equal where these are), with scores
of steps for the draft only, and, where the task can tell, with `first_bad`: the draft's first wrong step, counted from
0, or null.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine_eval.data import Trace
from refine_eval.errors import RunError
from refine_eval.files import reading_folder, replacing_folder
from refine_eval.results.manifest import corrupt, write_manifest
from refine_eval.results.records import (
    OURS,
    OUTCOMES,
    SUMMARY,
    TRACES,
    RunRecord,
    check_alone,
    check_place,
    read_checked,
    read_run,
    read_runs_in,
    read_traces,
)
from refine_eval.results.traces import dumps, outcome_from_json, outcome_to_json, trace_to_json


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A run as statistics read it: traces in which equal texts have equal stand-ins, and the drafts' first wrong steps.

    `first_bad` is None where the task cannot tell, or the record does not say; without `has_answers`, as in older
    records, no candidate has an answer.
    """

    traces: Sequence[Trace]
    first_bad: Mapping[str, int | None] | None
    has_answers: bool = True


def read_published(results: Path) -> list[RunRecord]:
    """All published records of a results folder, sorted by name; RunError names a corrupt one."""
    return read_runs_in(results / "published")


def publish(run: Path, results: Path, first_bad: Mapping[str, int | None] | None, with_traces: bool) -> Path:
    """Writes the small form of a run's record to RESULTS/published, in place of an older one; returns its path.

    RunError where the record is corrupt, or where it is the published one itself, whose texts would be lost.
    """
    read_run(run)
    traces = read_traces(run)
    target = results / "published" / run.resolve().name
    if target.resolve() == run.resolve():
        raise RunError(f"{run} is published; publish the run's own record, such as results/runs/{target.name}.")
    check_place(target)
    try:
        with replacing_folder(target, wait_s=60, ours=OURS) as new:
            for name in SUMMARY:
                shutil.copyfile(run / name, new / name)
            _write(new / OUTCOMES, (outcome_to_json(trace, first_bad) for trace in traces))
            if with_traces:
                _write(new / f"{TRACES}.gz", map(trace_to_json, traces))
            write_manifest(new)
    except OSError as error:
        raise RunError(f"The published record {target} cannot be written ({error}); publish it again.") from error
    return target


def read_outcomes(folder: Path) -> Outcomes:
    """A record's outcomes, a run's own from its traces; RunError where they are missing or corrupt."""
    return reading_folder(folder, _read_outcomes)


def _read_outcomes(folder: Path) -> Outcomes:
    path = folder / OUTCOMES
    if not os.path.exists(path):
        return Outcomes(read_traces(folder), None, has_answers=True)
    found = read_checked(path, outcome_from_json, lambda outcome: outcome.trace)
    told = {outcome.trace.problem.id: outcome.first_bad for outcome in found if outcome.tells}
    if told and len(told) < len(found):
        raise corrupt(path, "it tells the first bad step of some drafts and not of others")
    traces = [outcome.trace for outcome in found]
    check_alone(folder, traces)
    return Outcomes(traces, told or None, has_answers=all(outcome.tells_answers for outcome in found))


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """The same bytes for the same rows: without name and time."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for row in rows:
            file.write((dumps(row) + "\n").encode())
