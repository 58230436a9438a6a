"""A ledger as people read it: numbers first, a block for each decision; or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from refine_eval.results.compared import p_text, points
from refine_eval.results.decisions import PLACES, Ledger
from refine_eval.results.table import FOOTNOTES, TUNED
from refine_eval.results.tuning import REFINE_BELOW
from refine_eval.statistics.intervals import Estimate
from refine_eval.terminal import count_of, one_line


@dataclass(frozen=True, slots=True)
class Line:
    """A number and what it counts; what it is, for its colour."""

    number: str
    text: str
    kind: Literal["head", "sum", "won", "lost", "plain"] = "plain"


def lines(found: Ledger) -> list[Line]:
    """All blocks; "head" lines begin one."""
    return [*_account(found), *_when(found), *_where(found), *_how(found), *_choice(found), *_tuned(found)]


def _account(found: Ledger) -> Iterator[Line]:
    flow, seeds, estimate = found.flow, len(found.runs), found.gain.estimate
    of = f" ({seeds} seeds of {found.problems:,})" if seeds > 1 else ""
    low_high = f"{points(estimate.low)} to {points(estimate.high)}"
    gain = f"gain {points(estimate.value)} points ({low_high}), p {p_text(estimate.p_value)}"
    yield Line("", f"From draft to final answer: {count_of(flow.wrong + flow.right, 'draft')}{of}", "head")
    yield Line(f"{flow.right:,}", "drafts are right", "sum")
    yield Line(f"+{flow.won:,}", f"won, of {count_of(flow.wrong, 'wrong draft')}", "won")
    yield Line(f"−{flow.lost:,}", f"lost, of {count_of(flow.right, 'right draft')}", "lost")
    yield Line(f"{flow.right_after:,}", f"final answers are right: {gain}", "sum")


def _when(found: Ledger) -> Iterator[Line]:
    flow, gate = found.flow, found.when
    below = "all drafts are sent on" if gate.refine_below is None else f"those below {gate.refine_below:g} are sent on"
    if any(each.name == REFINE_BELOW for tuning in found.tunings for each in tuning.thresholds):
        below = "those below a tuned threshold are sent on"
    auc = _share(gate.auc) if gate.auc else "undefined, as there are not both right and wrong drafts with a score"
    yield Line("", f"When: {gate.critic}, {below}", "head")
    yield Line(f"{flow.let_through:,}", f"wrong drafts let through, {gate.wrong_sent:,} sent on", "lost")
    yield Line(f"{gate.right_sent:,}", f"right drafts sent on, {flow.kept:,} kept")
    yield Line(f"{flow.lost:,}", f"answers that an oracle gate saves; it wins at most {flow.let_through:,}")
    yield Line("", f"AUC of the gate: {auc}")


def _where(found: Ledger) -> Iterator[Line]:
    where = found.where
    if where is None:
        yield Line("", "Where: the first wrong steps are not known; --labels FILE names them", "head")
        return
    wrong = sum(place.drafts for place in where.places.values())
    yield Line("", f"Where: {where.critic}, {count_of(wrong, 'draft')} with a wrong step sent on", "head")
    for name in PLACES:
        place = where.places[name]
        yield Line(f"{place.drafts:,}", f"{name}: {place.repaired:,} of them repaired")
    yield Line(f"{where.false_alarms:,}", f"false alarms, of {count_of(where.sound, 'draft')} without a wrong step")
    for name, loss in where.oracle_loss.items():
        low_high = f"({points(loss.low)} to {points(loss.high)})"
        yield Line(points(loss.value), f"points that {name} alone has with exact places more {low_high}")


def _how(found: Ledger) -> Iterator[Line]:
    how = found.how
    yield Line("", f"How: {', '.join(how.refiners) or 'nothing was refined'}", "head")
    yield Line(f"{found.flow.unrepaired:,}", "wrong drafts that no refinement repairs", "lost")
    for name, of in how.refiners.items():
        yield Line("", f"{name} alone repairs {_share(of.repair)} of the wrong drafts, breaks {_share(of.breaks)}")
        for verdict, words in ((True, "wrong"), (False, "right")):
            repair, breaks = _share(of.repair_by_verdict[verdict]), _share(of.break_by_verdict[verdict])
            yield Line("", f"    where {how.critic} holds the draft {words}: repairs {repair}, breaks {breaks}")
    for names, count in how.overlap.items() if len(how.refiners) > 1 else ():
        by = " and by ".join(names) + " alone" * (len(names) == 1)
        yield Line(f"{count:,}", f"wrong drafts repaired by {by if names else 'none'}")
    yield Line(
        "", f"{how.critic} finds {_share(how.held_wrong)} of the wrong drafts, {_share(how.held_right)} of the right"
    )


def _choice(found: Ledger) -> Iterator[Line]:
    choice, flow = found.choice, found.flow
    bound = "; sees gold answers: an upper bound" if found.sees_gold else ""
    yield Line("", f"Choice: {choice.selector}, by scores of {choice.critic}{bound}", "head")
    yield Line(f"{flow.missed:,}", "wrong answers beside a right candidate", "lost")
    yield Line(f"{flow.lost:,}", f"right answers given up, {flow.held:,} held against a wrong candidate", "lost")
    yield Line("", f"regret against the oracle on the same candidates: {_share(choice.regret)}")
    if choice.ece is not None and choice.brier is not None:
        yield Line("", f"calibration: ECE {100 * choice.ece:.1f} %, Brier {choice.brier.value:.3f}")
    yield Line("", f"right above wrong within a problem: {_share(choice.ranking)}")


def _tuned(found: Ledger) -> Iterator[Line]:
    if found.tunings:
        bound = f"; {FOOTNOTES[TUNED]}" if found.tuned else ""
        yield Line("", f"Tuned thresholds{bound}", "head")
    for tuning in found.tunings:
        yield Line("", tuning.note)


def _share(found: Estimate | None) -> str:
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})" if found else "– (of none)"


def title(found: Ledger) -> str:
    """What the ledger is of."""
    problems = count_of(found.problems, "problem")
    return one_line(f"{', '.join(found.runs)}: {found.task}, {problems}, right by {found.filter}")


def plain(found: Ledger) -> str:
    """The ledger as aligned text."""
    texts = _aligned(found)
    return "\n".join([title(found), *(f"\n{text}" if line.kind == "head" else text for line, text in texts)])


def print_rich(found: Ledger) -> None:
    """Prints the ledger on a terminal: what is won in green, what is lost in red."""
    from rich.console import Console
    from rich.text import Text

    styles = {"head": "bold", "won": "green", "lost": "red", "sum": "bold cyan", "plain": ""}
    console = Console(highlight=False)
    console.print(Text(title(found)))
    for line, text in _aligned(found):
        style = "dim" if line.number in ("0", "−0", "+0") else styles[line.kind]
        console.print(Text(f"\n{text}" if line.kind == "head" else text, style=style))


def _aligned(found: Ledger) -> list[tuple[Line, str]]:
    rows = lines(found)
    width = max(len(line.number) for line in rows)
    return [
        (line, one_line(line.text) if line.kind == "head" else f"  {line.number:>{width}}  {_indented(line.text)}")
        for line in rows
    ]


def _indented(text: str) -> str:
    return " " * (len(text) - len(text.lstrip())) + one_line(text)


def as_json(found: Ledger) -> dict[str, Any]:
    """The ledger as JSON types: shares, not per cent."""
    result: dict[str, Any] = _json(found)
    result["how"]["overlap"] = [{"by": list(names), "drafts": count} for names, count in found.how.overlap.items()]
    return result


def _json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        words = {True: "held wrong", False: "held right"}
        return {words[key] if isinstance(key, bool) else str(key): _json(inner) for key, inner in value.items()}
    return [_json(each) for each in value] if isinstance(value, tuple | list) else value
