"""`refine-eval critics`: how good critics are on solutions whose steps somebody labelled."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click

from refine_eval.cli.component_options import GIVEN, RunCommand, check_taking_part, given_options
from refine_eval.cli.session_options import ENGINE_SETTINGS, plugins_print_to_stderr, quiet_option, setting_options
from refine_eval.errors import RunError, UsageError
from refine_eval.plugin.making import names_with_members
from refine_eval.plugin.options import read_settings
from refine_eval.plugin.registry import registry
from refine_eval.runs.settings import LABELLED, RunSettings
from refine_eval.terminal import Progress, print_listing

_FORMS = ("processbench", "mr-gsm8k", "prmbench", "plain")
_OF_THE_STUDENT = (
    "max_gen_toks",
    "apply_chat_template",
    "system_instruction",
    "enable_thinking",
    "think_end_token",
    *ENGINE_SETTINGS,
)
_OF_DRAFTS = ("num_fewshot", "filter", "metric", "correct_above", "steps", "data_dir", "drafts", "draft_temperature")
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class _CriticsCommand(RunCommand):
    """Adds the options of critics alone."""

    kinds = ("critic",)


def _solution_options(of_task: str) -> Callable[[Any], Any]:
    """Which critics, and which solutions they judge; `of_task` is the help of --task."""
    options = (
        click.option("--critic", "names", multiple=True, required=True, help="Critic; may be given more than once."),
        click.option(
            "--data",
            "files",
            type=_FILE,
            multiple=True,
            help="Labelled solutions; several files of one form are taken together.",
        ),
        click.option(
            "--form", type=click.Choice(_FORMS), help="The files' form.  [default: the one that their keys tell]"
        ),
        click.option("--task", help=of_task),
        setting_options(RunSettings, "limit"),
    )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group()
def critics() -> None:
    """How good critics are on solutions whose steps are labelled."""


@critics.command("eval", cls=_CriticsCommand)
@_solution_options("Instead of files, the student's drafts of this task's test problems.")
@click.option(
    "--tune-on", type=click.Choice(["halves"]), help="Each half of the problems by thresholds tuned on the other."
)
@click.option("--tune-data", type=_FILE, help="Thresholds tuned on this file's solutions, of other problems.")
@setting_options(RunSettings, *_OF_DRAFTS)
@setting_options(RunSettings, *_OF_THE_STUDENT)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write all figures to this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the figures of each part of the data.")
@quiet_option
def eval_(
    names: tuple[str, ...],
    files: tuple[Path, ...],
    form: Literal["processbench", "mr-gsm8k", "prmbench", "plain"] | None,
    tune_on: Literal["halves"] | None,
    tune_data: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **rest: Any,
) -> None:
    """Prints how good critics are on final answers and on steps, with 95 % intervals, and what they cost.

    Solutions come from files in the form of ProcessBench, MR-GSM8K, PRMBench or plain JSON lines, or are a task's
    drafts; steps of these are judged where the task knows which are right, as apples does. Scores are stored: the same
    command again goes on where it stopped.
    """
    from refine_eval.results import critic_tables as tables
    from refine_eval.results.critic_records import evaluation_to_json
    from refine_eval.results.label_files import read_label_files
    from refine_eval.runs.critic_evaluation import evaluate_critics

    settings = _settings("eval", names, files, form, rest)
    if tune_on and tune_data:
        raise UsageError("--tune-on and --tune-data each say where thresholds come from: give one of them.")
    labels = read_label_files(files, form, settings.limit) if files else None
    tune_labels = read_label_files([tune_data]) if tune_data else None
    with plugins_print_to_stderr():
        found = evaluate_critics(
            settings,
            names,
            registry(),
            Progress(quiet),
            labels=labels,
            tune_on=tune_on,
            tune_labels=tune_labels,
        )
    text = json.dumps(evaluation_to_json(found), indent=2)
    if out is not None:
        _write(out, text + "\n")
    if as_json:
        click.echo(text)
        return
    click.echo(tables.title(found))
    print_listing(*tables.table(found))
    for line in tables.below(found):
        click.echo(line)


@critics.command(cls=_CriticsCommand)
@_solution_options("Instead of files, the student's drafts of a task's problems, such as apples:validation.")
@setting_options(RunSettings, *_OF_DRAFTS, *_OF_THE_STUDENT)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File of the weights, for --ensemble-weights.",
)
@quiet_option
def fit(
    names: tuple[str, ...],
    files: tuple[Path, ...],
    form: Literal["processbench", "mr-gsm8k", "prmbench", "plain"] | None,
    out: Path,
    quiet: bool,
    **rest: Any,
) -> None:
    """Fits the weights with which critics together tell right from wrong, for an ensemble by the rule logistic.

    \b
        refine-eval critics fit --critic orm --critic calculator --task apples:validation -o weights.json
        refine-eval run --critic ensemble --ensemble-of orm+calculator --ensemble-rule logistic \\
            --ensemble-weights weights.json

    Take other problems than those that it will judge, which is refused: solutions from files or a task's drafts, as
    for critics eval.
    """
    from refine_eval.results.critic_weights import weights_to_json
    from refine_eval.results.label_files import read_label_files
    from refine_eval.runs.critic_fitting import fit_critics

    settings = _settings("fit", names, files, form, rest)
    labels = read_label_files(files, form, settings.limit) if files else None
    with plugins_print_to_stderr():
        found = fit_critics(settings, names, registry(), Progress(quiet), labels)
    _write(out, json.dumps(weights_to_json(found), indent=2) + "\n")
    click.echo(f"{found.data}: {found.solutions:,} solutions of {found.problems:,} problems")
    of_steps = found.steps.weights if found.steps else [None] * len(found.members)
    rows = zip(found.members, found.answers.weights, of_steps, strict=True)
    shown = [[member.name, f"{answer:.2f}", "-" if step is None else f"{step:.2f}"] for member, answer, step in rows]
    print_listing(["critic", "weight for answers", "for steps"], shown)
    click.echo(f"wrote {out}")


def _settings(
    command: str, names: tuple[str, ...], files: tuple[Path, ...], form: str | None, rest: dict[str, Any]
) -> RunSettings:
    """UsageError for options that do not go together."""
    if bool(files) == bool(rest["task"]):
        raise UsageError("Say which solutions to judge: --data FILE, or --task TASK for its drafts; one of the two.")
    if form and not files:
        raise UsageError("--form is of the files of --data; leave it out.")
    settings = read_settings(RunSettings, {name: value for name, value in rest.items() if name != "task" or value})
    if files:
        for name in _OF_DRAFTS:
            if getattr(settings, name) is not None and name != "data_dir":
                raise UsageError(
                    f"--{name.replace('_', '-')} is of the drafts of --task; --data has its own solutions."
                )
    context = click.get_current_context()
    settings = replace(
        settings,
        task=rest["task"] or LABELLED,
        options=given_options(registry(), rest, ("critic",)),
        command=shlex.join(["refine-eval", "critics", command, *context.meta[GIVEN]]),
    )
    judging = names_with_members(names, settings.options, registry())
    check_taking_part(registry(), settings, context.command, {("critic", name) for name in judging})
    return settings


@critics.command("table")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder of critics.json and critics.md.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if critics.md is not what it would write.")
def table(results: Path, check: bool) -> None:
    """Writes RESULTS/critics.md from RESULTS/critics.json, which `critics eval -o` writes."""
    from refine_eval.files import read_file
    from refine_eval.results.critic_records import read_evaluation
    from refine_eval.results.critic_tables import markdown

    path = results / "critics.md"
    command = shlex.join(
        ["refine-eval", "critics", "table", *(["--results", str(results)] if str(results) != "results" else [])]
    )
    page = markdown(read_evaluation(results / "critics.json"), "refine-eval critics table")
    if not check:
        _write(path, page)
        click.echo(f"wrote {path}")
        return
    try:
        fresh = read_file(path, len(page.encode())) == page.encode()
    except OSError:  # missing, or longer
        fresh = False
    if not fresh:
        raise RunError(f"{path} is stale; write it again: {command}")
    click.echo(f"{path} is up to date")


def _write(path: Path, text: str) -> None:
    from refine_eval.files import replace_file

    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); what was there before stays.") from error
