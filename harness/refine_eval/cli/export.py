"""`refine-eval export`: a run as files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from refine_eval.cli.report import known_of
from refine_eval.cli.session_options import data_dir_option, results_option
from refine_eval.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refine_eval.data import Trace
    from refine_eval.results.ledger import Row
    from refine_eval.results.records import RunRecord

_SHEETS = ("parquet", "csv")


@click.command()
@click.argument("run", metavar="RUN[:ROW]")
@click.option("--to", "form", type=click.Choice(["lm-eval", "inspect", *_SHEETS]), required=True, help="What to write.")
@click.option(
    "--output", "-o", "place", type=click.Path(path_type=Path), required=True, help="Folder or file to write."
)
@data_dir_option
@results_option
def export(run: str, form: str, place: Path, data_dir: Path | None, results: Path) -> None:
    """Writes the run record RUN as files that other tools read.

    \b
    lm-eval    results_*.json and samples_*.jsonl of lm-eval in a folder below PLACE; needs the task's data
    inspect    a log of Inspect, PLACE is a file such as run.eval; needs the extra inspect
    parquet    candidates.parquet, critiques.parquet and steps.parquet in the folder PLACE
    csv        the same as CSV; texts that a spreadsheet would take for formulas begin with '

    To lm-eval and Inspect go the answers of one row of the table: of the run's choice, or of ROW, such as draft. RUN is
    a folder, or a name in RESULTS, with texts.
    """
    from refine_eval.results.answers import row_of
    from refine_eval.results.records import read_run, read_traces

    folder, part = row_of(run, results)
    if part is not None and form in _SHEETS:
        raise click.UsageError(f"--to {form} writes all candidates of a run, so it takes no row: name RUN alone.")
    record = read_run(folder)
    traces = read_traces(folder)
    if form in _SHEETS:
        written = _sheets(record, traces, form, place)
    else:
        from refine_eval.results.answers import find_row

        row = find_row(record, part)
        if form == "inspect":
            written = [place]
            _inspect(record, row, traces, place, data_dir)
        else:
            written = _lm_eval(record, row, traces, place, data_dir)
    for path in written:
        click.echo(f"wrote {path}")


def _sheets(record: RunRecord, traces: Sequence[Trace], form: str, place: Path) -> list[Path]:
    from refine_eval.files import replace_file
    from refine_eval.results.frames import FRAMES
    from refine_eval.results.sheets import csv_bytes, parquet_bytes

    paths = []
    for name, frame in FRAMES.items():
        path, rows = place / f"{name}.{form}", list(frame.rows(record, traces))
        content = csv_bytes(frame.columns, rows) if form == "csv" else parquet_bytes(frame.columns, rows)
        try:
            place.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror or error}); name another folder.") from error
        paths.append(path)
    return paths


def _inspect(record: RunRecord, row: Row, traces: Sequence[Trace], place: Path, data_dir: Path | None) -> None:
    from refine_eval.results.inspect_log import write_inspect_log

    known, why = known_of(str(record.settings["task"]["name"]), data_dir)
    write_inspect_log(place, record, row, traces, known)
    if why:
        click.echo(f"Note: {place} is{why}", err=True)


def _lm_eval(record: RunRecord, row: Row, traces: Sequence[Trace], place: Path, data_dir: Path | None) -> list[Path]:
    from refine_eval.plugin.registry import registry
    from refine_eval.runs.settings import data_folder
    from refine_eval.tasks.lm_eval_files import write_lm_eval_files
    from refine_eval.tasks.truth import loaded_task

    said = record.settings["task"]
    task = loaded_task(said, registry().benchmarks(), data_folder(data_dir))
    answers = {
        trace.problem.id: (answer.solution.text, trace.correct[answer.id])
        for trace in traces
        for answer in [row.answer(trace)]
    }
    name = f"{record.name}-{row.name}"
    return write_lm_eval_files(place, name, task, answers, limit=said.get("limit"), repeats=row.drafts)
