"""A replay kept as a run record, which every command reads like that of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refine_eval.errors import RunError
from refine_eval.results.records import RunRecord, check_place, is_record, read_settings_of, write_run
from refine_eval.results.tables import row_to_json
from refine_eval.results.tuning import Tuning, tuning_to_json
from refine_eval.runs.record import describe_replay, recorded_command
from refine_eval.runs.replay import Replayed


def check_free_name(results: Path, name: str, command: str, overwrite: bool) -> None:
    """RunError where a record of this name would replace something else than the same command's."""
    folder = results / "runs" / name
    check_place(folder)
    if overwrite or not is_record(folder):
        return
    if read_settings_of(folder)["command"] != recorded_command(command)["command"]:
        raise RunError(f"{folder} holds another run: choose another --name, or replace that record with --overwrite.")


def write_replay(record: RunRecord, found: Replayed, tuning: Tuning | None, results: Path, name: str) -> Path:
    """Writes the record of a replay of `record`; returns its folder. RunError where it cannot be written."""
    said = tuning_to_json(tuning) if tuning else None
    metrics: dict[str, Any] = {
        "filter": found.filter,
        "rows": [row_to_json(row) for row in found.rows],
        **({"left_out": _as_json(record.left_out)} if record.left_out else {}),
        **({"cut_off": _as_json(record.cut_off)} if record.cut_off else {}),
        "stage_seconds": {},
    }
    return write_run(
        results,
        name,
        settings=describe_replay(record.settings, found.settings, found.strategy, found.identities, said),
        traces=found.traces,
        metrics=metrics,
        lm_eval_results={"results": {}},
    )


def _as_json(entries: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [asdict(entry) for entry in entries]
