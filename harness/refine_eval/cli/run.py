"""`refine-eval run`: settings from the command line, the table at the end."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refine_eval.cli.component_options import (
    GIVEN,
    RunCommand,
    check_selected,
    check_values,
    given_options,
    typed_options,
)
from refine_eval.cli.session_options import (
    engine_options,
    plugins_print_to_stderr,
    quiet_option,
    setting_options,
    task_options,
)
from refine_eval.errors import RefineEvalError, UsageError
from refine_eval.files import folder_name
from refine_eval.plugin.fields import declared
from refine_eval.plugin.options import read_settings, setting_option
from refine_eval.plugin.registry import registry
from refine_eval.results.table import COLUMNS, USUAL, counted, notes, plain, print_rich, read_columns
from refine_eval.runs.settings import RunSettings
from refine_eval.terminal import Progress, one_line

if TYPE_CHECKING:
    from refine_eval.runs.execute import RunOutcome

# A command makes a run of each of several tasks.
_TASKS = replace(
    declared(RunSettings)["task"],
    name="tasks",
    flags=("--tasks", "--task"),
    help="Task names, comma-separated. See: refine-eval tasks list",
)


@click.command(cls=RunCommand)
@setting_option(_TASKS)
@setting_options(RunSettings, "limit", "drafts", "draft_temperature", "draft_top_p")
@click.option("--critic", help="Critic for when, where and choose alike.")
@setting_options(RunSettings, "when", "where", "choose", "refiners", "selectors", "refine_below", "tune_on", "tune")
@setting_options(RunSettings, "rounds", "until_accepted", "curves")
@task_options
@setting_options(RunSettings, "judge_thoughts")
@engine_options
@setting_options(RunSettings, "name", "overwrite")
@click.option("--columns", metavar="NAME,...", help=f"Columns of the table, in order: {', '.join(COLUMNS)}.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.option(
    "--suite",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file with a grid of runs; options given beside it are added to those of each.",
)
@quiet_option
def run(columns: str | None, as_json: bool, quiet: bool, **rest: Any) -> None:
    """Drafts, critiques, refines, selects, and prints a table of every stage.

    Everything generated and scored is stored: the same command again goes on where it stopped, and another choice
    among the same candidates generates nothing.

    \b
    The bundled models and task, offline:
        refine-eval run --critic sorm --refiner local
    A model of your own, refined with critics that need no training:
        refine-eval run --model-args pretrained=HuggingFaceTB/SmolLM2-135M-Instruct --tasks svamp \\
            --critic agreement --refiner resample --selector vote
    """
    from refine_eval.runs.execute import check_names, execute
    from refine_eval.runs.session import KeptStudent
    from refine_eval.runs.usage import Tally

    found, progress = [], Progress(quiet)
    shown = USUAL if columns is None else read_columns(columns)
    runs = all_settings(click.get_current_context())
    check_names(runs, registry(), progress)
    suite = None if rest["suite"] is None else Tally()
    with contextlib.closing(KeptStudent(progress)) as kept:
        for settings in runs:
            with plugins_print_to_stderr():
                outcome = execute(settings, registry(), progress, suite=suite, kept=kept)
            if as_json:
                found.append(_as_json(settings, outcome))
            else:
                _show(settings, outcome, shown)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif suite is not None:
        counts = suite.counts()
        click.echo(f"suite: {counts['tokens_now']:,} tokens written now; its distinct texts have {counts['tokens']:,}")


def all_settings(context: click.Context) -> list[RunSettings]:
    """The runs that a command line of `refine-eval run` asks for, those of its suite if it names one."""
    suite = context.params["suite"]
    if suite is None:
        return settings_from(context)
    # A command of its own each, so that a record says what to type to make it again.
    found: dict[str, RunSettings] = {}
    for name, words in words_of_suite(suite, context.meta[GIVEN]).items():
        try:
            of_run = settings_from(run.make_context("run", words))
        except click.ClickException as error:
            raise UsageError(f"{suite}, run {name!r}: {error.format_message()}") from error
        except RefineEvalError as error:
            raise type(error)(f"{suite}, run {name!r}: {error}") from error
        for settings in of_run:
            if str(settings.name) in found:
                raise UsageError(f"{suite}: two runs would have the record {settings.name!r}; rename one.")
            # The names are the suite's, so a record of that name is of an older version of the suite's run.
            found[str(settings.name)] = replace(settings, overwrite=True)
    return list(found.values())


def settings_from(context: click.Context) -> list[RunSettings]:
    """The runs that a command line of `refine-eval run` asks for, one a task; UsageError where it makes no sense."""
    parameters = dict(context.params)
    for role in ("when", "where", "choose"):
        parameters[role] = parameters[role] or parameters["critic"]
    of_all = replace(
        read_settings(RunSettings, parameters),
        options=given_options(registry(), parameters),
        command=shlex.join(["refine-eval", "run", *context.meta[GIVEN]]),
    )
    check_selected(registry(), of_all, run)
    tasks = list(dict.fromkeys(name.strip() for name in parameters["tasks"].split(",") if name.strip()))
    if not tasks:
        raise UsageError("--tasks names no task. See: refine-eval tasks list")
    if of_all.name and len(tasks) > 1:  # two tasks in one record would be one that is lost
        return [replace(of_all, task=task, name=folder_name(f"{of_all.name}-{task}")) for task in tasks]
    return [replace(of_all, task=task) for task in tasks]


def words_of_suite(path: Path, given: list[str]) -> dict[str, list[str]]:
    """For each run of a suite the words of its own command, with what was given beside `--suite`.

    UsageError for `--name` beside it: each run would replace the record of the one before.
    """
    if any(word == "--name" or word.startswith("--name=") for word in given):
        raise UsageError("--name cannot stand beside --suite: the runs of a suite have their names from its file.")
    from refine_eval.recipes.suites import read_suite

    suite = read_suite(path)
    for name, options in suite.options.items():
        try:
            check_values(typed_options(run, options), options)
        except UsageError as error:
            raise UsageError(f"{path}, run {name!r}: {error}") from error
    return {name: [*words, *_without_suite(given)] for name, words in suite.runs.items()}


def _without_suite(words: list[str]) -> list[str]:
    kept = [word for word in words if not word.startswith("--suite=")]
    if "--suite" in kept:
        at = kept.index("--suite")
        del kept[at : at + 2]
    return kept


def _show(settings: RunSettings, outcome: RunOutcome, columns: Sequence[str]) -> None:
    from refine_eval.results.curves import plain_curves

    by = "" if outcome.only_metric else f", right by {outcome.metric}"
    title = one_line(f"{settings.task}, {counted(outcome.rows[0])}, {settings.model}{by}")
    if sys.stdout.isatty():
        print_rich(outcome.rows, outcome.filter, title, columns)
    else:
        click.echo(f"{title}\n{plain(outcome.rows, outcome.filter, columns)}")
    for line in (*notes(outcome.left_out, outcome.cut_off, outcome.tuning), *plain_curves(outcome.curves)):
        click.echo(line)
    total = sum(len(trace.candidates) for trace in outcome.traces)
    click.echo(
        f"{outcome.generated:,} texts written now for {total:,} candidates, {outcome.seconds['total']:.1f} s; "
        f"record: {outcome.folder}"
    )


def _as_json(settings: RunSettings, outcome: RunOutcome) -> dict[str, Any]:
    from refine_eval.results.curves import curves_to_json
    from refine_eval.results.tables import row_to_json
    from refine_eval.results.tuning import tuning_to_json

    return {
        "task": settings.task,
        "filter": outcome.filter,
        "metric": outcome.metric,
        "record": str(outcome.folder),
        "generated": outcome.generated,
        "rows": [{**row_to_json(row), "accuracy": row.accuracy(outcome.filter)} for row in outcome.rows],
        **({"curves": curves_to_json(outcome.curves)} if outcome.curves else {}),
        "left_out": [asdict(entry) for entry in outcome.left_out],
        "cut_off": [asdict(entry) for entry in outcome.cut_off],
        **({"tuning": tuning_to_json(outcome.tuning)} if outcome.tuning else {}),
        "usage": dict(outcome.usage),
        "stage_seconds": dict(outcome.seconds),
    }
