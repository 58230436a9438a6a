"""The only reader and writer of run records.

    results/store.sqlite                 every generation and score, shared by all runs (not for version control)
    results/runs/<name>/run.yaml         everything needed to run it again: options, versions, model hashes, seed
    results/runs/<name>/traces.jsonl     one line a problem: candidates, critiques, choices, grades
    results/runs/<name>/metrics.json     the table's rows
    results/runs/<name>/results_lm_eval.json   lm-eval's own results of the run's choice
    results/runs/<name>/manifest.json    the SHA-256 of each of these files

A record is complete or absent: it is written beside its place and moved there. Traces hold no times and no questions,
so they are the same bytes whenever and wherever the run is repeated. Published records are smaller (see `published`).
Records are others' files: whoever reads one comes through here, where each value is checked (`typed`) and whatever is
wrong is one sentence. Where no hash vouches for a record, as in those of old versions, its table has to be that of its
traces.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from refine_eval.costs import CutOff, LeftOut, ModelUsage
from refine_eval.data import Trace
from refine_eval.errors import RunError, suggestion
from refine_eval.files import folders_in, read_file, reading_folder, replacing_folder
from refine_eval.reading import from_json, from_yaml
from refine_eval.results.curves import Curve, curves_from_json, shared_texts_from_json
from refine_eval.results.ledger import Row
from refine_eval.results.manifest import MANIFEST, check_unchanged, corrupt, read_manifest, write_manifest
from refine_eval.results.memory import recall
from refine_eval.results.tables import (
    check_figures,
    cut_off_from_json,
    left_out_from_json,
    table_from_json,
    usage_from_json,
)
from refine_eval.results.traces import (
    check_together,
    dumps,
    outcome_from_json,
    read_lines,
    trace_from_json,
    trace_to_json,
)
from refine_eval.results.tuning import Tuning, tuning_from_json
from refine_eval.results.typed import (
    COUNT,
    LIST,
    NAME,
    OBJECT,
    SHARE,
    TEXT,
    Fault,
    Kind,
    field,
)

T = TypeVar("T")

TRACES = "traces.jsonl"
OUTCOMES = "outcomes.jsonl.gz"
SUMMARY = ("run.yaml", "metrics.json", "results_lm_eval.json")
"""The files that every record has, beside its traces or outcomes."""

OURS = (*SUMMARY, TRACES, f"{TRACES}.gz", OUTCOMES, MANIFEST)
"""All files of records. Whatever else lies beside them, such as report.html, is the user's."""

FORMAT = 1
"""Stands in run.yaml of records that must have a manifest; a version whose records this one would misread counts on."""

_MOST_BYTES = 20_000_000
_MOST_YAML_BYTES = 100_000  # PyYAML needs a second for it
_WAIT_FOR_ANOTHER_WRITER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as the leaderboard reads it: its settings and its table's rows."""

    name: str
    settings: Mapping[str, Any]
    filter: str
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...] = ()
    """What components could not write, score or refine; all problems are in the rows all the same."""
    folder: Path | None = None
    """Where its outcomes or traces are."""
    cut_off: tuple[CutOff, ...] = ()
    """How many texts of each stage hit the length limit; nothing where an older record does not say."""
    curves: tuple[Curve, ...] = ()
    shared_texts: tuple[str, ...] = ()
    """Critics that scored a sample by the others; nothing where an older record does not say."""
    usage: tuple[ModelUsage, ...] = ()
    """What each model read and wrote; nothing where an older record does not say."""

    @property
    def tuning(self) -> Tuning | None:
        """How its thresholds were tuned, where they were."""
        return tuning_from_json(self.settings)


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

    What the user keeps beside the older record stays. Raises RunError where it cannot be written, or something else is
    in its place; what was there before stays.
    """
    target = results / "runs" / name
    check_place(target)
    try:
        with replacing_folder(target, _WAIT_FOR_ANOTHER_WRITER_S, OURS) as new:
            text = yaml.safe_dump({"format": FORMAT, **settings}, sort_keys=False, allow_unicode=True)
            (new / "run.yaml").write_text(text, "utf-8")
            with (new / TRACES).open("w", encoding="utf-8") as file:
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


def check_place(target: Path) -> None:
    """RunError where a record cannot go to `target`: only an older record is ever replaced."""
    try:
        free = not target.exists() or (target.is_dir() and not any(target.iterdir())) or is_record(target)
    except OSError:
        free = False
    if not free:
        raise RunError(
            f"{target} is not a run record, and a record of that name would replace it: choose another --name, or move "
            f"it away."
        )


def is_record(folder: Path) -> bool:
    """Whether a folder holds a run record, perhaps a corrupt one: settings of a run, or hashes of a record's files."""
    try:
        found = from_yaml(_text(folder / "run.yaml", _MOST_YAML_BYTES), written_here=True)
        if isinstance(found, dict) and {"command", "task", "model"} <= found.keys():
            return True
    except (OSError, ValueError):
        pass  # corrupt, perhaps: the manifest says so
    try:
        return "run.yaml" in (read_manifest(folder) or ())
    except RunError:
        return False


