"""What a recipe's stages will cost: tokens and time, measured where there is something to measure, else assumed.

A stage that was made before in this work folder, also with other settings, is taken for its own measure. Else what
finished stages of the same kind (a command; `label --naive` is one of its own) took for a unit of work, else the
recipe's figures (`assume`, see `Figures`):

    collect   units: questions x samples            tokens a unit: solution_tokens (gold solutions: none)
    label     units: wrong samples x rollouts       tokens a unit: bisection rounds x solution_tokens / 2
    train     units: steps x batch size x accumulate       tokens a unit: question_tokens + solution_tokens
    run       units: problems x (1 + rounds x refiners' samples)      tokens a unit: solution_tokens

Wrong samples are questions x samples x wrong_share, at most `--per-question` a question; rounds are
log2(steps_per_solution + 1), up; a label with all K rollouts in each round is the most it can be. `--naive` labels
every prefix of every sample. The time is tokens by generated_tokens_per_second or trained_tokens_per_second, without
loading models and without critics. `elapsed` is what passes where several stages are made at a time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.plugin.components import Refiner
from refine_eval.plugin.options import make_options
from refine_eval.plugin.registry import registry
from refine_eval.recipes.cost import at_mean_cost, known_sum, seconds_for
from refine_eval.recipes.figures import Figures
from refine_eval.recipes.files import Stage
from refine_eval.recipes.work import WorkFolder
from refine_eval.results.records import read_traces
from refine_eval.runs.settings import RunSettings
from refine_eval.stages.folder import INFO, StageFolder, read_folder, stage_of

MEASURED, ASSUMED = "measured", "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens that are generated and trained on, and seconds; None: unknown."""

    generated: float | None = None
    trained: float | None = None
    seconds: float | None = None
    source: str = ""
    """"measured", "assumed", or nothing where all is unknown."""


def estimates(stages: Sequence[Stage], work: WorkFolder, figures: Figures, ready: Sequence[str]) -> dict[str, Cost]:
    """The cost of each of `stages`; `ready` are those whose outputs are up to date."""
    folders = {stage.name: folder for stage in stages if (folder := _folder(stage, work))}
    counts = {name: folder.counts for name, folder in folders.items()}
    measured = ((stage.name, _own(stage, work, folders.get(stage.name))) for stage in stages)
    own = {name: cost for name, cost in measured if cost is not None}
    by_name = {stage.name: stage for stage in stages}
    units = {stage.name: _units(stage, by_name, figures, counts) for stage in stages}
    found: dict[str, Cost] = {}
    for stage in stages:
        peers = [
            (own[other.name], units[other.name] or 0.0)
            for other in stages
            if _kind(other) == _kind(stage) and other.name in own and other.name in ready
        ]
        if stage.name in own:
            found[stage.name] = own[stage.name]
        elif _is_gold(stage):
            found[stage.name] = Cost(generated=0.0, trained=0.0, seconds=0.0, source=ASSUMED)
        elif sum(of for _, of in peers):
            found[stage.name] = _by_peers(units[stage.name], peers)
        else:
            found[stage.name] = _by_figures(stage, units[stage.name], figures)
    return found


def total(costs: Sequence[Cost]) -> Cost:
    """The sum of what is known; None where that is nothing."""
    return Cost(
        generated=known_sum(cost.generated for cost in costs),
        trained=known_sum(cost.trained for cost in costs),
        seconds=known_sum(cost.seconds for cost in costs),
    )


def elapsed(stages: Sequence[Stage], costs: Mapping[str, Cost], jobs: int) -> float | None:
    """Seconds until the last of `stages` is made, `jobs` at a time in the order of `making`; None if a time is unknown.

    Stages that are not among them are taken as ready. Each takes as long as it would alone.
    """
    waiting = {stage.name: (set(stage.needs), costs[stage.name].seconds) for stage in stages}
    running: list[tuple[float, str]] = []
    now = 0.0
    while waiting or running:
        for name, (needs, seconds) in list(waiting.items()):
            if seconds is None:
                return None
            if len(running) < jobs and not needs & (waiting.keys() | {other for _, other in running}):
                heapq.heappush(running, (now + seconds, name))
                del waiting[name]
        now, _ = heapq.heappop(running)
    return now


def _own(stage: Stage, work: WorkFolder, folder: StageFolder | None) -> Cost | None:
    """What the stage itself took when it was made last; None where it was not, or its output is gone."""
    made = work.made.get(stage.name)
    if made is None or not made.digest:
        return None
    seconds = made.seconds
    if stage.command == "run":
        records = [work.results / "runs" / name for name in stage.records]
        if not all((record / "traces.jsonl").is_file() for record in records):
            return None
        traces = [trace for record in records for trace in read_traces(record)]
        tokens = sum(candidate.solution.tokens for trace in traces for candidate in trace.candidates)
        return Cost(generated=tokens, trained=0.0, seconds=seconds, source=MEASURED)
    if folder is None:
        return None
    if stage.command == "train":
        counts, how = folder.counts, folder.settings
        rows = how["steps"] * how["batch_size"] * how["accumulate"]
        a_row = counts["tokens"] / max(counts["examples"] + counts["held_out"], 1)
        return Cost(generated=0.0, trained=rows * a_row, seconds=seconds, source=MEASURED)
    tokens = 0 if _is_gold(stage) else folder.counts["tokens" if stage.command == "collect" else "rollout_tokens"]
    return Cost(generated=tokens, trained=0.0, seconds=seconds, source=MEASURED)


