"""A run's rows beside best-of-N and votes of its stored samples at the same cost, and which rows are on the frontier.

A row costs as much as N samples: N = the row's cost / a sample's, seldom a whole number. What N samples are worth lies
on the line between the whole numbers beside it, each counted as `statistics.curves` does: one may draw the one or the
other number at random. What costs less than one sample or more than all has nothing beside it.

A sample costs its written tokens and, for ways that read scores, the critics' in proportion. Traces have no FLOPs, so a
sample's come from the table: the first reads the draft's prompt, and what the refiner's own row has beyond both is the
critics'; what a choice among all candidates has beyond all that is the further samples', which an engine may write
without reading the prompt again. FLOPs are not compared where the rows do not tell so much.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from refine_eval.data import DRAFT, Trace
from refine_eval.errors import RunError
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord
from refine_eval.results.table import FOOTNOTES, UPPER_BOUND, counted, label
from refine_eval.statistics.curves import READING_SCORES, WAYS, Way, curve
from refine_eval.statistics.samples import draft_samples, refiner_samples
from refine_eval.terminal import one_line

Unit = Literal["tokens", "FLOPs"]
_VOTES: tuple[Way, ...] = ("maj", "weighted-maj")
_ROUNDING = 1e-9


class _Cost(NamedTuple):
    """What the first sample of a problem costs, and each further one."""

    first: float
    further: float

    def samples(self, cost: float) -> float:
        """How many samples so much pays for."""
        return cost / self.first if cost < self.first else 1 + (cost - self.first) / self.further


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """N samples that cost as much as a row, and their accuracy in [0, 1]: None below one sample and above all."""

    n: float
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualRow:
    """A row of the run's table, what it costs a problem, and what stands beside it by way.

    `on_frontier`: no other row, and nothing beside it, is as good for as much or less, and better in one of the two.
    What sees gold answers is not on the frontier, and keeps nothing off it.
    """

    answer: str
    needs_gold: bool
    accuracy: float
    cost: float
    beside: Mapping[Way, Beside]
    on_frontier: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualCost:
    """All rows at equal cost in each unit that the record knows; `gold` are the ways that see gold answers.

    `samples` of each problem are stored, of `source`: "draft", or a refiner. `missing` says of each way that has
    nothing beside any row why.
    """

    run: str
    task: str
    filter: str
    problems: str
    source: str
    samples: int
    gold: tuple[Way, ...]
    missing: Mapping[Way, str]
    units: Mapping[Unit, tuple[EqualRow, ...]]


def equal_cost(record: RunRecord, traces: Sequence[Trace], source: str, has_texts: bool) -> EqualCost:
    """The record's rows beside the samples of `source`: "draft", or a refiner that draws afresh, such as resample.

    Answers are equal as their texts are; without texts (`has_texts`) there are no votes. RunError where some problem
    has no two samples, or no tokens were counted.
    """
    found = draft_samples(traces, record.filter) if source == DRAFT else refiner_samples(traces, source, record.filter)
    if not found:
        raise RunError(
            f"The run {record.name} has no two samples of {source} for every problem to set beside its rows: make it "
            f"again with --refiner resample --resample-samples N and without --refine-below, or name with --samples-of "
            f"another refiner that draws afresh."
        )
    missing = _missing(traces, source, has_texts)
    ways = [way for way in WAYS if way != "pass" and way not in missing]
    gold = tuple(way for way in ways if _sees_gold(record, source, way))
    samples = min(len(each) for sets in found.values() for each in sets)

    @functools.cache
    def accuracy(way: Way, k: int) -> float:
        return curve(found, way, [k])[0].accuracy

    written: dict[Way, float] = {way: curve(found, way, [1])[0].tokens for way in ways}
    if ways and not min(written.values()) > 0:
        raise RunError(f"The samples of {source} in the run {record.name} have no tokens, so nothing costs as much.")
    units: dict[Unit, tuple[EqualRow, ...]] = {}
    costs: list[tuple[Unit, Callable[[Row], float | None], Mapping[Way, _Cost]]] = [
        ("tokens", lambda row: row.tokens, {way: _Cost(each, each) for way, each in written.items()}),
        ("FLOPs", lambda row: row.flops, _flops(record.rows, traces, source, samples, ways)),
    ]
    for unit, cost_of, each in costs:
        known = [(row, cost) for row in record.rows if (cost := cost_of(row)) is not None]
        if known and (each or unit == "tokens"):
            beside = [{w: _beside(each[w].samples(cost), samples, w, accuracy) for w in each} for _, cost in known]
            units[unit] = tuple(_rows(known, beside, record.filter, gold))
    return EqualCost(
        run=record.name,
        task=str(record.settings["task"]["name"]),
        filter=record.filter,
        problems=counted(record.rows[0]),
        source=source,
        samples=samples,
        gold=gold,
        missing=missing,
        units=units,
    )


def _missing(traces: Sequence[Trace], source: str, has_texts: bool) -> dict[Way, str]:
    drawn = ((t, c) for t in traces for c in t.candidates if source in (c.origin, c.component))
    scored = any("choose" in trace.critiques.get(candidate.id, {}) for trace, candidate in drawn)
    unscored: dict[Way, str] = {} if scored else dict.fromkeys(READING_SCORES, "no critic scored the samples")
    votes: dict[Way, str] = (
        {} if has_texts else dict.fromkeys(_VOTES, "the record keeps no texts, so answers cannot be compared")
    )
    return unscored | votes


def _sees_gold(record: RunRecord, source: str, way: Way) -> bool:
    """As the record's curves say; an older record without them marks all refiners where a critic sees gold."""
    told = [each.needs_gold for each in record.curves if (each.source, each.way) == (source, way)]
    return (
        any(told)
        if told
        else any(row.needs_gold for row in record.rows if row.kind == "refiner" and source in (DRAFT, row.name))
    )


