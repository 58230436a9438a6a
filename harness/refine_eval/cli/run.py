"""`refine-eval run`: settings from the command line, the table at the end."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from refine_eval.cli.session_options import engine_options, quiet_option, task_options
from refine_eval.errors import PluginError, UsageError, nearest
from refine_eval.plugin.components import Component
from refine_eval.plugin.options import click_options, option_fields, parameter
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import Registered, Registry, registry
from refine_eval.recipes.suites import read_suite
from refine_eval.results.records import run_name
from refine_eval.results.table import plain, print_rich
from refine_eval.runs.execute import RunOutcome, execute
from refine_eval.runs.settings import RunSettings
from refine_eval.terminal import Progress

# Kinds whose options are command-line options of their own; an engine's come through --model-args.
_KINDS_WITH_OPTIONS = ("critic", "refiner", "selector")
_GIVEN = "refine_eval.given"


class _RunCommand(click.Command):
    """Adds the options of all installed critics, refiners and selectors."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_component_options(registry())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = [flag for param in self.get_params(ctx) for flag in param.opts]
            raise UsageError(
                f"No option is called {error.option_name}.{nearest(error.option_name, known)} "
                f"See: refine-eval run --help"
            ) from error


def _component_options(registry: Registry) -> list[click.Option]:
    found: dict[str, Registered] = {}
    options = []
    for registered in _components(registry):
        component = _component(registered)
        for option in click_options(component):
            owner = found.setdefault(option.opts[0], registered)
            if owner is not registered:
                raise PluginError(
                    f"{owner.kind.capitalize()} {owner.name!r} of {owner.distribution} and {registered.kind} "
                    f"{registered.name!r} of {registered.distribution} both bring the option {option.opts[0]}; "
                    f"one of their authors must rename it."
                )
            options.append(option)
    return options


def _components(registry: Registry) -> list[Registered]:
    return [registered for kind in _KINDS_WITH_OPTIONS for registered in registry.all(kind)]


def _component(registered: Registered) -> type[Component]:
    assert isinstance(registered.item, type)
    return registered.item


@click.command(cls=_RunCommand)
@click.option(
    "--tasks",
    "--task",
    default="apples",
    show_default=True,
    help="Task names, comma-separated. See: refine-eval tasks list",
)
@click.option("--limit", "-L", type=click.IntRange(min=1), help="Only the first N problems of each task.")
@click.option("--critic", help="Critic for when, where and choose alike.")
@click.option("--when", help="Critic that says whether to refine a draft. [default: --critic, or orm]")
@click.option("--where", help="Critic that finds the first bad step. [default: --critic, or sorm]")
@click.option("--choose", help="Critic whose scores the selector reads. [default: --critic, or orm]")
@click.option(
    "--refiner", "refiners", multiple=True, help="Refiner; may be given more than once. [default: local and global]"
)
@click.option(
    "--selector",
    "selectors",
    multiple=True,
    help="Selector; the first makes the choice, more get rows of their own. [default: rerank]",
)
@click.option(
    "--refine-below",
    type=click.FloatRange(0, 1),
    help="Refine only drafts that the when critic scores below this. [default: refine all]",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Rounds of critique and refine; each begins from the last round's choice.",
)
@task_options
@engine_options
@click.option(
    "--name", help="Name of the run record; with several tasks, -TASK is added. [default: made from the settings]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.option(
    "--suite",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file with a grid of runs; options given beside it are added to those of each.",
)
@quiet_option
def run(as_json: bool, quiet: bool, **rest: Any) -> None:
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
    found = []
    for settings in all_settings(click.get_current_context()):
        outcome = execute(settings, registry(), Progress(quiet))
        if as_json:
            found.append(_as_json(settings, outcome))
        else:
            _show(settings, outcome)
    if as_json:
        click.echo(json.dumps(found, indent=2))


def all_settings(context: click.Context) -> list[RunSettings]:
    """The runs that a command line of `refine-eval run` asks for, those of its suite if it names one."""
    suite = context.params["suite"]
    if suite is None:
        return settings_from(context)
    # A command of its own each, so that a record says what to type to make it again.
    contexts = [run.make_context("run", words) for words in words_of_suite(suite, context.meta[_GIVEN]).values()]
    return [settings for each in contexts for settings in settings_from(each)]


