"""A run as a page to look at: accuracy against tokens, steps coloured by their scores, refinements as diffs.

The page is one file without scripts. Everything in it is escaped by the template engine: model output is untrusted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from refine_eval.data import DRAFT, Candidate, Trace
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord
from refine_eval.results.table import FOOTNOTE, cells, header, label
from refine_eval.terminal import strip_control

OUTCOMES = {
    (False, True): "Repaired: the draft was wrong, the choice is right",
    (True, False): "Broken: the draft was right, the choice is wrong",
    (False, False): "Still wrong",
    (True, True): "Right all along",
}
_WIDTH, _HEIGHT, _MARGIN = 760, 320, 56
_LABEL_WIDTH, _LABEL_HEIGHT = 180, 14


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
    """A candidate as shown; `outcome` is "right" or "wrong"."""

    title: str
    outcome: str
    lines: list[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A row of the table in the plot, in pixels: `low` and `high` end its interval, `text_y` keeps labels apart."""

    label: str
    text_y: float
    x: float
    y: float
    low: float
    high: float
    needs_gold: bool


def render(record: RunRecord, traces: Sequence[Trace]) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text("utf-8"))
    return template.render(
        record=record,
        command=strip_control(str(record.settings["command"])),
        header=header(list(record.rows[0].correct), record.filter),
        table=[(row, cells(row, record.filter)) for row in record.rows],
        footnote=FOOTNOTE if any(row.needs_gold for row in record.rows) else "",
        points=list(_points(record.rows, record.filter)),
        width=_WIDTH,
        height=_HEIGHT,
        margin=_MARGIN,
        groups=list(_groups(traces, record.filter)),
    )


def _points(rows: Sequence[Row], main: str) -> Iterator[Point]:
    """Tokens a problem from left to right, accuracy upwards, each axis over what occurs."""
    right = max(row.tokens for row in rows) or 1.0
    low, high = min(row.low for row in rows), max(row.high for row in rows)

    def up(share: float) -> float:
        return _HEIGHT - _MARGIN - (share - low) / ((high - low) or 1.0) * (_HEIGHT - 2 * _MARGIN)

    labels: list[tuple[float, float]] = []
    for row in rows:
        x, y = _MARGIN + row.tokens / right * (_WIDTH - 5 * _MARGIN), up(row.accuracy(main))
        text_y = y
        while any(abs(x - other) < _LABEL_WIDTH and abs(text_y - height) < _LABEL_HEIGHT for other, height in labels):
            text_y += 1
        labels.append((x, text_y))
        yield Point(
            label=f"{label(row)} {100 * row.accuracy(main):.1f} %",
            text_y=text_y,
            x=x,
            y=y,
            low=up(row.low),
            high=up(row.high),
            needs_gold=row.needs_gold,
        )


def _groups(traces: Sequence[Trace], main: str) -> Iterator[tuple[str, list[tuple[str, list[Shown]]]]]:
    """(what became of the draft, [(problem id, its candidates)]), the interesting ones first."""
    for outcome, title in OUTCOMES.items():
        found = [trace for trace in traces if _outcome(trace, main) == outcome]
        if found:
            yield f"{title} ({len(found):,})", [(trace.problem.id, list(_candidates(trace, main))) for trace in found]


def _outcome(trace: Trace, main: str) -> tuple[bool, bool]:
    choice = trace.choice.id
    return trace.correct[DRAFT][main], trace.correct[choice][main]


def _candidates(trace: Trace, main: str) -> Iterator[Shown]:
    choice = trace.choice.id
    for candidate in trace.candidates:
        scores = trace.critiques.get(candidate.id, {})
        title = candidate.id if "choose" not in scores else f"{candidate.id} · scored {scores['choose'].score:.2f}"
        title += " · chosen" if candidate.id == choice else ""
        outcome = "right" if trace.correct[candidate.id][main] else "wrong"
        yield Shown(title=title, outcome=outcome, lines=list(_lines(trace, candidate)))


def _lines(trace: Trace, candidate: Candidate) -> Iterator[Line]:
    """The candidate's steps against its parent's, coloured by the *where* critic, else by the *choose* critic."""
    roles = trace.critiques.get(candidate.id, {})
    critique = roles.get("where") or roles.get("choose")
    steps = [strip_control(step) for step in candidate.solution.steps]
    scores: Sequence[float | None] = critique.step_scores if critique else [None] * len(steps)
    if candidate.parent is None:
        yield from (Line(text=text, change="same", score=score) for text, score in zip(steps, scores, strict=True))
        return
    before = [strip_control(step) for step in trace.candidate(candidate.parent).solution.steps]
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(a=before, b=steps, autojunk=False).get_opcodes():
        if kind != "equal":
            yield from (Line(text=text, change="gone", score=None) for text in before[i1:i2])
        change = "same" if kind == "equal" else "new"
        yield from (Line(text=steps[j], change=change, score=scores[j]) for j in range(j1, j2))
