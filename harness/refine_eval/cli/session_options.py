"""Options that several commands share: the task, the student's engine, the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_DATA_DIR = click.option(
    "--data-dir",
    "--data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with local data files instead of the hub. [default: $REFINE_EVAL_DATA]",
)
_TASK = (
    click.option(
        "--num-fewshot", "--num_fewshot", type=click.IntRange(min=0), help="Few-shot examples. [default: the task's]"
    ),
    click.option(
        "--max-gen-toks",
        "--max_gen_toks",
        type=click.IntRange(min=1),
        help="Longest solution, in tokens. [default: the task's, or 256]",
    ),
    click.option(
        "--filter",
        help="The task's answer filter that decides right and wrong. [default: flexible-extract where there is one]",
    ),
    _DATA_DIR,
)
_ENGINE = (
    click.option(
        "--model",
        default="transformers",
        show_default=True,
        help="Engine of the student. See: refine-eval plugins list",
    ),
    click.option(
        "--model-args",
        "--model_args",
        default="",
        help="The engine's options, name=value,name=value: pretrained=FOLDER or a hub name. "
        "[default: the task's bundled student]",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything that is sampled."
    ),
    click.option(
        "--batch-size",
        "--batch_size",
        type=click.IntRange(min=1),
        help="Sequences at once. [default: chosen, halved when memory runs out]",
    ),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto."),
    click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16, float16 or auto."),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Engine replicas as Ray actors, here or with --ray-address on a cluster.",
    ),
    click.option(
        "--ray-address",
        "--ray_address",
        metavar="ADDRESS",
        help="HOST:PORT of a Ray cluster that this machine is part of, or auto. [default: Ray on this machine]",
    ),
    click.option(
        "--results",
        "--output-path",
        "--output_path",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("results"),
        show_default=True,
        help="Where run records and the store are kept.",
    ),
)


def task_options(command: F) -> F:
    """Few-shot examples, length, filter and data of the task."""
    return _with(_TASK, command)


def engine_options(command: F) -> F:
    """Engine, model, seed, device, replicas, and where the store is."""
    return _with(_ENGINE, command)


def data_dir_option(command: F) -> F:
    """Where the data is, for commands that take the rest of the task from elsewhere."""
    return _with((_DATA_DIR,), command)


def out_option(command: F) -> F:
    """The stage's output folder."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        help="Folder to write; an older output there is replaced when done.",
    )(command)


def quiet_option(command: F) -> F:
    """No progress."""
    return click.option("--quiet", "-q", is_flag=True, help="No progress.")(command)


def _with(options: tuple[Callable[[F], F], ...], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command
