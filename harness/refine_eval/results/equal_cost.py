"""A run's rows beside best-of-N and votes of its stored samples at the same cost, and which rows are on the frontier.

A row costs as much as N samples: N = the row's cost / a sample's, seldom a whole number. What N samples are worth lies
on the line between the whole numbers beside it, each counted as `statistics.curves` does: one may draw the one or the
other number at random. What costs less than one sample or more than all has nothing beside it. Several seeds are
pooled, each with its own N; intervals and leads are over problems and seeds (`statistics.intervals`).

A sample costs its written tokens and, for ways that read scores, the critics' in proportion. Traces have no FLOPs, so a
sample's come from the table: the first reads the draft's prompt, and what the refiner's own row has beyond both is the
critics'; what a choice among all candidates has beyond all that is the further samples', which an engine may write
without reading the prompt again. FLOPs are not compared where the rows do not tell so much.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from refine_eval.data import DRAFT, Trace
from refine_eval.errors import RunError
from refine_eval.results.accounts import check_seeds
from refine_eval.results.compared import points
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord
from refine_eval.results.sampled import Sampled
from refine_eval.results.table import UPPER_BOUND, counted, footnotes, label
from refine_eval.statistics.comparison import compare
from refine_eval.statistics.curves import READING_SCORES, WAYS, Way, curve, curve_cases
from refine_eval.statistics.intervals import Cases, Estimate, rate
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
    """N samples that cost as much as a row and their accuracy in [0, 1], means over seeds; the row's lead over them.

    None where N is below one or above all samples in some seed. The lead is paired over problems and seeds, with N as
    it is.
    """

    n: float
    accuracy: float | None
    lead: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualRow:
    """A row of the run's table with its 95 % interval, what it costs a problem, and what stands beside it by way.

    `on_frontier`: no other row, and nothing beside it, is as good for as much or less, and better in one of the two.
    What is no method (`Row.is_method`) is not on the frontier, and keeps nothing off it.
    """

    answer: str
    is_method: bool
    accuracy: float
    low: float
    high: float
    cost: float
    beside: Mapping[Way, Beside]
    on_frontier: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualCost:
    """All rows at equal cost in each unit that the records know; `gold` are the ways that see gold answers.

    `samples` of each problem are stored, of `source`: "draft", or a refiner. `missing` says of each way that has
    nothing beside any row why, `marks` what marks of the rows mean.
    """

    runs: tuple[str, ...]
    task: str
    filter: str
    problems: str
    source: str
    samples: int
    gold: tuple[Way, ...]
    missing: Mapping[Way, str]
    marks: tuple[str, ...]
    units: Mapping[Unit, tuple[EqualRow, ...]]


class _Samples:
    """The samples of a seed's record, and what N of them are worth and cost."""

    def __init__(self, seed: Sampled, source: str) -> None:
        record, traces = self.record, self.traces = seed.record, seed.traces
        main = record.filter
        self.sets = draft_samples(traces, main) if source == DRAFT else refiner_samples(traces, source, main)
        if not self.sets:
            raise RunError(
                f"The run {record.name} has no two samples of {source} for every problem to set beside its rows: make "
                f"it again with --refiner resample --resample-samples N and without --refine-below, or name with "
                f"--samples-of another refiner that draws afresh."
            )
        self.source = source
        self.missing = _missing(record, traces, source, seed.has_answers)
        self.count = min(len(each) for sets in self.sets.values() for each in sets)
        self._known: dict[tuple[Way, int], Cases] = {}

    def costs(self, ways: Sequence[Way]) -> dict[Unit, Mapping[Way, _Cost]]:
        """What samples cost by unit and way; nothing in FLOPs that the rows do not tell."""
        written = {way: curve(self.sets, way, [1])[0].tokens for way in ways}
        if ways and not min(written.values()) > 0:
            raise RunError(
                f"The samples of {self.source} in the run {self.record.name} have no tokens, so nothing costs as much."
            )
        flops = _flops(self.record.rows, self.traces, self.source, self.count, ways)
        return {"tokens": {way: _Cost(each, each) for way, each in written.items()}, "FLOPs": flops}

    def worth(self, way: Way, n: float) -> Cases | None:
        """What N samples answer rightly, problem by problem; None below one and above all."""
        if not 1 - _ROUNDING <= n <= self.count * (1 + _ROUNDING):
            return None
        below = min(max(1, math.floor(n + _ROUNDING)), self.count)
        above = min(below + 1, self.count)
        part = min(max(0.0, n - below), 1.0)
        one = self._cases(way, below)
        if not part:
            return one
        other = self._cases(way, above)
        return {p: ((1 - part) * share + part * other[p][0], 1.0) for p, (share, _) in one.items()}

    def _cases(self, way: Way, k: int) -> Cases:
        if (way, k) not in self._known:
            self._known[way, k] = curve_cases(self.sets, way, k)
        return self._known[way, k]


