"""The words of a recipe's stages, read and checked by the commands that will get them; nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from refine_eval.cli.collect import check_gold_split, collect
from refine_eval.cli.label import check_ways, label
from refine_eval.cli.run import all_settings, run
from refine_eval.cli.train import check_weights, train
from refine_eval.components import Engine, Trainer
from refine_eval.errors import UsageError
from refine_eval.options import make_options, parse_pairs
from refine_eval.plugins import registry
from refine_eval.recipes.files import Parsed
from refine_eval.run import make_strategy

_COMMANDS = {"collect": collect, "label": label, "train": train, "run": run}


def parse(command: str, words: list[str]) -> Parsed:
    """What `command` makes of `words`; RefineEvalError where it refuses them."""
    try:
        context = _COMMANDS[command].make_context(command, list(words))
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
        check_weights(of["last_layers"], of["lora_rank"])
        kind = registry().named_component(Trainer, of["name"])
        kind(make_options(kind, parse_pairs(of["options"])))
        if not of["base"] and kind.start is Trainer.start:
            raise UsageError(f"train {kind.name} starts from a model; name it with `base`.")
        return Parsed(of, reads=kind.needs)
    _check_engine(of["model"], parse_pairs(of["model_args"]))
    if command == "label":
        check_ways(of["naive"], of["soft"], of["no_monotone"])
        return Parsed(of, reads=("collect",))
    _check_task(of["task"])
    if of["gold"]:
        check_gold_split(of["split"])
    return Parsed(of)


def _check_engine(name: str, options: Mapping[str, Any]) -> None:
    make_options(registry().named_component(Engine, name), options)


def _check_task(name: str) -> None:
    known = registry().benchmarks()
    if name not in known:
        from refine_eval.lm_eval_bridge import check_name  # takes seconds, and lm-eval's index ten

        check_name(name, known)
