"""Who gained and who lost answers at each stage: the rows of every table, and their statistics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from refine_eval.costs import Cost
from refine_eval.data import DRAFT, Candidate, Trace
from refine_eval.statistics.intervals import Cases, mean_bounds, mean_change

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to answer every problem, and how good it is.

    `correct` counts right answers under each filter of the task; `gained` and `lost` count, under the run's
    filter, drafts that were wrong and are right now, and the other way round; `p_value` is of the exact McNemar
    test against the draft; `low` and `high` bound the accuracy (95 %, Wilson); `tokens` are generated tokens a
    problem and `seconds` the models' seconds for all problems, both with everything that the row needs
    (draft, refinements, critics), whoever generated it and when. So are `read_tokens`, of prompts and of what critics
    read, and `flops`, both a problem, None where they are not known. `cut_off` counts answers that hit the length
    limit, None where an older record does not say. `needs_gold`: an upper bound, not a method. `tuned`: a threshold was
    chosen by the right answers to these very problems.

    With several `drafts` of each problem counts are of all drafts, and tokens and FLOPs of one; the interval and the
    p-value then are those of the problems' means (`statistics.intervals`).
    """

    name: str
    kind: str
    problems: int
    correct: Mapping[str, int]
    low: float
    high: float
    gained: int
    lost: int
    p_value: float
    tokens: float
    seconds: float
    cut_off: int | None = None
    read_tokens: float | None = None
    flops: float | None = None
    needs_gold: bool = False
    drafts: int = 1
    tuned: bool = False

    @property
    def answers(self) -> int:
        """How many answers are counted: one to each problem, or to each of its drafts."""
        return self.problems * self.drafts

    @property
    def is_method(self) -> bool:
        """Whether its accuracy is what it says: not of an upper bound, nor tuned on the problems it is of."""
        return not (self.needs_gold or self.tuned)

    def accuracy(self, filter_name: str) -> float:
        """Share of right answers under a filter, in [0, 1]."""
        return self.correct[filter_name] / self.answers

    def answer(self, trace: Trace) -> Candidate:
        """What this way answers to one problem of the run."""
        if self.kind == "refiner":
            return trace.alone(self.name)
        if self.kind == ROUND:
            return trace.candidate(trace.rounds[int(self.name.removeprefix(f"{ROUND} ")) - 1])
        return trace.draft if self.kind == "draft" else trace.candidate(trace.selected[self.name])


ROUND = "round"
"""The kind of the rows that say what was chosen after each of several rounds, called "round 1", "round 2"."""

CHOSEN = "chosen"
"""What the run's choice, its first selector's row, is called beside "draft" and the components' names."""


def row_named(table: Sequence[Row], name: str) -> Row:
    """The row of a table that is "draft", "chosen", or a refiner's or selector's; KeyError where there is none."""
    for row in table:
        if row.name == name or (name == CHOSEN and row.kind == "selector"):
            return row
    raise KeyError(name)


