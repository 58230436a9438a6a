"""What comparisons say: a table, a sentence each, the problems won and lost; or the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.results.answers import Answers, paired
from refine_eval.statistics.comparison import Comparison, compare, together
from refine_eval.terminal import one_line

_LISTED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two ways to answer and what their comparison found."""

    first: Answers
    second: Answers
    found: Comparison

    def problem(self, number: str) -> str:
        """A problem's id."""
        task = self.first.task or self.second.task
        return f"{task}/{number}" if task else number


def compare_answers(first: Answers, others: Sequence[Answers], common: bool = False) -> list[Compared]:
    """The first way against each of the others, corrected together; RunError where two cannot be compared."""
    found = together(
        [compare(paired(first, other, common), f"{first.name} and {other.name}") for other in others],
    )
    return [Compared(first=first, second=other, found=each) for other, each in zip(others, found, strict=True)]


def head(compared: Sequence[Compared]) -> list[str]:
    """Column heads of `cells`."""
    return [
        "comparison",
        "first %",
        "second %",
        "difference",
        "95 % interval",
        "won",
        "lost",
        "p",
        *(["p (Holm)"] if len(compared) > 1 else []),
    ]


def cells(each: Compared, several: bool) -> list[str]:
    """A comparison as a line of a table."""
    found, estimate = each.found, each.found.estimate
    return [
        f"{each.first.name} − {each.second.name}",
        f"{100 * found.first:.1f}",
        f"{100 * found.second:.1f}",
        points(estimate.value),
        f"{points(estimate.low)} to {points(estimate.high)}",
        f"+{len(found.won):,}",
        f"−{len(found.lost):,}",
        p_text(estimate.p_value),
        *([p_text(found.adjusted)] if several else []),
    ]


def title(compared: Sequence[Compared]) -> str:
    """What was compared: task, problems, seeds, filters."""
    first = compared[0]
    task = first.first.task or first.second.task
    counts = sorted({each.found.estimate.problems for each in compared})
    seeds = max(each.found.estimate.seeds for each in compared)
    filters = dict.fromkeys([first.first.filter, *(each.second.filter for each in compared)])
    parts = [
        *([task] if task else []),
        f"{' or '.join(f'{n:,}' for n in counts)} problem{'s' if counts != [1] else ''}",
        *([f"{seeds} seeds"] if seeds > 1 else []),
        f"right by {' and by '.join(filters)}",
    ]
    return one_line(", ".join(parts))


def sentence(each: Compared) -> str:
    """Whether the difference is real and, if that is not shown, how many problems would show it."""
    found, estimate = each.found, each.found.estimate
    first, second, p = one_line(each.first.name), one_line(each.second.name), p_text(found.adjusted)
    p = f"p < {p[1:]}" if p.startswith("<") else f"p = {p}"
    size = points(abs(estimate.value))[1:]
    if found.is_shown:
        better, worse = (first, second) if estimate.value > 0 else (second, first)
        return f"{better} is better than {worse}: the difference of {size} points is real ({p})."
    said = f"No difference between {first} and {second} is shown ({p})"
    if not estimate.value:
        return f"{said}: they answer equally many rightly, so no number of problems follows from these."
    if found.needed is None:
        return f"{said}: seeds differ too much for it, so more problems would not show it; more seeds might."
    if found.needed <= estimate.problems:
        return f"{said}; alone, it would be shown 4 times in 5 with this many problems, if it is {size} points."
    needed = f"about {_rounded(found.needed):,} problems would show a difference of {points(estimate.value)} points"
    return f"{said}: {needed} (power 80 %)."


def listed(each: Compared) -> list[str]:
    """The problems won and lost, the first of them by id."""
    found = (("won", each.found.won), ("lost", each.found.lost))
    return [
        f"{word}: {', '.join(one_line(each.problem(p)) for p in problems[:_LISTED])}"
        + (f" and {len(problems) - _LISTED:,} more" if len(problems) > _LISTED else "")
        for word, problems in found
        if problems
    ]


def as_json(each: Compared) -> dict[str, Any]:
    """A comparison with all of its problems; shares, not per cent."""
    found, estimate = each.found, each.found.estimate
    return {
        "first": each.first.name,
        "second": each.second.name,
        "task": each.first.task or each.second.task,
        "filters": [each.first.filter, each.second.filter],
        "problems": estimate.problems,
        "seeds": estimate.seeds,
        "accuracy": [found.first, found.second],
        "difference": estimate.value,
        "interval": [estimate.low, estimate.high],
        "p_value": estimate.p_value,
        "p_value_holm": found.adjusted,
        "is_shown": found.is_shown,
        "problems_needed": found.needed,
        "won": [each.problem(p) for p in found.won],
        "lost": [each.problem(p) for p in found.lost],
        "says": sentence(each),
    }


def p_text(p_value: float) -> str:
    """ "0.031", "<.001"."""
    return "<.001" if p_value < 0.001 else f"{p_value:.3f}"


def points(share: float) -> str:
    return f"{'−' if share < 0 else '+'}{100 * abs(share):.1f}"


def _rounded(count: int) -> int:
    """To two digits: it is a forecast."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step
