"""`refine-eval report`: a run as a page to look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refine_eval.cli.session_options import data_dir_option
from refine_eval.errors import RunError, TaskError

if TYPE_CHECKING:
    from refine_eval.tasks.truth import Known


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@data_dir_option
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="[default: RUN/report.html]")
def report(run: Path, data_dir: Path | None, output: Path | None) -> None:
    """Writes a page on the run record RUN: accuracy against tokens, scored steps, refinements as diffs.

    RUN is a folder such as results/runs/NAME. Records hold no questions: these and the gold answers are shown where the
    task's data is at hand.
    """
    from refine_eval.files import replace_file
    from refine_eval.results.records import read_run, read_traces
    from refine_eval.results.report import render

    path = output or run / "report.html"
    record, traces = read_run(run), read_traces(run)
    known, why = _known(str(record.settings["task"]["name"]), data_dir)
    try:
        replace_file(path, render(record, traces, known).encode())
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}); name another file with --output."
        ) from error
    click.echo(f"wrote {path}{why}")


def _known(task: str, data_dir: Path | None) -> tuple[dict[str, Known], str]:
    """Questions and gold answers by problem id, as far as they are at hand, and what to do where they are not."""
    from refine_eval.plugin.registry import registry
    from refine_eval.runs.settings import data_folder
    from refine_eval.tasks.truth import known_problems

    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(variable, "1")  # the hub's cache is enough: a page is not worth a download
    benchmarks = registry().benchmarks()
    try:
        return known_problems(task, benchmarks, data_folder(data_dir)), ""
    except TaskError:
        files = f" that has {benchmarks[task].data.rpartition('; ')[2]}" if task in benchmarks else ""
        return {}, (
            f" without questions and gold answers: the data of {task} is not at hand; to show them, pass --data-dir "
            f"DIR (or set REFINE_EVAL_DATA) with a folder{files}."
        )
