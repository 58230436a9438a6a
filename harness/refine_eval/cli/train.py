"""`refine-eval train`: students, critics and refiners from the outputs of `collect` and `label`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from refine_eval.cli.session_options import data_dir_option, out_option, quiet_option
from refine_eval.errors import UsageError
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.options import make_options
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import registry
from refine_eval.terminal import Progress


@click.command()
@click.argument("name")
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path, file_okay=False))
@click.option("--base", help="What to start from: hub name, folder (a LoRA adapter's too) or GGUF file.")
@out_option
@click.option("--options", default="", help="The trainer's, name=value,... See: refine-eval plugins show NAME")
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Optimizer steps.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Rows on a device.")
@click.option("--accumulate", type=click.IntRange(min=1), default=1, show_default=True, help="Batches a step.")
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), default="adamw", show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option(
    "--adam-learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=1e-3,
    show_default=True,
    help="With --optimizer muon: of all but the layers' matrices.",
)
@click.option("--last-layers", type=click.IntRange(min=1), help="Train only the last N layers and the head.")
@click.option("--lora-rank", type=click.IntRange(min=1), help="Train a LoRA adapter. [default: all weights]")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16.")
@click.option("--checkpointing", is_flag=True, help="Compute activations twice, to save memory.")
@click.option(
    "--save-dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="What the weights are rounded to when saved.",
)
@click.option(
    "--held-out", type=click.FloatRange(0, 0.5), default=0.05, show_default=True, help="Share of questions to validate."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of order and new weights.")
@data_dir_option
@quiet_option
def train(
    name: str,
    inputs: tuple[Path, ...],
    base: str | None,
    out: Path,
    options: str,
    held_out: float,
    save_dtype: str,
    data_dir: Path | None,
    quiet: bool,
    **how: Any,
) -> None:
    """Trains NAME on the folders INPUTS: sft, expert-iteration, orm, balanced-orm, sorm, global, local, or a plugin's.

    Interrupted, the same command goes on from its last checkpoint. The weights of the lowest validation loss are kept.

    \b
        refine-eval train orm work/samples --base MODEL --out work/orm
        refine-eval train sorm work/labels --base MODEL --out work/sorm
    """
    check_weights(how["last_layers"], how["lora_rank"])
    kind = registry().named_component(Trainer, name)
    trainer = kind(make_options(kind, parse_pairs(options)))
    from refine_eval.training.fit import FitSettings, processes
    from refine_eval.training.train import train_stage

    counts = train_stage(
        trainer,
        inputs,
        base=base,
        out=out,
        how=FitSettings(**how),
        held_out=held_out,
        save_dtype=save_dtype,
        data_dir=data_dir,
        progress=Progress(quiet),
    )
    together = processes()
    together.destroy_process_group()
    if not together.is_main_process:
        return
    losses = f"loss {counts['first_loss']:.3f} -> {counts['last_loss']:.3f}"
    validation = f", validation {counts['best_loss']:.3f} at step {counts['best_step']}" if counts["held_out"] else ""
    click.echo(f"{name}: {counts['examples']:,} examples, {losses}{validation}; {counts['seconds']:.0f} s: {out}")


def check_weights(last_layers: int | None, lora_rank: int | None) -> None:
    """UsageError where an adapter, which freezes all other weights, would leave no layers to choose among."""
    if last_layers and lora_rank:
        raise UsageError("--last-layers chooses among all weights, and --lora-rank trains none of them; leave one out.")
