"""`refine-eval collect`: samples of the student on training questions, graded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from refine_eval.cli.session_options import engine_options, out_option, quiet_option, task_options
from refine_eval.errors import UsageError
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import registry
from refine_eval.runs.assembly import make_student
from refine_eval.runs.session import session
from refine_eval.runs.settings import SessionSettings
from refine_eval.terminal import Progress


@click.command()
@click.option("--task", default="apples", show_default=True, help="Task name. See: refine-eval tasks list")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="train", show_default=True)
@click.option("--limit", "-L", type=click.IntRange(min=1), help="Only the first N questions.")
@click.option("--samples", type=click.IntRange(min=1), default=8, show_default=True, help="Samples a question.")
@click.option("--gold", is_flag=True, help="The task's own solutions of its training questions instead of samples.")
@click.option(
    "--temperature", type=click.FloatRange(0, min_open=True), default=0.7, show_default=True, help="Of the samples."
)
@out_option
@task_options
@engine_options
@quiet_option
def collect(
    task: str,
    split: str,
    limit: int | None,
    samples: int,
    gold: bool,
    temperature: float,
    out: Path,
    model_args: str,
    quiet: bool,
    **rest: Any,
) -> None:
    """Draws samples a question from the student and grades them: data for expert iteration, critics and refiners.

    Everything generated is stored: interrupted, the same command goes on where it stopped.

    \b
        refine-eval collect --limit 500 --samples 4 --out work/samples
    """
    from refine_eval.stages.collect import collect as draw
    from refine_eval.stages.collect import gold_sample
    from refine_eval.stages.folder import check_place, write_folder
    from refine_eval.stages.rows import SAMPLES, samples_to_json

    check_place(out, "collect")
    if gold:
        check_gold_split(split)
        samples, temperature = 1, 0.0
    settings = SessionSettings(task=task, model_options=parse_pairs(model_args), **rest)
    progress = Progress(quiet)
    student = make_student(settings, registry(), progress)
    with session(settings, student, registry(), progress) as (lm_task, runtime):
        problems = lm_task.questions(split, limit)
        if gold:
            rows = [gold_sample(lm_task, problem) for problem in problems]
            identity = None
        else:
            rows = list(draw(runtime, lm_task, problems, samples=samples, temperature=temperature))
            identity = runtime.student_identity()
        answer_filter = lm_task.filter
    right = [sum(sample.correct for sample in row.samples) for row in rows]
    folder = write_folder(
        out,
        stage="collect",
        settings={
            "task": task,
            "split": split,
            "limit": limit,
            "num_fewshot": settings.num_fewshot,
            "max_gen_toks": settings.max_gen_toks,
            "filter": answer_filter,
            "samples": samples,
            "temperature": temperature,
            "seed": settings.seed,
            "student": identity,
        },
        inputs={},
        counts={
            "questions": len(rows),
            "samples": samples * len(rows),
            "right": sum(right),
            "questions_never_right": right.count(0),
            "questions_always_right": right.count(samples),
            "tokens": sum(sample.tokens for row in rows for sample in row.samples),
            "generated_now": runtime.generated,
        },
        rows={SAMPLES: map(samples_to_json, rows)},
    )
    counts = folder.counts
    click.echo(
        f"{counts['samples']:,} samples of {counts['questions']:,} questions, "
        f"{100 * counts['right'] / max(counts['samples'], 1):.1f} % right; {counts['questions_never_right']:,} "
        f"questions never, {counts['questions_always_right']:,} always; {counts['tokens']:,} tokens: {out}"
    )


def check_gold_split(split: str) -> None:
    """UsageError for gold solutions that are not to be trained on."""
    if split == "test":
        raise UsageError("Gold solutions of test questions are not to be trained on; name --split train.")
