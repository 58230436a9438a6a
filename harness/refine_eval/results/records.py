"""The only reader and writer of run records.

    results/store.sqlite                 every generation and score, shared by all runs (not for version control)
    results/runs/<name>/run.yaml         everything needed to run it again: options, versions, model hashes, seed
    results/runs/<name>/traces.jsonl     one line a problem: candidates, critiques, choices, grades
    results/runs/<name>/metrics.json     the table's rows
    results/runs/<name>/results_lm_eval.json   lm-eval's own results of the run's choice
    results/runs/<name>/manifest.json    the SHA-256 of each of these files

A record is complete or absent: it is written beside its place and moved there. Traces hold no times and no questions,
so they are the same bytes whenever and wherever the run is repeated. Published records are smaller (see `published`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from refine_eval.data import Candidate, Critique, Problem, Solution, Trace
from refine_eval.errors import RunError
from refine_eval.files import replacing_folder
from refine_eval.formats import split_steps
from refine_eval.results.ledger import Row

T = TypeVar("T")

MANIFEST = "manifest.json"
TRACES = "traces.jsonl"
SUMMARY = ("run.yaml", "metrics.json", "results_lm_eval.json")
"""The files that every record has, beside its traces or outcomes."""

_SHOWN = {"command", "task", "model", "machine"}
"""What every table is shown with."""

_WAIT_FOR_ANOTHER_WRITER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as the leaderboard reads it: its settings and its table's rows."""

    name: str
    settings: Mapping[str, Any]
    filter: str
    rows: tuple[Row, ...]


