"""A run's settings as the command line that makes the run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from refine_eval.plugin.fields import declared
from refine_eval.plugin.registry import Registry
from refine_eval.runs.settings import RunSettings


def command_line(settings: RunSettings, registry: Registry) -> str:
    """What to type for these settings: the task, and whatever differs from the defaults.

    PluginError for options of a component that is not there.
    """
    words = ["refine-eval", "run", "--task", settings.task]
    for name, setting in declared(RunSettings).items():
        value = getattr(settings, name)
        if name not in ("task", "overwrite") and value != setting.default:
            # Of several refiners or selectors each is given by itself.
            for each in value if setting.kind is tuple else [value]:
                words += [setting.typed, _text(each)]
    for (kind, name), options in settings.options.items():
        for option, value in options.items():
            words += _option(f"--{registry.component(kind, name).name}-{option.replace('_', '-')}", value)
    return shlex.join(words)


def _option(flag: str, value: Any) -> list[str]:
    """A component's option as words."""
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [flag, _text(value)]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={inner}" for name, inner in value.items())
    if isinstance(value, tuple | list):
        return "+".join(map(str, value))
    return "none" if value is None else str(value)
