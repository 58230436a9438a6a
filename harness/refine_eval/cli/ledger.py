"""`refine-eval ledger`: where a run wins and loses answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refine_eval.cli.session_options import results_option

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
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the curves of gate and calibration.")
def ledger(runs: tuple[str, ...], exact_places: str | None, labels: Path | None, results: Path, as_json: bool) -> None:
    """Shows where answers are won and lost between draft and final answer: when, where, how and by which choice.

    RUN is a run record's folder, or its name in RESULTS; several are seeds of one strategy, taken together. All from
    the records: nothing is generated or scored.
    """
    from refine_eval.results import decisions_shown as shown
    from refine_eval.results.accounts import ledger as account
    from refine_eval.results.accounts import read_seed

    seeds = [_with_steps(read_seed(run, results, labels)) for run in runs]
    exact = [read_seed(name.strip(), results) for name in exact_places.split(",")] if exact_places else []
    found = account(seeds, exact)
    if as_json:
        click.echo(json.dumps(shown.as_json(found), indent=2))
    elif sys.stdout.isatty():
        shown.print_rich(found)
    else:
        click.echo(shown.plain(found))


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