def _flops(
    rows: Sequence[Row], traces: Sequence[Trace], source: str, samples: int, ways: Sequence[Way]
) -> dict[Way, _Cost]:
    """FLOPs of samples; nothing where the rows do not tell them."""
    draft, by_refiner = rows[0], {row.name: row for row in rows if row.kind == "refiner"}
    written = [sum(c.solution.tokens for c in t.candidates) + t.critic_tokens for t in traces]
    everything = sum(written) / len(traces)
    full = next((r for r in rows if r.kind == "selector" and abs(r.tokens - everything) < _ROUNDING * everything), None)
    drawn = [Counter(c.component for c in t.candidates if c.origin != DRAFT) for t in traces]
    alike = all(n == (samples if name == source else 1) for of in drawn for name, n in of.items())
    needed = [draft.flops, *(row.flops for row in by_refiner.values()), full.flops if full else None]
    if source not in by_refiner or not alike or None in needed or not draft.flops or draft.read_tokens is None:
        return {}
    of_draft, *alone, of_all = (flops or 0.0 for flops in needed)
    own = by_refiner[source].tokens - draft.tokens - sum(t.critic_tokens for t in traces) / len(traces)
    first = of_draft * (draft.read_tokens + own) / (draft.read_tokens + draft.tokens)
    critics = (by_refiner[source].flops or 0.0) - of_draft - first
    firsts = sum(each - of_draft - critics for each in alone)
    further = (of_all - of_draft - critics - firsts) / (samples - 1)
    # Less than nothing is left for critics where the engine had read the first sample's prompt before.
    if critics < -_ROUNDING * of_all or further <= _ROUNDING * of_all:
        return {}
    scoring = {way: max(0.0, critics) / samples if way in READING_SCORES else 0.0 for way in ways}
    return {way: _Cost(first + each, further + each) for way, each in scoring.items()}


def _beside(n: float, samples: int, way: Way, accuracy: Callable[[Way, int], float]) -> Beside:
    if not 1 - _ROUNDING <= n <= samples * (1 + _ROUNDING):
        return Beside(n=n, accuracy=None)
    below = min(max(1, math.floor(n + _ROUNDING)), samples)
    above = min(below + 1, samples)
    part = min(max(0.0, n - below), 1.0)
    return Beside(n=n, accuracy=(1 - part) * accuracy(way, below) + (part and part * accuracy(way, above)))


def _rows(
    known: Sequence[tuple[Row, float]], beside: Sequence[Mapping[Way, Beside]], main: str, gold: Sequence[Way]
) -> Iterator[EqualRow]:
    methods = [(cost, row.accuracy(main)) for row, cost in known if not row.needs_gold]
    for (row, cost), of_row in zip(known, beside, strict=True):
        own = row.accuracy(main)
        votes = [(cost, b.accuracy) for way, b in of_row.items() if b.accuracy is not None and way not in gold]
        better = any(
            other <= cost and right >= own and (other < cost or right > own + _ROUNDING)
            for other, right in (*methods, *votes)
        )
        yield EqualRow(
            answer=label(row),
            needs_gold=row.needs_gold,
            accuracy=own,
            cost=cost,
            beside=of_row,
            on_frontier=not row.needs_gold and not better,
        )


def title(found: EqualCost) -> str:
    """What the tables are of."""
    beside = "drafts" if found.source == DRAFT else f"samples of {found.source}"
    of = f"{found.run}: {found.task}, {found.problems}, right by {found.filter}"
    return one_line(f"{of}, beside N of {found.samples:,} {beside} at the same cost: accuracy in % (N)")


def tables(found: EqualCost) -> list[tuple[list[str], list[list[str]]]]:
    """For each unit the heads of a table and its cells, a line a row."""
    return [
        (
            ["answer", "right %", unit, "frontier", *(_head(way, found.gold) for way in rows[0].beside)],
            [
                [
                    row.answer,
                    f"{100 * row.accuracy:.1f}",
                    f"{row.cost:.1f}" if unit == "tokens" else f"{row.cost:.2e}",
                    "yes" if row.on_frontier else "",
                    *map(_cell, row.beside.values()),
                ]
                for row in rows
            ],
        )
        for unit, rows in found.units.items()
    ]


def notes(found: EqualCost) -> list[str]:
    """What stands below the tables."""
    rows = [row for of_unit in found.units.values() for row in of_unit]
    without = [beside.n for row in rows for beside in row.beside.values() if beside.accuracy is None]
    lines = ["– (N below 1): cheaper than one sample"] if any(n < 1 for n in without) else []
    if any(n > 1 for n in without):
        lines.append(f"– (N above {found.samples:,}): the stored samples do not reach so far")
    lines += [f"no {_head(way)}: {why}" for way, why in found.missing.items()]
    return [*lines, *([FOOTNOTES[UPPER_BOUND]] if found.gold or any(row.needs_gold for row in rows) else [])]


def _head(way: Way, gold: Sequence[Way] = ()) -> str:
    name = "best-of-N" if way == "best-of" else f"{way}@N"
    return f"{name} {UPPER_BOUND}" if way in gold else name


def _cell(beside: Beside) -> str:
    return f"{'–' if beside.accuracy is None else f'{100 * beside.accuracy:.1f}'} ({beside.n:.2f})"
