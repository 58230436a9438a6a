"""`refine-eval report`: a run as a page to look at."""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="[default: RUN/report.html]")
def report(run: Path, output: Path | None) -> None:
    """Writes a page on the run record RUN: accuracy against tokens, scored steps, refinements as diffs.

    RUN is a folder such as results/runs/NAME.
    """
    from refine_eval.results.records import read_run, read_traces
    from refine_eval.results.report import render

    path = output or run / "report.html"
    path.write_text(render(read_run(run), read_traces(run)), "utf-8")
    click.echo(f"wrote {path}")