def _folder(stage: Stage, work: WorkFolder) -> StageFolder | None:
    """The stage's output folder where it was made and holds what the stage does."""
    place, made = work.path_of(stage), work.made.get(stage.name)
    if stage.command == "run" or not made or not made.digest or not (place / INFO).is_file():
        return None
    return read_folder(place, stage_of(place))


def _units(
    stage: Stage, by_name: Mapping[str, Stage], figures: Figures, counts: Mapping[str, Mapping[str, Any]]
) -> float | None:
    """How much work a stage is, in the units of its command; None where that hangs on a figure that is missing."""
    of = stage.parsed.params
    if stage.command == "train":
        return float(of["steps"] * of["batch_size"] * of["accumulate"])
    if stage.command == "run":
        each = [
            _product(_least(settings.limit, figures.problems), 1 + _refinements(settings))
            for settings in stage.parsed.runs
        ]
        return None if None in each else sum(n for n in each if n is not None)
    if stage.command == "collect":
        return _product(_least(of["limit"], figures.questions), 1 if of["gold"] else of["samples"])
    labelled = _samples_to_label(stage, by_name, figures, counts)
    return _product(labelled, of["rollouts"])


def _refinements(settings: RunSettings) -> int:
    """Texts that refiners write for a problem: those of a round are each one's option `samples`, or one without it."""
    a_round = 0
    for name in dict.fromkeys(settings.refiners):
        kind = registry().named_component(Refiner, name)
        a_round += getattr(make_options(kind, settings.options.get((kind.kind, name), {})), "samples", 1)
    return settings.rounds * a_round


def _samples_to_label(
    stage: Stage, by_name: Mapping[str, Stage], figures: Figures, counts: Mapping[str, Mapping[str, Any]]
) -> float | None:
    """Those that need rollouts: the wrong ones; with `--naive` all."""
    source = next((by_name[need] for need in stage.needs if by_name[need].command == "collect"), None)
    if source is None:
        return None
    of, drawn = stage.parsed.params, source.parsed.params
    there = _least(drawn["limit"], figures.questions)
    share = 1.0 if of["naive"] else figures.wrong_share
    if source.name in counts:
        seen = counts[source.name]
        there, samples = seen["questions"], seen["samples"]
        share = share if of["naive"] else (samples - seen["right"]) / max(samples, 1)
    # Of each kind as many: with `--naive` right ones, too.
    most = _product(of["per_question"], 2 if of["naive"] else 1)
    a_question = _least(_product(drawn["samples"], share), most)
    return _product(_least(of["limit"], there), a_question)


def _by_peers(units: float | None, peers: Sequence[tuple[Cost, float]]) -> Cost:
    """Units at the mean cost of a unit in finished stages of the same kind."""
    done = sum(of for _, of in peers)

    def of(values: Iterable[float | None]) -> float | None:
        return at_mean_cost(known_sum(values) or 0.0, done, units)

    return Cost(
        generated=of(cost.generated for cost, _ in peers),
        trained=of(cost.trained for cost, _ in peers),
        seconds=of(cost.seconds for cost, _ in peers),
        source=MEASURED if units is not None else "",
    )


def _by_figures(stage: Stage, units: float | None, figures: Figures) -> Cost:
    """Units at the cost that the recipe assumes."""
    a_unit: float | None = figures.solution_tokens
    rate = figures.generated_tokens_per_second
    if stage.command == "label":
        steps = figures.steps_per_solution
        rounds = None if steps is None else steps if stage.parsed.params["naive"] else math.ceil(math.log2(steps + 1))
        a_unit = _product(rounds, figures.solution_tokens, 0.5)
    elif stage.command == "train":
        known = figures.question_tokens is not None and figures.solution_tokens is not None
        a_unit = (figures.question_tokens or 0) + (figures.solution_tokens or 0) if known else None
        rate = figures.trained_tokens_per_second
    tokens = _product(units, a_unit)
    seconds = seconds_for(tokens, rate)
    source = "" if tokens is None else ASSUMED
    if stage.command == "train":
        return Cost(generated=0.0, trained=tokens, seconds=seconds, source=source)
    return Cost(generated=tokens, trained=0.0, seconds=seconds, source=source)


def _kind(stage: Stage) -> tuple[str, Any, bool]:
    """What stages of like cost a unit have in common: gold solutions cost nothing, `--naive` labels many times more."""
    return stage.command, stage.parsed.params.get("naive"), _is_gold(stage)


def _is_gold(stage: Stage) -> bool:
    return stage.command == "collect" and bool(stage.parsed.params["gold"])


def _product(*factors: float | None) -> float | None:
    """None where a factor is unknown."""
    return None if None in factors else math.prod(factor for factor in factors if factor is not None)


def _least(*of: float | None) -> float | None:
    """The least of those that are known."""
    return min((value for value in of if value is not None), default=None)