def equal_cost(seeds: Sequence[Sampled], source: str, drawn: Sequence[Sampled] = ()) -> EqualCost:
    """The rows of the seeds' records beside the samples of `source`: "draft", or a refiner such as resample.

    The samples are those of the same records, or of `drawn`, one for each seed, with the same student and problems.
    Answers are equal as their texts are. RunError where some problem has no two samples, no tokens were counted, the
    records are not seeds of one strategy over the same problems, or the samples not over these or of another student.
    """
    check_seeds([seed.record for seed in seeds])
    if drawn:
        _check_drawn(seeds, drawn)
    sampled = [_Samples(seed, source) for seed in drawn or seeds]
    first = seeds[0].record
    missing = {way: why for each in reversed(sampled) for way, why in each.missing.items()}
    ways = [way for way in WAYS if way != "pass" and way not in missing]
    gold = tuple(way for way in ways if any(_sees_gold(each.record, source, way) for each in sampled))
    tables = _shared_rows([seed.record for seed in seeds])
    costs = [each.costs(ways) for each in sampled]
    units: dict[Unit, tuple[EqualRow, ...]] = {}
    for unit in get_args(Unit):
        of_unit = [each[unit] for each in costs]
        known = [rows for rows in tables if all(_cost(row, unit) is not None for row in rows)]
        if known and (unit == "tokens" or all(of_unit)):
            units[unit] = tuple(_rows(seeds, sampled, known, unit, of_unit, gold))
    marked = [*first.rows, *([replace(first.rows[0], needs_gold=True)] if gold else [])]
    return EqualCost(
        runs=tuple(seed.record.name for seed in seeds),
        task=_task(first),
        filter=first.filter,
        problems=counted(first.rows[0]) + (f", {len(seeds)} seeds" if len(seeds) > 1 else ""),
        source=source,
        samples=min(each.count for each in sampled),
        gold=gold,
        missing=missing,
        marks=tuple(footnotes(marked)),
        units=units,
    )


def _check_drawn(seeds: Sequence[Sampled], drawn: Sequence[Sampled]) -> None:
    if len(drawn) != len(seeds):
        raise RunError(f"There are {len(seeds)} runs and {len(drawn)} with samples: name one for each.")
    for seed, other in zip(seeds, drawn, strict=True):
        for what, found in (("filter", _filter), ("task", _task), ("student", _student)):
            if found(seed.record) != found(other.record):
                raise RunError(
                    f"{seed.record.name} and {other.record.name} differ in their {what} ({found(seed.record)} and "
                    f"{found(other.record)}), so the samples of one say nothing of the other."
                )


def _filter(record: RunRecord) -> str:
    return record.filter


def _task(record: RunRecord) -> str:
    return str(record.settings["task"]["name"])


def _student(record: RunRecord) -> str:
    model = record.settings["model"]
    return str(model.get("identity", model["name"]))


def _cost(row: Row, unit: Unit) -> float | None:
    return row.tokens if unit == "tokens" else row.flops


def _shared_rows(records: Sequence[RunRecord]) -> list[tuple[Row, ...]]:
    """The rows that all seeds have, each with its like in the others."""
    tables = [{(row.kind, row.name): row for row in record.rows} for record in records]
    return [tuple(table[key] for table in tables) for key in tables[0] if all(key in table for table in tables)]


