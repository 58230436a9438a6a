"""`refine-eval leaderboard`: run records, ranked."""

from pathlib import Path

import click

from refine_eval.errors import RunError

_FORMATS = ("markdown", "html", "csv", "latex", "parquet")


@click.command()
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of the runs."
)
@click.option("--own", is_flag=True, help="Your own runs beside published ones: to RESULTS/runs/leaderboard.md.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default=_FORMATS[0],
    show_default=True,
    help="What to write: leaderboard.md (runs in leaderboard-runs.md), .html, .csv, .tex or .parquet.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the files are not what it would write.")
def leaderboard(results: Path, own: bool, form: str, check: bool) -> None:
    """Writes RESULTS/leaderboard.md from the published records in RESULTS/published or, where there are none, from your
    own runs in RESULTS/runs: the strategies of each task and student, ranked, seeds pooled.

    `refine-eval publish` puts a run among the published ones. Figures of papers are read from RESULTS/reported.json.
    """
    from refine_eval.files import read_file, replace_file
    from refine_eval.results.leaderboard import files
    from refine_eval.results.memory import remembering
    from refine_eval.results.published import read_published
    from refine_eval.results.ranking import REPORTED_FILE, read_reported
    from refine_eval.results.records import read_runs

    published = (results / "published").is_dir()
    if not published and not (results / "runs").is_dir():
        raise RunError(f"{results} holds no run records; name the folder that a run wrote to with --results.")
    folder = results / "runs" if own and published else results
    with remembering():
        records = read_runs(results) if own or not published else read_published(results)
        pages = files(records, read_reported(results / REPORTED_FILE), form)
    shown = folder / next(iter(pages))
    if check:
        for name, page in pages.items():
            try:
                stale = read_file(folder / name, len(page)) != page
            except OSError:  # missing, or longer
                stale = True
            if stale:
                words = (
                    f"--results {results}{' --own' if own else ''}{'' if form == _FORMATS[0] else f' --format {form}'}"
                )
                raise RunError(f"{folder / name} is stale; write it again: refine-eval leaderboard {words}")
        click.echo(f"{shown} is up to date")
        return
    for name, page in pages.items():
        path = folder / name
        try:
            replace_file(path, page)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written ({error.strerror or error}); what was there before stays."
            ) from error
    click.echo(f"wrote {shown}")
