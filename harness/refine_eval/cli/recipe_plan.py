"""What a recipe's dry run shows: the state of its stages, and what they will cost."""

from __future__ import annotations

import click

from refine_eval.recipes.estimates import Cost, elapsed, estimates, total
from refine_eval.recipes.files import Recipe, Stage
from refine_eval.recipes.work import READY, WorkFolder
from refine_eval.terminal import print_listing


def show_plan(found: Recipe, stages: tuple[Stage, ...], work: WorkFolder, jobs: int) -> None:
    digests = work.digests(stages)
    states: dict[str, str] = {}
    for stage in stages:
        to_make = [name for name, state in states.items() if state != READY]
        states[stage.name] = work.state(stage, digests, to_make)
    if note := work.kept(stages, states):
        click.echo(note, err=True)
    ready = [name for name, state in states.items() if state == READY]
    costs = estimates(stages, work, found.figures, ready)
    rows = [
        [stage.name, states[stage.name], " ".join(stage.do), *_cells(costs[stage.name]), costs[stage.name].source]
        for stage in stages
    ]
    unmade = [stage for stage in stages if stage.name not in ready]
    left = [costs[stage.name] for stage in unmade]
    more = any(None in (cost.generated, cost.trained, cost.seconds) for cost in left)
    rows.append(
        ["still to make", f"{len(left)} stages", "", *_cells(total(left)), "without the unknown" if more else ""]
    )
    if jobs > 1 and (seconds := elapsed(unmade, costs, jobs)):
        rows.append([f"{jobs} at a time", "", "", "", "", duration(seconds), ""])
    print_listing(["stage", "state", "does", "tokens written", "tokens trained", "time", "cost is"], rows)


def _cells(cost: Cost) -> list[str]:
    tokens = ["?" if count is None else f"{count:,.0f}" for count in (cost.generated, cost.trained)]
    return [*tokens, "?" if cost.seconds is None else duration(cost.seconds)]


def duration(seconds: float) -> str:
    """Seconds as people say them: 12 s, 3.5 min, 2.1 h."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
