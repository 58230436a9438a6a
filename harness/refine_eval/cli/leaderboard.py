"""`refine-eval leaderboard`: run records to a page."""

from pathlib import Path

import click

from refine_eval.errors import RunError


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of the runs."
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if leaderboard.md is not what it would write.")
def leaderboard(results: Path, check: bool) -> None:
    """Writes RESULTS/leaderboard.md from the run records in RESULTS/runs."""
    from refine_eval.results.leaderboard import render
    from refine_eval.results.records import read_runs

    path = results / "leaderboard.md"
    page = render(read_runs(results)).encode()
    if check:
        if not path.is_file() or path.read_bytes() != page:
            raise RunError(f"{path} is stale; write it anew: refine-eval leaderboard --results {results}")
        click.echo(f"{path} is up to date")
        return
    results.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page)
    click.echo(f"wrote {path}")