def _missing(record: RunRecord, traces: Sequence[Trace], source: str, has_answers: bool) -> dict[Way, str]:
    drawn = ((t, c) for t in traces for c in t.candidates if source in (c.origin, c.component))
    scored = any("choose" in trace.critiques.get(candidate.id, {}) for trace, candidate in drawn)
    unscored: dict[Way, str] = {} if scored else dict.fromkeys(READING_SCORES, "no critic scored the samples")
    if record.shared_texts:
        why = f"critic {record.shared_texts[0]!r} scored a sample by the others, and so would score N of them otherwise"
        unscored = dict.fromkeys(READING_SCORES, why)
    votes: dict[Way, str] = (
        {} if has_answers else dict.fromkeys(_VOTES, "the record keeps no answers, so they cannot be compared")
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


def _rows(
    seeds: Sequence[Sampled],
    sampled: Sequence[_Samples],
    known: Sequence[tuple[Row, ...]],
    unit: Unit,
    costs: Sequence[Mapping[Way, _Cost]],
    gold: Sequence[Way],
) -> Iterator[EqualRow]:
    found = [_row(seeds, sampled, rows, unit, costs) for rows in known]
    methods = [(row.cost, row.accuracy) for row in found if row.is_method]
    for row in found:
        votes = [(row.cost, b.accuracy) for way, b in row.beside.items() if b.accuracy is not None and way not in gold]
        better = any(
            other <= row.cost and right >= row.accuracy and (other < row.cost or right > row.accuracy + _ROUNDING)
            for other, right in (*methods, *votes)
        )
        yield replace(row, on_frontier=row.is_method and not better)


def _row(
    seeds: Sequence[Sampled],
    sampled: Sequence[_Samples],
    rows: Sequence[Row],
    unit: Unit,
    costs: Sequence[Mapping[Way, _Cost]],
) -> EqualRow:
    right = [seed.right(row) for seed, row in zip(seeds, rows, strict=True)]
    share = rate(right)
    assert share is not None, "each problem has an answer"
    paid = [_cost(row, unit) or 0.0 for row in rows]
    one = len(right[0]) == 1 and 0 < share.value < 1  # whose drafts say nothing of other problems
    return EqualRow(
        answer=label(rows[0]),
        is_method=all(row.is_method for row in rows),
        accuracy=share.value,
        low=0.0 if one else share.low,
        high=1.0 if one else share.high,
        cost=sum(paid) / len(paid),
        beside={
            way: _beside(sampled, way, [each[way].samples(cost) for each, cost in zip(costs, paid, strict=True)], right)
            for way in costs[0]
        },
        on_frontier=False,
    )


def _beside(sampled: Sequence[_Samples], way: Way, ns: Sequence[float], right: Sequence[Cases]) -> Beside:
    worth = [each.worth(way, n) for each, n in zip(sampled, ns, strict=True)]
    cases = [each for each in worth if each is not None]
    n = sum(ns) / len(ns)
    if len(cases) < len(worth):
        return Beside(n=n, accuracy=None, lead=None)
    found = compare(list(zip(right, cases, strict=True)), "A run and its samples")
    lead = found.estimate
    if lead.problems < 2:
        lead = replace(lead, low=-1.0, high=1.0)
    return Beside(n=n, accuracy=found.second, lead=lead)


def title(found: EqualCost) -> str:
    """What the tables are of."""
    beside = "drafts" if found.source == DRAFT else f"samples of {found.source}"
    of = f"{', '.join(found.runs)}: {found.task}, {found.problems}, right by {found.filter}"
    return one_line(f"{of}, beside N of {found.samples:,} {beside} at the same cost: accuracy in % (N)")


def tables(found: EqualCost) -> list[tuple[list[str], list[list[str]]]]:
    """For each unit the heads of a table and its cells, a line a row."""
    return [
        (
            [
                *("answer", "right %", "95 % interval", unit, "frontier"),
                *(head for way in rows[0].beside for head in (_head(way, found.gold), "lead over it")),
            ],
            [
                [
                    row.answer,
                    f"{100 * row.accuracy:.1f}",
                    f"{100 * row.low:.1f}–{100 * row.high:.1f}",
                    f"{row.cost:.1f}" if unit == "tokens" else f"{row.cost:.2e}",
                    "yes" if row.on_frontier else "",
                    *(cell for beside in row.beside.values() for cell in (_cell(beside), _lead(beside.lead))),
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
    return [*lines, *found.marks]


def _head(way: Way, gold: Sequence[Way] = ()) -> str:
    name = "best-of-N" if way == "best-of" else f"{way}@N"
    return f"{name} {UPPER_BOUND}" if way in gold else name


def _cell(beside: Beside) -> str:
    return f"{'–' if beside.accuracy is None else f'{100 * beside.accuracy:.1f}'} ({beside.n:.2f})"


def _lead(lead: Estimate | None) -> str:
    return "" if lead is None else f"{points(lead.value)} ({points(lead.low)} to {points(lead.high)})"
