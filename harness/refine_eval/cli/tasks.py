"""`refine-eval tasks`: what there is to run on."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from refine_eval.cli.session_options import setting_options
from refine_eval.plugin.registry import registry
from refine_eval.runs.settings import SessionSettings, data_folder
from refine_eval.terminal import strip_control


@click.group()
def tasks() -> None:
    """The tasks that plugins bring; any other lm-eval task that generates text works by its name, too."""


@tasks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """Lists tasks with where their data comes from, what else they need, and whether a model for them is bundled."""
    found = registry().benchmarks().values()
    if as_json:
        wanted = ("name", "description", "data", "needs", "student")
        rows = [{k: v and str(v) for k, v in asdict(b).items() if k in wanted} for b in found]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(benchmark.name) for benchmark in found), default=0)
    for benchmark in found:
        bundled = " (with a bundled student)" if benchmark.student else ""
        click.echo(strip_control(f"{benchmark.name.ljust(width)}  {benchmark.description}{bundled}"))
        click.echo(strip_control(f"{' ' * width}  data: {benchmark.data}"))
        if benchmark.needs:
            click.echo(strip_control(f"{' ' * width}  needs: {benchmark.needs}"))


@tasks.command("show")
@click.argument("name")
@setting_options(SessionSettings, "filter", "metric", "correct_above", "data_dir")
def show(name: str, filter: str | None, metric: str | None, correct_above: float | None, data_dir: Path | None) -> None:
    """Shows how a task is graded: its filters and metrics, and which of them decide."""
    from refine_eval.tasks.task import LmEvalTask  # takes seconds

    task = LmEvalTask(
        name,
        registry().benchmarks(),
        data_dir=data_folder(data_dir),
        filter_name=filter,
        metric=metric,
        correct_above=correct_above,
        note=lambda text: click.echo(f"note: {strip_control(text)}", err=True),
    )
    for what, value in task.grading().items():
        click.echo(strip_control(f"{what}: {value}"))
