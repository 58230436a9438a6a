"""`refine-eval collect`: samples of the student on training questions, graded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from refine_eval.cli.session_options import (
    engine_options,
    out_option,
    plugins_print_to_stderr,
    quiet_option,
    setting_options,
    task_options,
)
from refine_eval.plugin.options import read_settings
from refine_eval.plugin.registry import registry
from refine_eval.runs.settings import SessionSettings
from refine_eval.stages.settings import CollectSettings
from refine_eval.terminal import Progress


@click.command()
@setting_options(SessionSettings, "task")
@setting_options(CollectSettings)
@out_option
@task_options
@engine_options
@quiet_option
def collect(out: Path, quiet: bool, **given: Any) -> None:
    """Draws samples for each question from the student and grades them: data to train students, critics and refiners.

    Everything generated is stored: interrupted, the same command goes on where it stopped.

    \b
        refine-eval collect --limit 500 --samples 4 --out work/samples
    """
    how, settings = read_settings(CollectSettings, given), read_settings(SessionSettings, given)
    from refine_eval.stages.collect import collect_stage

    with plugins_print_to_stderr():
        counts = collect_stage(how, settings, out=out, registry=registry(), progress=Progress(quiet)).counts
    click.echo(
        f"{counts['samples']:,} samples of {counts['questions']:,} questions, "
        f"{100 * counts['right'] / max(counts['samples'], 1):.1f} % right; {counts['questions_never_right']:,} "
        f"questions never, {counts['questions_always_right']:,} always; {counts['tokens']:,} tokens: {out}"
    )