def write_run(
    results: Path,
    name: str,
    *,
    settings: Mapping[str, Any],
    traces: Sequence[Trace],
    metrics: Mapping[str, Any],
    lm_eval_results: Mapping[str, Any],
) -> Path:
    """Writes a run directory as a whole, replacing an older one of that name; returns its path.

    Raises RunError where it cannot be written; what was there before stays.
    """
    target = results / "runs" / name
    try:
        with replacing_folder(target, _WAIT_FOR_ANOTHER_WRITER_S) as new:
            (new / "run.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True), "utf-8")
            with (new / "traces.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(dumps(trace_to_json(trace)) + "\n" for trace in traces)
            (new / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
            (new / "results_lm_eval.json").write_text(json.dumps(lm_eval_results, indent=2) + "\n", "utf-8")
            write_manifest(new)
    except OSError as error:
        raise RunError(
            f"The run record {target} cannot be written ({error}); fix that, then run the same command again: "
            f"all generations and scores are stored, so it takes only seconds."
        ) from error
    return target


def read_runs(results: Path) -> list[RunRecord]:
    """All run records of a results folder, sorted by name; RunError names a corrupt one."""
    return read_runs_in(results / "runs")


def read_runs_in(folder: Path) -> list[RunRecord]:
    """The records in a folder, sorted by name."""
    found = sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    records = [read_run(path) for path in found]
    for record in records:
        if not record.rows or not isinstance(record.settings, Mapping) or not set(record.settings) >= _SHOWN:
            raise _corrupt(folder / record.name, "its table or its settings are incomplete")
    return records


def read_run(folder: Path) -> RunRecord:
    """One run record; RunError where it is missing or corrupt."""
    try:
        settings = yaml.safe_load((folder / "run.yaml").read_text("utf-8"))
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
        rows = tuple(Row(**row) for row in metrics["rows"])
        record = RunRecord(name=folder.resolve().name, settings=settings, filter=metrics["filter"], rows=rows)
    except FileNotFoundError as error:
        raise RunError(
            f"{folder} is not a run record: {error.filename} is missing. See the folders in {folder.parent}."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise _corrupt(folder, error) from error
    check_unchanged(folder, ["run.yaml", "metrics.json"])
    return record


def read_traces(folder: Path) -> list[Trace]:
    """The traces of a run, plain or compressed; RunError where there are none, and for a corrupt line."""
    name = next((name for name in (TRACES, f"{TRACES}.gz") if (folder / name).is_file()), None)
    if name is None:
        settings = read_run(folder).settings
        only = f" --only {settings['stage']}" if "stage" in settings else ""
        raise RunError(f"{folder} keeps no texts; make the run again with: {settings['command']}{only}")
    traces = read_lines(folder / name, trace_from_json)
    check_unchanged(folder, [name])
    return traces


def read_lines(path: Path, read: Callable[[Any], T]) -> list[T]:
    """The lines of a jsonl file, plain or compressed; RunError names a corrupt one."""
    found: list[T] = []
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    found.append(read(json.loads(line)))
                except (ValueError, KeyError, TypeError) as error:
                    raise _corrupt(path, f"line {number}: {error!r}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise _corrupt(path, error) from error
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error}).") from error
    return found


def write_manifest(folder: Path) -> None:
    """Writes the hashes of a record's files beside them."""
    files = {path.name: _hash(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", "utf-8")


def check_unchanged(folder: Path, names: Sequence[str]) -> None:
    """RunError where one of a record's files is not as it was written; an older record has no manifest to tell."""
    path = folder / MANIFEST
    if not path.is_file():
        return
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
        changed = [name for name in names if files[name] != _hash(folder / name)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, error) from error
    if changed:
        raise _corrupt(folder / changed[0], "it was edited or cut short after it was written")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _corrupt(path: Path, why: object) -> RunError:
    said = " ".join(str(why).split())  # YAML's errors have several lines
    return RunError(
        f"The run record {path} is corrupt ({said}): restore it, or delete that run's folder and run it again; what it "
        f"generated is in the store."
    )


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """A trace as JSON types, without times, question and prompt; scores to six decimals, for small files."""
    return {
        "problem": trace.problem.id,
        "task": trace.problem.task,
        "candidates": [
            {
                "id": c.id,
                "origin": c.origin,
                "component": c.component,
                "round": c.round,
                "sample": c.sample,
                "parent": c.parent,
                "text": c.solution.text,
                "answer": c.solution.answer,
                "finish_reason": c.solution.finish_reason,
                "tokens": c.solution.tokens,
            }
            for c in trace.candidates
        ],
        "critiques": {
            candidate: {role: _critique_to_json(critique) for role, critique in roles.items()}
            for candidate, roles in trace.critiques.items()
        },
        "refined": trace.refined,
        "selected": dict(trace.selected),
        "correct": {candidate: dict(grades) for candidate, grades in trace.correct.items()},
        "critic_tokens": trace.critic_tokens,
    }


def _critique_to_json(critique: Critique) -> dict[str, Any]:
    steps = [round(value, 6) for value in critique.step_scores]
    return {**asdict(critique), "score": round(critique.score, 6), "step_scores": steps}


def trace_from_json(row: Mapping[str, Any]) -> Trace:
    """The inverse of `trace_to_json` but for the scores' digits; the problem has no question and no prompt."""
    problem = Problem(id=row["problem"], task=row["task"], question="", prompt="")
    candidates = tuple(
        Candidate(
            id=c["id"],
            problem=problem,
            solution=Solution(
                text=c["text"],
                steps=split_steps(c["text"]),
                answer=c["answer"],
                finish_reason=c["finish_reason"],
                tokens=c["tokens"],
            ),
            origin=c["origin"],
            component=c["component"],
            sample=c["sample"],
            round=c["round"],
            parent=c["parent"],
        )
        for c in row["candidates"]
    )
    critiques = {
        candidate: {
            role: Critique(score=c["score"], step_scores=tuple(c["step_scores"]), first_bad_step=c["first_bad_step"])
            for role, c in roles.items()
        }
        for candidate, roles in row["critiques"].items()
    }
    return Trace(
        problem=problem,
        candidates=candidates,
        critiques=critiques,
        refined=row["refined"],
        selected=row["selected"],
        correct=row["correct"],
        critic_tokens=row["critic_tokens"],
    )


def run_name(text: str) -> str:
    """A name that is a safe folder name: letters, digits, ".", "_", "+" and "-"."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.") or "run"


def dumps(row: Mapping[str, Any]) -> str:
    """A line of a jsonl file."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