def settings_from(context: click.Context) -> list[RunSettings]:
    """The runs that a command line of `refine-eval run` asks for, one a task; UsageError where it makes no sense."""
    rest = {k: v for k, v in context.params.items() if k not in ("suite", "as_json", "quiet")}
    critic, refiners, selectors = (rest.pop(name) for name in ("critic", "refiners", "selectors"))
    chosen: dict[str, Any] = {
        "when": rest.pop("when") or critic or "orm",
        "where": rest.pop("where") or critic or "sorm",
        "choose": rest.pop("choose") or critic or "orm",
        "refiners": refiners or ("local", "global"),
        "selectors": selectors or ("rerank",),
    }
    given = _given_options(registry(), rest)
    _check_selected(registry(), given, chosen)
    model_args = parse_pairs(rest.pop("model_args"))
    tasks = list(dict.fromkeys(name.strip() for name in rest.pop("tasks").split(",") if name.strip()))
    if not tasks:
        raise UsageError("--tasks names no task. See: refine-eval tasks list")
    name = rest.pop("name")
    if name and name != run_name(name):
        raise UsageError(f"--name {name!r} cannot name a folder; letters, digits and . _ + - can: {run_name(name)!r}.")
    return [
        RunSettings(
            task=task,
            # Two tasks in one record would be one that is lost.
            name=f"{name}-{task}" if name and len(tasks) > 1 else name,
            model_options=model_args,
            options=given,
            command=shlex.join(["refine-eval", "run", *context.meta[_GIVEN]]),
            **chosen,
            **rest,
        )
        for task in tasks
    ]


def words_of_suite(path: Path, given: list[str]) -> dict[str, list[str]]:
    """For each run of a suite the words of its own command, with what was given beside `--suite`.

    UsageError for `--name` beside it: each run would replace the record of the one before.
    """
    if any(word == "--name" or word.startswith("--name=") for word in given):
        raise UsageError("--name cannot stand beside --suite: the runs of a suite have their names from its file.")
    return {name: [*words, *_without_suite(given)] for name, words in read_suite(path).runs.items()}


def _without_suite(words: list[str]) -> list[str]:
    kept = [word for word in words if not word.startswith("--suite=")]
    if "--suite" in kept:
        at = kept.index("--suite")
        del kept[at : at + 2]
    return kept


def _given_options(registry: Registry, rest: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Takes the components' options out of click's parameters: those that were set, by component."""
    given: dict[tuple[str, str], dict[str, Any]] = {}
    for registered in _components(registry):
        component = _component(registered)
        for field in option_fields(component):
            value = rest.pop(parameter(component, field))
            if value is not None:
                given.setdefault((registered.kind, registered.name), {})[field.name] = value
    return given


def _check_selected(registry: Registry, given: dict[tuple[str, str], dict[str, Any]], chosen: dict[str, Any]) -> None:
    """An option of a component that takes no part would be ignored in silence: an error instead."""
    taking_part = {("critic", chosen[role]) for role in ("when", "where", "choose")}
    taking_part |= {("refiner", name) for name in chosen["refiners"]}
    taking_part |= {("selector", name) for name in chosen["selectors"]}
    for kind, name in given:
        component = registry.component(kind, name)
        if (kind, name) not in taking_part and not getattr(component, "always_reported", False):
            field = next(f for f in option_fields(component) if f.name in given[kind, name])
            raise UsageError(
                f"{field.flag(component)} is an option of {kind} {name!r}, which takes no part in this run: "
                f"add --{kind} {name}, or leave the option out."
            )


def _show(settings: RunSettings, outcome: RunOutcome) -> None:
    title = f"{settings.task}, {len(outcome.traces):,} problems, {settings.model}"
    if sys.stdout.isatty():
        print_rich(outcome.rows, outcome.filter, title)
    else:
        click.echo(f"{title}\n{plain(outcome.rows, outcome.filter)}")
    total = sum(len(trace.candidates) for trace in outcome.traces)
    click.echo(
        f"{outcome.generated:,} texts written now for {total:,} candidates, {outcome.seconds['total']:.1f} s; "
        f"record: {outcome.folder}"
    )


def _as_json(settings: RunSettings, outcome: RunOutcome) -> dict[str, Any]:
    return {
        "task": settings.task,
        "filter": outcome.filter,
        "record": str(outcome.folder),
        "generated": outcome.generated,
        "rows": [{**asdict(row), "accuracy": row.accuracy(outcome.filter)} for row in outcome.rows],
        "stage_seconds": dict(outcome.seconds),
    }
