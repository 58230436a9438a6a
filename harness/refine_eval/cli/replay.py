"""`refine-eval replay`: another gate, choice or set of refiners over a record's candidates and scores."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from refine_eval.cli.component_options import GIVEN, RunCommand, check_selected, given_options
from refine_eval.cli.session_options import (
    data_dir_option,
    plugins_print_to_stderr,
    results_option,
    setting_options,
)
from refine_eval.errors import RunError
from refine_eval.plugin.registry import registry
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord
from refine_eval.results.table import counted, notes, plain, print_rich
from refine_eval.results.tuning import Tuning, marked
from refine_eval.runs.command import command_line
from refine_eval.runs.execute import RunOutcome, execute
from refine_eval.runs.settings import RunSettings, data_folder
from refine_eval.terminal import Progress, one_line

if TYPE_CHECKING:
    from refine_eval.runs.replay import Replayed
    from refine_eval.runs.tuning import Source


@click.command(cls=RunCommand)
@click.argument("run")
@click.option("--critic", help="Critic for when, where and choose alike.")
@click.option("--when", help="Critic that says whether to refine a draft.  [default: the run's]")
@click.option("--where", help="Critic that finds the first bad step.  [default: the run's]")
@click.option("--choose", help="Critic whose scores the selector reads.  [default: the run's]")
@click.option("--refiner", "refiners", multiple=True, help="Only these of the run's refiners.")
@click.option("--selector", "selectors", multiple=True, help="Selectors; the first chooses.  [default: the run's]")
@setting_options(RunSettings, "refine_below")
@click.option(
    "--tune-on",
    metavar="RUN|halves|same",
    help="Choose thresholds by right answers: on another RUN, of other problems; each half of the problems with those "
    "of the other half; or on these very problems, which marks the rows.",
)
@setting_options(RunSettings, "tune")
@click.option("--name", help="Write the replay as a run record of this name, too.")
@click.option("--overwrite", is_flag=True, help="Replace the record of another run that has this --name.")
@click.option("--generate-missing", is_flag=True, help="Run these settings on the store, and write what is missing.")
@results_option
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def replay(
    run: str,
    results: Path,
    data_dir: Path | None,
    as_json: bool,
    generate_missing: bool,
    tune_on: str | None,
    name: str | None,
    overwrite: bool,
    **rest: Any,
) -> None:
    """Prints the table that RUN would have with another gate, choice, threshold or part of its refiners.

    RUN is a run record's folder, or its name in RESULTS. Its candidates and scores are used and nothing is generated;
    what the record does not have is said, and made with --generate-missing. Options of critics and selectors, such as
    --gate-threshold, are as in `refine-eval run`; those that are not given are the run's.
    """
    from refine_eval.runs.replay import recorded_settings
    from refine_eval.runs.tuning import read_source

    source = read_source(run, results)
    record = source.record
    command = shlex.join(["refine-eval", "replay", *click.get_current_context().meta[GIVEN]])
    own: dict[str, Any] = {"tune_on": tune_on, "name": name, "overwrite": overwrite, "results": results}
    own |= {"data_dir": data_dir} if data_dir else {}
    settings = _changed(recorded_settings(record), rest, command=command, **own)
    if generate_missing:
        outcome = _run(_changed(_typed(record), rest, **own))
        said = [*notes((), (), outcome.tuning), f"{outcome.generated:,} texts written; record: {outcome.folder}"]
        _show(record.name, settings.task, outcome.filter, outcome.rows, outcome.generated, said, as_json)
        return
    found, tuning, folder = _replayed(source, settings)
    said = [*notes((), (), tuning), "0 texts written; seconds are not in records"]
    said += [f"record: {folder}"] if folder else []
    _show(record.name, settings.task, found.filter, found.rows, 0, said, as_json)


def _replayed(source: Source, settings: RunSettings) -> tuple[Replayed, Tuning | None, Path | None]:
    """The replay, tuned where that was asked for, and written where it was given a name."""
    from refine_eval.runs.replay import replay as replayed
    from refine_eval.runs.replay_record import check_free_name, write_replay
    from refine_eval.runs.tuning import kept_tuning, read_source, tuned_replay

    record, name = source.record, settings.name
    if name is not None:
        if not source.has_texts:
            raise RunError(
                f"The record {record.name} keeps no texts, so a replay of it has no record: leave out --name."
            )
        check_free_name(settings.results, name, settings.command, settings.overwrite)
    if settings.tune_on is None:
        found = replayed(
            record,
            source.traces,
            settings,
            registry(),
            has_texts=source.has_texts,
            data_dir=data_folder(settings.data_dir),
        )
        tuning = kept_tuning(record, settings)
        found = replace(found, rows=tuple(marked(found.rows, tuning)))
    else:
        on = settings.tune_on
        held_out = on if on in ("halves", "same") else read_source(on, settings.results)
        found, tuning = tuned_replay(source, settings, registry(), held_out)
    folder = write_replay(record, found, tuning, settings.results, name) if name is not None else None
    return found, tuning, folder


def _show(
    name: str, task: str, main: str, rows: Sequence[Row], generated: int, said: Sequence[str], as_json: bool
) -> None:
    if as_json:
        table = [{**asdict(row), "accuracy": row.accuracy(main)} for row in rows]
        click.echo(json.dumps({"run": name, "filter": main, "generated": generated, "rows": table}, indent=2))
        return
    title = one_line(f"{name} replayed: {task}, {counted(rows[0])}")
    if sys.stdout.isatty():
        print_rich(rows, main, title)
    else:
        click.echo(f"{title}\n{plain(rows, main)}")
    for line in said:
        click.echo(line)


def _changed(was: RunSettings, given: Mapping[str, Any], **own: Any) -> RunSettings:
    """The run's settings with what was given in their place, and the replay's `own`.

    UsageError for an option of what takes no part, and for a threshold that is both given and tuned.
    """
    from refine_eval.runs.tuning import check_free

    values: dict[str, Any] = {
        role: given[role] or given["critic"] or getattr(was, role) for role in ("when", "where", "choose")
    }
    values |= {kind: given[kind] or getattr(was, kind) for kind in ("refiners", "selectors")}
    values["refine_below"] = was.refine_below if given["refine_below"] is None else given["refine_below"]
    options = given_options(registry(), given)
    check_selected(registry(), replace(was, **values, options=options), replay)
    merged = {key: {**was.options.get(key, {}), **options.get(key, {})} for key in {*was.options, *options}}
    changed = replace(was, **values, options=merged, tune=given["tune"], **own)
    if changed.tune_on is not None:
        check_free(changed, registry(), given["refine_below"], options)
    return changed


def _typed(record: RunRecord) -> RunSettings:
    """What was typed for the record's run; RunError where that was something other than `refine-eval run`."""
    from refine_eval.cli.run import run, settings_from

    words = shlex.split(str(record.settings["command"]))
    task = str(record.settings["task"]["name"])
    if words[:2] == ["refine-eval", "run"]:
        for settings in settings_from(run.make_context("run", words[2:])):
            if settings.task == task:
                return settings
    raise RunError(f"The record {record.name} was not made by refine-eval run: run the settings yourself.")


def _run(settings: RunSettings) -> RunOutcome:
    """A real run: what is in the store is not written again."""
    settings = replace(settings, command=command_line(settings, registry()))
    with plugins_print_to_stderr():
        return execute(settings, registry(), Progress())
