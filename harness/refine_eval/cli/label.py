"""`refine-eval label`: step labels by rollout of the samples that `refine-eval collect` drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from refine_eval.cli.session_options import (
    data_dir_option,
    engine_options,
    out_option,
    plugins_print_to_stderr,
    quiet_option,
    setting_options,
)
from refine_eval.plugin.options import read_settings
from refine_eval.plugin.registry import registry
from refine_eval.runs.settings import SessionSettings
from refine_eval.stages.settings import LabelSettings
from refine_eval.terminal import Progress


@click.command()
@click.argument("samples", type=click.Path(path_type=Path, file_okay=False))
@setting_options(LabelSettings, "rollouts", "temperature", "limit", "per_question", "solved")
@setting_options(LabelSettings, "naive", "soft", "monotone", "consistent")
@out_option
@setting_options(SessionSettings, "steps")
@data_dir_option
@engine_options
@quiet_option
def label(samples: Path, out: Path, quiet: bool, **given: Any) -> None:
    """Labels the steps of the samples in the folder SAMPLES: can the student still reach the right answer from here?

    Right samples verify themselves, a prefix is settled by its first success, and the last good one is found by
    bisection: the labels of --naive for a fraction of its tokens, but where K rollouts miss a way that there is.
    Interrupted, the same command goes on where it stopped.

    \b
        refine-eval label work/samples --rollouts 8 --out work/labels
    """
    how, settings = read_settings(LabelSettings, given), read_settings(SessionSettings, given)
    from refine_eval.stages.label import label_stage

    with plugins_print_to_stderr():
        counts = label_stage(samples, how, settings, out=out, registry=registry(), progress=Progress(quiet)).counts
    steps = counts["steps"]
    click.echo(
        f"{counts['samples']:,} samples ({counts['wrong']:,} wrong) with {steps:,} steps, "
        f"{100 * counts['positive_steps'] / max(steps, 1):.1f} % positive; {counts['rollouts']:,} rollouts, "
        f"{counts['rollout_tokens']:,} tokens: {out}"
    )
