"""The words of a recipe's stages, read and checked by the commands that will get them; nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from refine_eval.cli.collect import collect
from refine_eval.cli.component_options import check_values, typed_options
from refine_eval.cli.label import label
from refine_eval.cli.run import all_settings, run
from refine_eval.cli.train import train
from refine_eval.errors import UsageError
from refine_eval.plugin.components import Engine, Trainer
from refine_eval.plugin.options import made, make_options, read_settings
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import registry
from refine_eval.recipes.files import Parsed
from refine_eval.runs.assembly import make_strategy
from refine_eval.runs.settings import SessionSettings
from refine_eval.stages.settings import CollectSettings, LabelSettings
from refine_eval.tasks.splits import benchmark_of
from refine_eval.training.settings import FitSettings, TrainSettings

_COMMANDS = {"collect": collect, "label": label, "train": train, "run": run}


def parse(command: str, words: list[str], options: Mapping[str, Any]) -> Parsed:
    """What `command` makes of `words`, which were made of `options`; RefineEvalError where it refuses them."""
    kind = _COMMANDS[command]
    typed = typed_options(kind, options)
    check_values(typed, options)
    try:
        context = kind.make_context(command, list(words))
        _check_nulls(context, typed, options)
        if command == "run":
            runs = all_settings(context)
            for settings in runs:
                make_strategy(settings, registry())
                _check_engine(settings.model, settings.model_options)
                _check_task(settings.task)
            return Parsed(context.params, runs)
    except click.ClickException as error:
        raise UsageError(f"{error.format_message()} See: refine-eval {command} --help") from error
    of = context.params
    if command == "train":
        read_settings(TrainSettings, of)
        read_settings(FitSettings, of)
        trainer = registry().named_component(Trainer, of["name"])
        made(trainer, parse_pairs(of["options"]))
        if not of["base"] and trainer.start is Trainer.start:
            raise UsageError(f"train {trainer.name} starts from a model; name it with `base`.")
        return Parsed(of, reads=trainer.reads)
    of_session = read_settings(SessionSettings, of)
    _check_engine(of_session.model, of_session.model_options)
    if command == "label":
        read_settings(LabelSettings, of)
        return Parsed(of, reads=("collect",))
    read_settings(CollectSettings, of)
    _check_task(of_session.task)
    return Parsed(of)


def _check_nulls(context: click.Context, typed: Mapping[str, click.Parameter], options: Mapping[str, Any]) -> None:
    """UsageError where a value of the recipe is null, and the command would take one that the recipe does not show."""
    for name, param in typed.items():
        default = context.params[str(param.name)]
        if (
            options[name] is None
            and default
            and context.get_parameter_source(str(param.name)) is ParameterSource.DEFAULT
        ):
            raise UsageError(f"{name} is null, and would be {default!r}; give it a value.")


def _check_engine(name: str, options: Mapping[str, Any]) -> None:
    make_options(registry().named_component(Engine, name), options)


def _check_task(name: str) -> None:
    known = registry().benchmarks()
    if benchmark_of(name, known) is None:
        from refine_eval.tasks.loading import check_name  # takes seconds, and lm-eval's index ten

        check_name(name, known)
