"""`refine-eval leaderboard`: run records to a page."""

from pathlib import Path

import click

from refine_eval.errors import RunError


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of the runs."
)
@click.option("--own", is_flag=True, help="Your own runs: RESULTS/runs to RESULTS/runs/leaderboard.md.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if leaderboard.md is not what it would write.")
def leaderboard(results: Path, own: bool, check: bool) -> None:
    """Writes RESULTS/leaderboard.md from the published records in RESULTS/published.

    Runs leave their records in RESULTS/runs; `refine-eval publish` puts them among the published ones.
    """
    from refine_eval.files import replace_file
    from refine_eval.results.leaderboard import render
    from refine_eval.results.published import read_published
    from refine_eval.results.records import read_runs

    path = (results / "runs" if own else results) / "leaderboard.md"
    page = render(read_runs(results) if own else read_published(results)).encode()
    if check:
        if not path.is_file() or path.read_bytes() != page:
            again = f"refine-eval leaderboard --results {results}{' --own' if own else ''}"
            raise RunError(f"{path} is stale; write it again: {again}")
        click.echo(f"{path} is up to date")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, page)
    click.echo(f"wrote {path}")
