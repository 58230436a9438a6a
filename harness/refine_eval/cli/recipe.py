"""`refine-eval recipe`: chains of stages from a file, each made when it is missing or stale."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from refine_eval.cli.session_options import data_dir_option, quiet_option
from refine_eval.errors import UsageError, suggestion
from refine_eval.plugin.registry import registry
from refine_eval.terminal import Progress, print_listing, strip_control


@click.group()
def recipe() -> None:
    """Whole chains of stages from a file: collect, label, train, run, from a base model to a table."""


@recipe.command("list")
def list_() -> None:
    """Lists the recipes that plugins bring."""
    found = registry().recipes()
    print_listing(["name", "what it does"], [[name, _described(path)] for name, path in found.items()])


def _described(path: Path) -> str:
    """One plugin's broken recipe does not hide the others."""
    from refine_eval.recipes.files import describe

    try:
        return describe(path)
    except UsageError as error:
        return str(error)


@recipe.command("run")
@click.argument("file")
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for all that is made."
)
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Another value for one of the recipe's.")
@click.option("--only", multiple=True, metavar="STAGE", help="Only this stage and what it needs; may be repeated.")
@click.option("--jobs", type=click.IntRange(min=1), help="Stages at a time. [default: the recipe's, or 1]")
@click.option(
    "--train-processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that train one model together, one a GPU.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be made, and what it will cost; make nothing.")
@data_dir_option
@quiet_option
def run(
    file: str,
    work: Path,
    pairs: tuple[str, ...],
    only: tuple[str, ...],
    jobs: int | None,
    train_processes: int,
    dry_run: bool,
    data_dir: Path | None,
    quiet: bool,
) -> None:
    """Makes the stages of the recipe FILE that are missing or stale; FILE is a path or a bundled recipe's name.

    Interrupted, the same command goes on where it stopped. What a stage prints is in WORK/logs.

    \b
        refine-eval recipe run recipe.yaml --work work --dry-run
        refine-eval recipe run recipe.yaml --work work --set questions=500 --only labels
    """
    # Here, so that `refine-eval --help`, which looks at every command, need not load all of this.
    from refine_eval.cli.recipe_plan import duration, show_plan
    from refine_eval.cli.recipe_stages import parse
    from refine_eval.recipes.files import read_recipe
    from refine_eval.recipes.making import MakeOptions, make
    from refine_eval.recipes.work import WorkFolder

    found = read_recipe(_file(file), _given(pairs), parse)
    stages = found.wanted(only)
    place = WorkFolder(work, stages)
    if dry_run:
        show_plan(found, stages, place, jobs or found.jobs)
        return
    progress = Progress(quiet)
    width = max(len(stage.name) for stage in stages)
    common = [*(["--data-dir", str(data_dir)] if data_dir else []), *(["--quiet"] if quiet else [])]
    how = MakeOptions(
        jobs=jobs or found.jobs,
        threads=found.threads,
        processes=train_processes,
        common=common,
        command=_recorded(file, pairs, data_dir),
        began=lambda stage, why: progress.note(f"{stage.name:{width}}  {' '.join(stage.do)} ({why})"),
        ended=lambda stage, summary, seconds: click.echo(
            f"{stage.name:{width}}  {strip_control(summary)} [{duration(seconds)}]"
        ),
        said=progress.note,
    )
    made = make(stages, place, how)
    click.echo(f"{made} of {len(stages)} stages made, {len(stages) - made} were ready: {work}")


def _recorded(file: str, pairs: tuple[str, ...], data_dir: Path | None) -> str:
    """The command as records name it; where things lie is for whoever types it again."""
    from refine_eval.runs.portable import portable_command

    values = [word for pair in pairs for word in ("--set", pair)]
    data = ["--data-dir", "DATA"] if data_dir else []
    return portable_command(shlex.join(["refine-eval", "recipe", "run", file, "--work", "DIR", *values, *data]))


def _file(file: str) -> Path:
    path, bundled = Path(file), registry().recipes()
    if path.is_file():
        return path
    if file not in bundled:
        names = f"It can be one of these, too: {', '.join(bundled)}." if bundled else "No plugin brings a recipe."
        raise UsageError(f"There is no recipe file {file}.{suggestion(file, bundled)} {names}")
    return bundled[file]


def _given(pairs: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE; {pair!r} is not of that form.")
        if name.strip() in given:
            raise UsageError(f"--set gives {name.strip()!r} twice; leave one out.")
        given[name.strip()] = value.strip()
    return given
