"""`refine-eval plan`: what a suite will cost, from a dry run on a few problems."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from refine_eval.cli.run import run, settings_from, words_of_suite
from refine_eval.cli.session_options import plugins_print_to_stderr, quiet_option, setting_options
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.options import read_settings
from refine_eval.plugin.registry import registry
from refine_eval.recipes.cost import PlanSettings, StageCost, predicted, total, trained
from refine_eval.recipes.suites import Training, read_suite
from refine_eval.runs.assembly import make_student
from refine_eval.runs.execute import execute
from refine_eval.runs.session import session
from refine_eval.runs.settings import RunSettings
from refine_eval.runs.trained import settled
from refine_eval.stages.settings import LabelSettings
from refine_eval.terminal import Progress, aligned


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--suite",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="YAML file with a grid of runs, and with `training` where data is to be made too.",
)
@setting_options(PlanSettings)
@quiet_option
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED)
def plan(suite: Path, quiet: bool, run_options: tuple[str, ...], **given: Any) -> None:
    """Predicts tokens and GPU hours of a suite by running it on a few problems, critics and training included.

    Further options are those of `refine-eval run`: another model for the dry run, say. What the dry run writes is
    stored, so the real run does not write it again.

    \b
        refine-eval plan --suite glore.yaml --throughput 2500 --gpus 8 --limit 1000
    """
    how, progress = read_settings(PlanSettings, given), Progress(quiet)
    training = read_suite(suite).training
    for name in training.train if training else ():
        registry().named_component(Trainer, name)
    costs: list[tuple[str, StageCost]] = []
    settings: RunSettings | None = None
    seen: set[bytes] = set()
    for name, words in words_of_suite(suite, list(run_options)).items():
        for settings in settings_from(run.make_context("run", words)):
            with plugins_print_to_stderr():
                outcome = execute(_shorter(settings, how.sample), registry(), progress, record=False)
            wanted = min(settings.limit or outcome.problems_in_all, outcome.problems_in_all)
            # What an earlier stage or run of the suite wrote is not written again.
            new = {}
            for stage, texts in outcome.requested.items():
                new[stage] = [text for key, text in texts.items() if key not in seen]
                seen.update(texts)
            found = predicted(new, len(outcome.traces), wanted * outcome.rows[0].drafts)
            costs += [(f"{name}, {settings.task}", cost) for cost in found if cost.texts]
    if training and settings:
        with plugins_print_to_stderr():
            costs += [("training data", cost) for cost in _training(training, settings, how.sample, progress)]
    _show(costs, how)


def _shorter(settings: RunSettings, sample: int) -> RunSettings:
    return replace(settings, limit=min(settings.limit or sample, sample))


def _training(training: Training, settings: RunSettings, sample: int, progress: Progress) -> list[StageCost]:
    """Samples and rollouts for a few of the questions, with the last run's task and student, and models trained."""
    from refine_eval.stages.collect import collect
    from refine_eval.stages.label import Labeller, chosen_samples

    settings = settled(settings, registry())
    student = make_student(settings, registry(), progress)
    with session(settings, student, registry(), progress) as (task, runtime):
        problems = task.questions(training.split, min(sample, training.questions))
        rows = list(collect(runtime, task, problems, samples=training.samples, temperature=training.temperature))
        how = LabelSettings(rollouts=training.rollouts, temperature=training.temperature)
        by_id = {problem.id: problem for problem in problems}
        for _ in Labeller(runtime, task, how).label(chosen_samples(rows, by_id, training.per_question)):
            pass
        asked = {stage: list(texts.values()) for stage, texts in runtime.usage.requested.items()}
        made = predicted(asked, len(problems), training.questions)
        return made + [trained(what, rows, asked["sample"]) for what, rows in training.train.items()]


def _show(costs: list[tuple[str, StageCost]], how: PlanSettings) -> None:
    everything = total(cost for _, cost in costs)
    rows = [
        [
            what,
            cost.stage,
            *(f"{count:,.0f}" for count in (cost.texts, cost.read, cost.written, cost.margin, cost.trained)),
            f"{cost.gpu_hours(how):.2f}",
        ]
        for what, cost in [*costs, ("all", everything)]
    ]
    head = ["what", "stage", "texts", "tokens read", "tokens written", "±", "tokens trained", "GPU hours"]
    click.echo("\n".join(aligned([head, *rows], left=2)))
    hours = everything.gpu_hours(how) / how.gpus
    free = [
        f"{what} taking no time ({option})"
        for what, count, rate, option in (
            ("reading", everything.read, how.prompt_throughput, "--prompt-throughput"),
            ("training", everything.trained, how.train_throughput, "--train-throughput"),
        )
        if count and rate is None
    ]
    click.echo(
        f"{hours:.2f} hours on {how.gpus} GPU{'s' if how.gpus > 1 else ''} at {how.throughput:,.0f} tokens/s each"
        f"{', ' + ' and '.join(free) if free else ''}; from {how.sample} problems a run, ± is half a 95 % interval."
    )
