"""`refine-eval report`: a run as a page to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refine_eval.cli.session_options import data_dir_option
from refine_eval.errors import RunError, TaskError, UsageError

if TYPE_CHECKING:
    from refine_eval.tasks.truth import Known


@click.command()
@click.argument("run")
@data_dir_option
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="[default: RUN/report.html]")
def report(run: str, data_dir: Path | None, output: Path | None) -> None:
    """Writes a page on the run record RUN: what became of each draft, accuracy against tokens, calibration, and a
    browser of its problems with scored steps and refinements as diffs.

    RUN is a folder, or the name of one in results/runs or results/published. Records hold no questions: these and the
    gold answers are shown where the task's data is at hand. `refine-eval view` shows several runs side by side.
    """
    write_page([run], data_dir, output)


def write_page(given: Sequence[str], data_dir: Path | None, output: Path | None) -> Path:
    """Writes the page on these run records, says so and returns its path; by default RUN/report.html of one run,
    view.html of several. RunError where one is corrupt or has no texts.
    """
    from refine_eval.files import replace_file
    from refine_eval.results.records import find_run, read_run, read_traces
    from refine_eval.results.viewer import Viewed, page

    folders = [find_run(name) for name in given]
    path = output or (folders[0] / "report.html" if len(folders) == 1 else Path("view.html"))
    records = [read_run(folder) for folder in folders]
    names = [record.name for record in records]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"Two of the runs are called {twice}; name each run once, and copies by other names.")
    traces = [read_traces(folder) for folder in folders]
    tasks = {str(record.settings["task"]["name"]) for record in records}
    at_hand = {task: known_of(task, data_dir) for task in sorted(tasks)}
    runs = [
        Viewed(record=record, traces=found, known=at_hand[str(record.settings["task"]["name"])][0])
        for record, found in zip(records, traces, strict=True)
    ]
    try:
        replace_file(path, page(runs).encode())
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}); name another file with --output."
        ) from error
    click.echo(f"wrote {path}{''.join(why for _, why in at_hand.values())}")
    return path


def known_of(task: str, data_dir: Path | None) -> tuple[dict[str, Known], str]:
    """Questions and gold answers by problem id, as far as they are at hand, and what to do where they are not."""
    from refine_eval.plugin.registry import registry
    from refine_eval.runs.settings import data_folder
    from refine_eval.tasks.splits import benchmark_of
    from refine_eval.tasks.truth import known_problems

    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(variable, "1")  # the hub's cache is enough: a page is not worth a download
    benchmarks = registry().benchmarks()
    try:
        return known_problems(task, benchmarks, data_folder(data_dir)), ""
    except TaskError:
        benchmark = benchmark_of(task, benchmarks)
        files = f" that has {benchmark.data.rpartition('; ')[2]}" if benchmark else ""
        return {}, (
            f" without questions and gold answers: the data of {task} is not at hand; to show them, pass --data-dir "
            f"DIR (or set REFINE_EVAL_DATA) with a folder{files}."
        )
