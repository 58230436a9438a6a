"""`refine-eval view`: runs in a browser."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from refine_eval.cli.report import write_page
from refine_eval.cli.session_options import data_dir_option


@click.command()
@click.argument("runs", nargs=-1, required=True)
@data_dir_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="[default: RUN/report.html of one run, view.html of several]",
)
@click.option(
    "--browser/--no-browser", "opens", default=None, help="Open the page in a browser. [default: on a terminal]"
)
def view(runs: tuple[str, ...], data_dir: Path | None, output: Path | None, opens: bool | None) -> None:
    """Shows run records in a browser: one page, in one file that needs no network, as `refine-eval report` writes it.

    RUNS are folders, or names of those in results/runs or results/published. Of several, the problems of any two can be
    read side by side.
    """
    path = write_page(runs, data_dir, output)
    if sys.stdout.isatty() if opens is None else opens:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
