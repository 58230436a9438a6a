"""`refine-eval train`: students, critics and refiners from the outputs of `collect` and `label`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from refine_eval.cli.session_options import (
    data_dir_option,
    out_option,
    plugins_print_to_stderr,
    quiet_option,
    setting_options,
)
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.options import made, read_settings
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import registry
from refine_eval.terminal import Progress
from refine_eval.training.settings import FitSettings, TrainSettings


@click.command()
@click.argument("name")
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
@setting_options(TrainSettings, "base", "apply_chat_template", "system_instruction")
@out_option
@click.option("--options", default="", help="The trainer's, name=value,... See: refine-eval plugins show NAME")
@setting_options(FitSettings, "steps", "batch_size", "accumulate", "optimizer", "learning_rate", "adam_learning_rate")
@setting_options(FitSettings, "last_layers", "lora_rank", "bf16", "checkpointing")
@setting_options(TrainSettings, "save_dtype", "held_out")
@setting_options(FitSettings, "seed")
@data_dir_option
@quiet_option
def train(
    name: str, inputs: tuple[Path, ...], out: Path, options: str, data_dir: Path | None, quiet: bool, **given: Any
) -> None:
    """Trains NAME on the folders INPUTS: sft, expert-iteration, orm, balanced-orm, sorm, global, local, or a plugin's.

    Interrupted, the same command goes on from its last checkpoint. The weights of the lowest validation loss are kept.

    \b
        refine-eval train orm work/samples --base MODEL --out work/orm
        refine-eval train sorm work/labels --base MODEL --out work/sorm
    """
    settings, how = read_settings(TrainSettings, given), read_settings(FitSettings, given)
    trainer = made(registry().named_component(Trainer, name), parse_pairs(options))
    from refine_eval.training.fit import processes
    from refine_eval.training.train import train_stage

    with plugins_print_to_stderr():
        counts = train_stage(trainer, inputs, settings, how, out=out, data_dir=data_dir, progress=Progress(quiet))
    together = processes()
    together.destroy_process_group()
    if not together.is_main_process:
        return
    losses = f"loss {counts['first_loss']:.3f} -> {counts['last_loss']:.3f}"
    validation = f", validation {counts['best_loss']:.3f} at step {counts['best_step']}" if counts["held_out"] else ""
    click.echo(f"{name}: {counts['examples']:,} examples, {losses}{validation}; {counts['seconds']:.0f} s: {out}")
