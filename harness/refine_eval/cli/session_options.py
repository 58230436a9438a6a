"""Options that commands share: settings as options, the stage's output, no progress."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click

from refine_eval.plugin.fields import declared
from refine_eval.plugin.options import setting_option
from refine_eval.runs.settings import CHAT_SETTINGS, SessionSettings

F = TypeVar("F", bound=Callable[..., Any])

_TASK = ("num_fewshot", *CHAT_SETTINGS, "max_gen_toks", "filter", "metric", "correct_above", "steps", "data_dir")
ENGINE_SETTINGS = (
    "model",
    "model_options",
    "seed",
    "batch_size",
    "device",
    "dtype",
    "workers",
    "ray_address",
    "results",
)


def setting_options(settings: type[Any], *names: str) -> Callable[[F], F]:
    """Options for the settings of a dataclass that are named, or for all of them."""
    found = declared(settings)

    def decorate(command: F) -> F:
        for name in reversed(names or tuple(found)):
            command = setting_option(found[name])(command)
        return command

    return decorate


def task_options(command: F) -> F:
    """Few-shot examples, length, filter, metric and data of the task."""
    return setting_options(SessionSettings, *_TASK)(command)


def engine_options(command: F) -> F:
    """Engine, model, seed, device, replicas, and where the store is."""
    return setting_options(SessionSettings, *ENGINE_SETTINGS)(command)


def data_dir_option(command: F) -> F:
    """Where the data is, for commands that take the rest of the task from elsewhere."""
    return setting_options(SessionSettings, "data_dir")(command)


def out_option(command: F) -> F:
    """The stage's output folder."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        help="Folder to write; an older output there is replaced when done.",
    )(command)


def quiet_option(command: F) -> F:
    """No progress and no advice."""
    return click.option("--quiet", "-q", is_flag=True, help="No progress and no advice.")(command)


def plugins_print_to_stderr() -> AbstractContextManager[Any]:
    """While the work is done, what plugins and libraries print goes to stderr: stdout is for the command's result.

    What Python prints, that is: a C library that writes to the file descriptor still reaches stdout.
    """
    return redirect_stdout(sys.stderr)


def results_option(command: F) -> F:
    """Where records are looked for by name."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("results"),
        show_default=True,
        help="Folder in which records are found by name.",
    )(command)
