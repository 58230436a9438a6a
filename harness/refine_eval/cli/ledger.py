"""`refine-eval ledger`: where a run wins and loses answers."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refine_eval.cli.session_options import results_option
from refine_eval.errors import UsageError

if TYPE_CHECKING:
    from refine_eval.results.decisions import Seed


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--exact-places", metavar="RUN[,RUN...]", help="The runs of the same refiners that are told the exact places."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help='The drafts\' first wrong steps: lines {"problem": ID, "first_bad": N or null}, N from 0.',
)
@click.option(
    "--equal-cost",
    is_flag=True,
    help="Instead, every row beside best-of-N and votes of its samples at the same cost.",
)
@click.option(
    "--samples-of",
    metavar="[RUN[,RUN...]:]NAME",
    help='With --equal-cost: the refiner that drew the samples, or "draft", here or in other runs, one for each RUN.  '
    "[default: resample]",
)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the curves of gate and calibration.")
def ledger(
    runs: tuple[str, ...],
    exact_places: str | None,
    labels: Path | None,
    equal_cost: bool,
    samples_of: str | None,
    results: Path,
    as_json: bool,
) -> None:
    """Shows where answers are won and lost between draft and final answer: when, where, how and by which choice.

    RUN is a run record's folder, or its name in RESULTS; several are seeds of one strategy, taken together. All from
    the records: nothing is generated or scored.
    """
    from refine_eval.results import decisions_shown as shown
    from refine_eval.results.accounts import ledger as account
    from refine_eval.results.accounts import read_seed

    if equal_cost:
        if exact_places or labels:
            raise UsageError("--equal-cost goes without --exact-places and --labels.")
        drawn, _, source = (samples_of or "resample").rpartition(":")
        _print_equal_cost(runs, source, drawn.split(",") if drawn else (), results, as_json)
        return
    if samples_of:
        raise UsageError("--samples-of says whose samples --equal-cost uses: give --equal-cost, too.")
    seeds = [_with_steps(read_seed(run, results, labels)) for run in runs]
    exact = [read_seed(name.strip(), results) for name in exact_places.split(",")] if exact_places else []
    found = account(seeds, exact)
    if as_json:
        click.echo(json.dumps(shown.as_json(found), indent=2))
    elif sys.stdout.isatty():
        shown.print_rich(found)
    else:
        click.echo(shown.plain(found))


def _print_equal_cost(runs: Sequence[str], source: str, drawn: Sequence[str], results: Path, as_json: bool) -> None:
    from refine_eval.results import equal_cost as equal
    from refine_eval.results.records import find_run
    from refine_eval.results.sampled import read_sampled
    from refine_eval.terminal import print_listing

    seeds, samples = ([read_sampled(find_run(run.strip(), results)) for run in of] for of in (runs, drawn))
    found = equal.equal_cost(seeds, source, samples)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    click.echo(equal.title(found))
    for head, cells in equal.tables(found):
        print_listing(head, cells)
    for note in equal.notes(found):
        click.echo(note)


def _with_steps(seed: Seed) -> Seed:
    """A run's own record says nothing of wrong steps: they are worked out where the task can tell, as on publishing."""
    from refine_eval.plugin.registry import registry
    from refine_eval.results.decisions import Seed
    from refine_eval.results.published import Outcomes
    from refine_eval.tasks.truth import first_bad_steps, knows_steps

    task = str(seed.record.settings["task"]["name"])
    if seed.outcomes.first_bad is not None or not seed.has_texts or not knows_steps(task, registry().benchmarks()):
        return seed
    return Seed(seed.record, Outcomes(seed.traces, first_bad_steps(task, registry().benchmarks(), seed.traces)))
