"""`refine-eval publish`: small, unchanging copies of run records, for version control."""

from pathlib import Path

import click

from refine_eval.errors import RunError


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder of the published records.",
)
@click.option("--traces", is_flag=True, help="Keep all texts as well, compressed.")
def publish(runs: tuple[Path, ...], results: Path, traces: bool) -> None:
    """Copies run records to RESULTS/published, without texts: what tables and statistics need.

    RUNS are folders such as results/runs/NAME. `refine-eval leaderboard` reads what is published.
    """
    from refine_eval.plugin.registry import registry
    from refine_eval.results import published
    from refine_eval.results.records import read_run, read_traces
    from refine_eval.tasks.truth import first_bad_steps

    if not results.is_dir():
        raise RunError(f"There is no folder {results}; make it, or name the folder of your results with --results.")
    for run in runs:
        task = str(read_run(run).settings["task"]["name"])
        first_bad = first_bad_steps(task, registry().benchmarks(), read_traces(run))
        click.echo(f"wrote {published.publish(run, results, first_bad, traces)}")