def read_settings_of(folder: Path) -> dict[str, Any]:
    """What run.yaml of a record says; RunError where it is missing or corrupt. The rest may be."""
    return dict(reading_folder(folder, _read_settings))


def read_runs(results: Path) -> list[RunRecord]:
    """All run records of a results folder, sorted by name; RunError names a corrupt one."""
    return read_runs_in(results / "runs")


def read_runs_in(folder: Path) -> list[RunRecord]:
    """The records in a folder, sorted by name."""
    try:
        found = folders_in(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror or error}).") from error
    return [read_run(path) for path in found]


def find_run(run: str | os.PathLike[str], results: str | os.PathLike[str] = "results") -> Path:
    """The folder of a run record: the folder given, or the name of a record in `results`, own or published.

    RunError where there is none.
    """
    given, folders = Path(run), [Path(results) / "runs", Path(results) / "published"]
    found = next((folder for folder in (given, *(each / given for each in folders)) if os.path.isdir(folder)), None)
    if found is None:
        names = [path.name for each in folders if each.is_dir() for path in folders_in(each)]
        raise RunError(
            f"There is no run record {str(given)!r}, neither a folder nor a name in {folders[0]} or {folders[1]}."
            f"{suggestion(given.name, names)}"
        )
    return found


def read_run(folder: Path) -> RunRecord:
    """One run record; RunError where it is missing or corrupt."""
    return reading_folder(folder, _read_run)


def _read_settings(folder: Path) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = _read(folder, "run.yaml", _settings, _MOST_YAML_BYTES)
    if settings.get("format", FORMAT) > FORMAT:
        raise RunError(
            f"The run record {folder} was written by a newer version of refine-eval (format {settings['format']}; this "
            f"version reads format {FORMAT}): update refine-eval to read it."
        )
    return settings


def _read_run(folder: Path) -> RunRecord:
    settings = _read_settings(folder)
    metrics = _read(folder, "metrics.json", _metrics, _MOST_BYTES)
    record = RunRecord(name=folder.resolve().name, settings=settings, folder=folder, **metrics)
    hashes = read_manifest(folder)
    if hashes is not None:
        # A record may be kept without its traces, but not without the rest.
        check_unchanged(
            folder, [*SUMMARY, *(name for name in hashes if name in OURS and os.path.exists(folder / name))]
        )
    elif "format" in settings:
        raise corrupt(folder, f"{MANIFEST} is missing")
    elif os.path.exists(folder / OUTCOMES):
        found = read_checked(folder / OUTCOMES, outcome_from_json, lambda outcome: outcome.trace)
        _check_figures(folder, record, [outcome.trace for outcome in found])
    elif (path := _trace_file(folder)) is not None:
        _check_figures(folder, record, read_checked(path, trace_from_json, lambda trace: trace))
    return record


