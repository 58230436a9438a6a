"""`refine-eval leaderboard`: run records to a page."""

from pathlib import Path

import click

from refine_eval.errors import RunError


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of the runs."
)
@click.option("--own", is_flag=True, help="Your own runs beside published ones: to RESULTS/runs/leaderboard.md.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if leaderboard.md is not what it would write.")
def leaderboard(results: Path, own: bool, check: bool) -> None:
    """Writes RESULTS/leaderboard.md from the published records in RESULTS/published or, where there are none, from your
    own runs in RESULTS/runs.

    `refine-eval publish` puts a run among the published ones.
    """
    from refine_eval.files import read_file, replace_file
    from refine_eval.results.leaderboard import render
    from refine_eval.results.published import read_published
    from refine_eval.results.records import read_runs

    published = (results / "published").is_dir()
    if not published and not (results / "runs").is_dir():
        raise RunError(f"{results} holds no run records; name the folder that a run wrote to with --results.")
    path = (results / "runs" if own and published else results) / "leaderboard.md"
    records = read_runs(results) if own or not published else read_published(results)
    page = render(records).encode()
    if check:
        try:
            stale = read_file(path, len(page)) != page
        except OSError:  # missing, or longer
            stale = True
        if stale:
            again = f"refine-eval leaderboard --results {results}{' --own' if own else ''}"
            raise RunError(f"{path} is stale; write it again: {again}")
        click.echo(f"{path} is up to date")
        return
    try:
        replace_file(path, page)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); what was there before stays.") from error
    click.echo(f"wrote {path}")
