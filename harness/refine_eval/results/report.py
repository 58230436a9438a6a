"""A run as a page to look at: accuracy against tokens, steps coloured by their scores, refinements as diffs.

The page is one file without scripts. Everything in it is escaped by the template engine: model output is untrusted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from refine_eval.data import DRAFT, Candidate, Trace
from refine_eval.formats import split_steps
from refine_eval.results.curves import curve_plots, curve_tables
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord
from refine_eval.results.table import FOOTNOTE, cells, header, known_columns, label, notes
from refine_eval.svg import BLUE, GREY, Dot, tokens_plot
from refine_eval.terminal import one_line, strip_control

if TYPE_CHECKING:
    from jinja2 import Template

OUTCOMES = {
    (False, True): "Repaired: the draft was wrong, the choice is right",
    (True, False): "Broken: the draft was right, the choice is wrong",
    (False, False): "Still wrong",
    (True, True): "Right all along",
}


_LINES_COMPARED = 200
"""Solutions of so many lines each are compared line by line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A step as shown: its change against the draft ("same", "new", "gone"), and its score where there is one."""

    text: str
    change: str
    score: float | None

    @property
    def colour(self) -> str:
        """From red (0) over yellow to green (1)."""
        return "transparent" if self.score is None else f"hsl({round(120 * self.score)} 70% 85%)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A candidate as shown; `outcome` is "right" or "wrong", `thought` what was written before its steps."""

    title: str
    outcome: str
    thought: str
    lines: list[Line]


class Known(Protocol):
    """What is known of a problem beside its trace."""

    @property
    def question(self) -> str: ...

    @property
    def gold(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownProblem:
    """A problem as shown; question and gold answer are empty where they are not at hand."""

    id: str
    question: str
    gold: str
    candidates: list[Shown]


def render(record: RunRecord, traces: Sequence[Trace], known: Mapping[str, Known] | None = None) -> str:
    """The page as HTML, with questions and gold answers of the problems in `known`."""
    from markupsafe import Markup

    columns = known_columns(record.rows)
    return _template().render(
        name=one_line(record.name),
        command=strip_control(str(record.settings["command"])),
        header=list(map(one_line, header(list(record.rows[0].correct), record.filter, columns))),
        table=[(row, list(map(one_line, cells(row, record.filter, columns)))) for row in record.rows],
        notes=notes(record.left_out, record.cut_off),
        usage=[replace(model, name=one_line(model.name)) for model in record.usage],
        footnote=FOOTNOTE if record.curves or any(row.needs_gold for row in record.rows) else "",
        plot=Markup(_plot(record.rows, record.filter)),
        curves=[
            (title, lines, Markup(plot))
            for (title, lines), plot in zip(curve_tables(record.curves), curve_plots(record.curves), strict=True)
        ],
        groups=list(_groups(traces, record.filter, known or {})),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(Path(__file__).with_name("report.html.j2").read_text("utf-8"))


def _plot(rows: Sequence[Row], main: str) -> str:
    return tokens_plot(
        [
            Dot(
                x=row.tokens,
                value=row.accuracy(main),
                low=row.low,
                high=row.high,
                label=f"{one_line(label(row))} {100 * row.accuracy(main):.1f} %",
                colour=GREY if row.needs_gold else BLUE,
            )
            for row in rows
        ]
    )


def _groups(traces: Sequence[Trace], main: str, known: Mapping[str, Known]) -> Iterator[tuple[str, list[ShownProblem]]]:
    """(what became of the draft, its problems), the interesting ones first."""
    for outcome, title in OUTCOMES.items():
        found = [trace for trace in traces if _outcome(trace, main) == outcome]
        if found:
            yield (
                f"{title} ({len(found):,})",
                [_problem(trace, main, known.get(trace.problem.first_id)) for trace in found],
            )


def _problem(trace: Trace, main: str, known: Known | None) -> ShownProblem:
    return ShownProblem(
        id=one_line(trace.problem.id),
        question=strip_control(known.question) if known else "",
        gold="\n".join(map(strip_control, split_steps(known.gold))) if known else "",
        candidates=list(_candidates(trace, main)),
    )


def _outcome(trace: Trace, main: str) -> tuple[bool, bool]:
    choice = trace.choice.id
    return trace.correct[DRAFT][main], trace.correct[choice][main]


def _candidates(trace: Trace, main: str) -> Iterator[Shown]:
    choice = trace.choice.id
    for candidate in trace.candidates:
        critique = trace.critiques.get(candidate.id, {}).get("choose")
        title = candidate.id
        if candidate.solution.unwritten is not None:
            title += f" · not written: {candidate.solution.unwritten}"
        if critique is not None:
            title += f" · scored {critique.score:.2f}" if critique.unscored is None else " · not scored"
        title += " · chosen" if candidate.id == choice else ""
        outcome = "right" if trace.correct[candidate.id][main] else "wrong"
        # A text without steps is a thought that never ended.
        thought = candidate.solution.before(0) or ("" if candidate.solution.steps else candidate.solution.text)
        yield Shown(
            title=one_line(title),
            outcome=outcome,
            thought=strip_control(thought.strip()),
            lines=list(_lines(trace, candidate)),
        )


def _lines(trace: Trace, candidate: Candidate) -> Iterator[Line]:
    """The candidate's steps against its parent's, coloured by the *where* critic, else by the *choose* critic."""
    roles = trace.critiques.get(candidate.id, {})
    scored = (roles[role] for role in ("where", "choose") if role in roles and roles[role].unscored is None)
    critique = next(scored, None)
    steps = [strip_control(step) for step in candidate.solution.steps]
    scores: Sequence[float | None] = critique.step_scores if critique else ()
    if len(scores) != len(steps):  # not scored, or by a version that split texts in another way
        scores = [None] * len(steps)
    if candidate.parent is None:
        yield from (Line(text=text, change="same", score=score) for text, score in zip(steps, scores, strict=True))
        return
    before = [strip_control(step) for step in trace.candidate(candidate.parent).solution.steps]
    for kind, i1, i2, j1, j2 in _changes(before, steps):
        if kind != "equal":
            yield from (Line(text=text, change="gone", score=None) for text in before[i1:i2])
        change = "same" if kind == "equal" else "new"
        yield from (Line(text=steps[j], change=change, score=scores[j]) for j in range(j1, j2))


def _changes(before: Sequence[str], after: Sequence[str]) -> Sequence[tuple[str, int, int, int, int]]:
    """How one solution becomes another, as difflib's opcodes.

    difflib takes minutes for a thousand equal lines: of long solutions only what they begin and end with is compared.
    """
    if len(before) * len(after) <= _LINES_COMPARED**2:
        return difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes()
    shorter = min(len(before), len(after))
    head = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    tail = next((n for n in range(shorter - head) if before[-1 - n] != after[-1 - n]), shorter - head)
    a, b = len(before), len(after)
    return [
        ("equal", 0, head, 0, head),
        ("replace", head, a - tail, head, b - tail),
        ("equal", a - tail, a, b - tail, b),
    ]