def _metrics(text: str) -> dict[str, Any]:
    """What a RunRecord holds of metrics.json."""
    metrics = from_json(text)
    main, table = table_from_json(metrics)
    return {
        "filter": main,
        "rows": table,
        "left_out": left_out_from_json(metrics),
        "cut_off": cut_off_from_json(metrics),
        "curves": curves_from_json(metrics),
        "shared_texts": shared_texts_from_json(metrics),
        "usage": usage_from_json(metrics),
    }


def _read(folder: Path, name: str, read: Callable[[str], Any], most: int) -> Any:
    """A file of a record as `read` has it; RunError where there is no record, or a corrupt one."""
    try:
        return read(_text(folder / name, most))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            f"{folder} is not a run record: {folder / name} is missing. See the folders in {folder.parent}."
        ) from error
    except (OSError, ValueError) as error:
        raise corrupt(folder / name if isinstance(error, OSError) else folder, error) from error


def _text(path: Path, most: int) -> str:
    return read_file(path, most).decode()


def _settings(text: str) -> Mapping[str, Any]:
    """The settings of run.yaml, of which others read what is checked here; of a newer format nothing is known."""
    settings = OBJECT.check(
        recall(lambda kept: isinstance(kept, dict), lambda: from_yaml(text, written_here=True), "settings", text),
        "run.yaml",
    )
    if "format" in settings and field(settings, "format", COUNT) > FORMAT:
        return settings
    for name in ("command", "machine"):
        field(settings, name, TEXT)
    for name in ("task", "model", "when", "where", "choose"):
        if name in settings or name in ("task", "model"):
            field(field(settings, name, OBJECT), "name", NAME)
    for name in ("refiners", "selectors"):
        for component in field(settings, name, LIST) if name in settings else ():
            field(OBJECT.check(component, name), "name", NAME)
    optional: dict[str, Kind[Any]] = {"stage": NAME, "rounds": COUNT, "seed": COUNT, "refine_below": SHARE.or_none()}
    for name in optional.keys() & settings.keys():
        field(settings, name, optional[name])
    tuning_from_json(settings)
    return settings


def _check_figures(folder: Path, record: RunRecord, traces: Sequence[Trace]) -> None:
    """RunError where a record without hashes has another table than its traces give."""
    try:
        check_figures(record.rows, traces, record.filter)
    except Fault as fault:
        raise corrupt(folder, fault) from fault


def read_traces(folder: Path) -> list[Trace]:
    """The traces of a run, plain or compressed; RunError where there are none, and for a corrupt line."""
    return reading_folder(folder, _read_traces)


def _read_traces(folder: Path) -> list[Trace]:
    path = _trace_file(folder)
    if path is None:
        settings = _read_run(folder).settings
        only = f" --only {settings['stage']}" if "stage" in settings else ""
        raise RunError(f"{folder} keeps no texts; make the run again with: {settings['command']}{only}")
    traces = read_checked(path, trace_from_json, lambda trace: trace)
    check_alone(folder, traces)
    return traces


def check_alone(folder: Path, traces: Sequence[Trace]) -> None:
    """RunError where no hash vouches for traces or outcomes, and they do not give their record's table."""
    if read_manifest(folder) is None:
        _check_figures(folder, _read_run(folder), traces)


def keeps_texts(folder: Path) -> bool:
    """Whether a record has its traces, with texts."""
    return _trace_file(folder) is not None


def _trace_file(folder: Path) -> Path | None:
    return next((folder / name for name in (TRACES, f"{TRACES}.gz") if os.path.exists(folder / name)), None)


def read_checked(path: Path, read: Callable[[Any], T], trace_of: Callable[[T], Trace]) -> list[T]:
    """The lines of a record's file, each with a trace; RunError where it is corrupt or not as it was written."""
    found = read_lines(path, read)
    check_unchanged(path.parent, [path.name])
    try:
        check_together([trace_of(each) for each in found])
    except Fault as fault:
        raise corrupt(path, fault) from fault
    return found