def total(values: Iterable[N | None]) -> N | None:
    """The sum; None where a value is not known."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def rows(
    traces: Sequence[Trace],
    filter_name: str,
    gold: Collection[str] = (),
    decides_on_draft_alone: Collection[str] = (),
    sees_group: Collection[str] = (),
) -> list[Row]:
    """The draft, each refiner alone, the choice after each of several rounds, and each selector's choice.

    `gold` names the selectors and refiners whose rows are upper bounds. A refiner alone always replaces the draft
    by its first refinement, where there is one; those named in `sees_group` pay for all that they read, too. A selector
    pays for all candidates; those named in `decides_on_draft_alone` pay for refinements only where they did not keep
    the draft. A round pays for all candidates until then, and for what critics and the selector cost in all rounds.
    """
    refiners = dict.fromkeys(c.component for trace in traces for c in trace.candidates if c.origin != DRAFT)
    selectors = list(traces[0].selected) if traces else []
    result = [_row(traces, filter_name, "draft", "draft", lambda trace: trace.draft, lambda trace: [trace.draft])]
    for refiner in refiners:

        def refined(trace: Trace, refiner: str = refiner) -> Candidate:
            return trace.alone(refiner)

        def refined_needs(
            trace: Trace, refined: Callable[[Trace], Candidate] = refined, reads_all: bool = refiner in sees_group
        ) -> list[Candidate]:
            found = refined(trace)
            if reads_all and found is not trace.draft:
                return list(trace.candidates[: trace.candidates.index(found) + 1])
            return list({c.id: c for c in (trace.draft, found)}.values())

        result.append(_row(traces, filter_name, refiner, "refiner", refined, refined_needs, refiner in gold))
    for number in range(1, len(traces[0].rounds) + 1 if traces else 1):

        def after(trace: Trace, number: int = number) -> Candidate:
            return trace.candidate(trace.rounds[number - 1])

        def after_needs(trace: Trace, number: int = number) -> list[Candidate]:
            return [candidate for candidate in trace.candidates if candidate.round <= number]

        first, name = selectors[0], f"{ROUND} {number}"
        result.append(_row(traces, filter_name, name, ROUND, after, after_needs, first in gold, first))
    for selector in selectors:

        def chosen(trace: Trace, selector: str = selector) -> Candidate:
            return trace.candidate(trace.selected[selector])

        def chosen_needs(trace: Trace, selector: str = selector) -> list[Candidate]:
            kept = selector in decides_on_draft_alone and trace.selected[selector] == DRAFT
            return [trace.draft] if kept else list(trace.candidates)

        result.append(_row(traces, filter_name, selector, "selector", chosen, chosen_needs, selector in gold, selector))
    return result


def _row(
    traces: Sequence[Trace],
    filter_name: str,
    name: str,
    kind: str,
    answer: Callable[[Trace], Candidate],
    needs: Callable[[Trace], Sequence[Candidate]],
    needs_gold: bool = False,
    selector: str = "",
) -> Row:
    filters = next(iter(traces[0].correct.values())) if traces else {filter_name: False}
    answers = [answer(trace) for trace in traces]
    pairs = [
        (t.correct[DRAFT][filter_name], t.correct[a.id][filter_name]) for t, a in zip(traces, answers, strict=True)
    ]
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    correct = {f: sum(t.correct[a.id][f] for t, a in zip(traces, answers, strict=True)) for f in filters}
    before, after = (
        problem_shares(traces, [t.correct[of.id][filter_name] for t, of in zip(traces, some, strict=True)])
        for some in ([t.draft for t in traces], answers)
    )
    low, high = mean_bounds(after)
    critics = kind != "draft"  # without a critic there is neither a place to refine nor a choice
    costs = [cost for t in traces for cost in (*(_cost(c) for c in needs(t)), *(_of_others(t, selector) * critics))]
    tokens, seconds = sum(cost.tokens for cost in costs), sum(cost.seconds for cost in costs)
    read, flops = total(cost.read_tokens for cost in costs), total(cost.flops for cost in costs)
    return Row(
        name=name,
        kind=kind,
        problems=len(after),
        correct=correct,
        low=low,
        high=high,
        gained=gained,
        lost=lost,
        p_value=mean_change(after, before),
        tokens=tokens / len(traces) if traces else 0.0,
        seconds=seconds,
        read_tokens=None if read is None or not traces else read / len(traces),
        flops=None if flops is None or not traces else flops / len(traces),
        cut_off=sum(a.solution.finish_reason == "length" for a in answers),
        needs_gold=needs_gold,
        drafts=len(traces) // len(after) if traces else 1,
    )


def _cost(candidate: Candidate) -> Cost:
    of = candidate.solution
    return Cost(tokens=of.tokens, seconds=of.seconds, read_tokens=of.read_tokens, flops=of.flops)


def _of_others(trace: Trace, selector: str) -> list[Cost]:
    """What critics cost on a problem, and the selector's own choice."""
    critics = Cost(
        tokens=trace.critic_tokens,
        seconds=trace.critic_seconds,
        read_tokens=trace.critic_read_tokens,
        flops=trace.critic_flops,
    )
    return [critics, *([trace.selecting[selector]] if selector in trace.selecting else [])]


def problem_shares(traces: Sequence[Trace], right: Sequence[bool]) -> Cases:
    """The share of right answers among each problem's drafts, of one: `right` says it for each trace."""
    found: dict[str, list[bool]] = {}
    for trace, value in zip(traces, right, strict=True):
        found.setdefault(trace.problem.first_id, []).append(value)
    return {problem: (sum(values) / len(values), 1.0) for problem, values in found.items()}
