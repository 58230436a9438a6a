"""`refine-eval label`: step labels by rollout of the samples that `refine-eval collect` drew."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from refine_eval.cli.session_options import data_dir_option, engine_options, out_option, quiet_option
from refine_eval.errors import StageError, UsageError
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import registry
from refine_eval.runs.assembly import make_student
from refine_eval.runs.session import session
from refine_eval.runs.settings import SessionSettings
from refine_eval.terminal import Progress


@click.command()
@click.argument("samples", type=click.Path(path_type=Path, file_okay=False))
@click.option("--rollouts", type=click.IntRange(min=1), default=8, show_default=True, help="Continuations a prefix.")
@click.option(
    "--temperature", type=click.FloatRange(0, min_open=True), default=0.7, show_default=True, help="Of the rollouts."
)
@click.option("--limit", "-L", type=click.IntRange(min=1), help="Only the first N questions of the samples.")
@click.option("--per-question", type=click.IntRange(min=1), help="At most N wrong and N right samples a question.")
@click.option("--naive", is_flag=True, help="All rollouts of every prefix of every sample: the plain, dear way.")
@click.option("--soft", is_flag=True, help="Labels are shares of successes (Math-Shepherd); needs --naive.")
@click.option("--no-monotone", is_flag=True, help="Without rule 1; needs --naive.")
@click.option("--no-consistent", is_flag=True, help="Without rule 2: rollouts count that ignore the prefix.")
@out_option
@data_dir_option
@engine_options
@quiet_option
def label(
    samples: Path,
    rollouts: int,
    temperature: float,
    limit: int | None,
    per_question: int | None,
    naive: bool,
    soft: bool,
    no_monotone: bool,
    no_consistent: bool,
    out: Path,
    model_args: str,
    quiet: bool,
    **rest: Any,
) -> None:
    """Labels the steps of the samples in the folder SAMPLES: can the student still reach the right answer from here?

    Right samples verify themselves, a prefix is settled by its first success, and the last good one is found by
    bisection: the labels of --naive for a fraction of its tokens, but where K rollouts miss a way that there is.
    Interrupted, the same command goes on where it stopped.

    \b
        refine-eval label work/samples --rollouts 8 --out work/labels
    """
    from refine_eval.stages.folder import check_place, read_folder, write_folder
    from refine_eval.stages.label import Labeller, LabelSettings, chosen_samples
    from refine_eval.stages.rows import LABELS, check_outcomes, labels_to_json, read_samples

    check_ways(naive, soft, no_monotone)
    check_place(out, "label")
    how = LabelSettings(
        rollouts=rollouts,
        temperature=temperature,
        naive=naive,
        soft=soft,
        monotone=not (no_monotone or soft),
        consistent=not no_consistent,
    )
    collected = read_folder(samples, "collect")
    of = collected.settings
    rows = read_samples(collected)[:limit]
    check_outcomes(rows, "labels by rollout need both")
    progress = Progress(quiet)
    settings = SessionSettings(
        task=of["task"],
        num_fewshot=of["num_fewshot"],
        max_gen_toks=of["max_gen_toks"],
        filter=of["filter"],
        model_options=parse_pairs(model_args),
        **rest,
    )
    student = make_student(settings, registry(), progress)
    with session(settings, student, registry(), progress) as (task, runtime):
        problems = {problem.id: problem for problem in task.questions(of["split"], of["limit"])}
        for row in rows:
            if row.id not in problems or problems[row.id].question != row.question:
                raise StageError(
                    f"{samples} was made from other data: question {row.id} reads differently now; pass the "
                    "--data-dir that collect had, or collect again."
                )
        labeller = Labeller(runtime, task, how)
        found = list(labeller.label(chosen_samples(rows, problems, per_question)))
        identity = runtime.student_identity()
    if identity != of["student"]:
        progress.note(f"Note: the samples are of another student than the rollouts ({of['student']}).")
    wrong = [sample for sample in found if not sample.correct]
    steps = sum(len(sample.labels) for sample in found)
    folder = write_folder(
        out,
        stage="label",
        settings={
            "task": of["task"],
            **asdict(how),
            "per_question": per_question,
            "limit": limit,
            "seed": settings.seed,
            "student": identity,
        },
        inputs={"samples": collected},
        counts={
            "samples": len(found),
            "wrong": len(wrong),
            "steps": steps,
            "positive_steps": sum(value > 0 for sample in found for value in sample.labels),
            "rollouts": labeller.rollouts,
            "rollout_tokens": labeller.tokens,
            "generated_now": runtime.generated,
        },
        rows={LABELS: map(labels_to_json, found)},
    )
    counts = folder.counts
    click.echo(
        f"{counts['samples']:,} samples ({counts['wrong']:,} wrong) with {steps:,} steps, "
        f"{100 * counts['positive_steps'] / max(steps, 1):.1f} % positive; {counts['rollouts']:,} rollouts, "
        f"{counts['rollout_tokens']:,} tokens: {out}"
    )


def check_ways(naive: bool, soft: bool, no_monotone: bool) -> None:
    """UsageError for labels that only the plain way can make."""
    if (soft or no_monotone) and not naive:
        raise UsageError(f"{'--soft' if soft else '--no-monotone'} needs all rollouts of every prefix: add --naive.")
