"""Runs as one HTML page: tables and plots to read, and a browser of problems, which pages/viewer.js makes of its data.

The page needs no network. Model output is untrusted: the template escapes it, and the script makes only text of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from refine_eval.data import DRAFT, Candidate, Critique, Trace
from refine_eval.formats import split_steps
from refine_eval.results import flow
from refine_eval.results.curves import curve_plots, curve_tables
from refine_eval.results.decisions import count_ends, end
from refine_eval.results.pages import csp_hash, package_text, template
from refine_eval.results.plots import calibration_plot, frontier_plot
from refine_eval.results.records import RunRecord
from refine_eval.results.table import FOOTNOTES, UPPER_BOUND, cells, footnotes, header, known_columns, notes
from refine_eval.statistics.critic_quality import ROLES, draft_scores, reliability
from refine_eval.terminal import one_line, strip_control


class Known(Protocol):
    """What is known of a problem beside its trace."""

    @property
    def question(self) -> str: ...

    @property
    def gold(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """A run to show, with questions and gold answers of those of its problems that are at hand."""

    record: RunRecord
    traces: Sequence[Trace]
    known: Mapping[str, Known] = field(default_factory=dict)


def page(runs: Sequence[Viewed]) -> str:
    """The page of one run or several, side by side, as HTML."""
    from markupsafe import Markup

    script = package_text("viewer.js")
    fates = {each.key: each.words for each in flow.FATES}
    return template("viewer.html.j2").render(
        title=", ".join(one_line(run.record.name) for run in runs),
        style=Markup(package_text("viewer.css")),
        script=Markup(script),
        script_hash=csp_hash(script),
        runs=list(map(_summary, runs)),
        fates=fates.items(),
        roles=[role for role in ROLES if any(_has_role(run, role) for run in runs)],
        footnotes=_footnotes(runs),
        data=Markup(_embedded({"runs": list(map(_data, runs)), "fates": fates})),
    )


def _footnotes(runs: Sequence[Viewed]) -> list[str]:
    """What marks mean; curves have that of upper bounds, too."""
    found = footnotes(row for run in runs for row in run.record.rows)
    curves = any(run.record.curves for run in runs)
    return [note for note in FOOTNOTES.values() if note in found or (curves and note == FOOTNOTES[UPPER_BOUND])]


def _embedded(value: Any) -> str:
    """JSON inside a script element: nothing in it ends the element, or is a line's end to JavaScript."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _summary(run: Viewed) -> dict[str, Any]:
    """What stands above the browser, without a script."""
    from markupsafe import Markup

    record, main = run.record, run.record.filter
    found = asdict(count_ends([(run.traces, main)]))
    columns = known_columns(record.rows)
    return {
        "name": one_line(record.name),
        "command": strip_control(str(record.settings["command"])),
        "machine": one_line(str(record.settings["machine"])),
        "header": list(map(one_line, header(list(record.rows[0].correct), main, columns))),
        "table": [(row, list(map(one_line, cells(row, main, columns)))) for row in record.rows],
        "notes": notes(record.left_out, record.cut_off, record.tuning),
        "usage": [replace(model, name=one_line(model.name)) for model in record.usage],
        "curves": [
            (title, lines, Markup(plot))
            for (title, lines), plot in zip(curve_tables(record.curves), curve_plots(record.curves), strict=True)
        ],
        "flow": Markup(flow.picture(found)),
        "fates": [(each, found[each.key]) for each in flow.FATES if found[each.key]],
        "gain": found["won"] - found["lost"],
        "frontier": Markup(frontier_plot(record.rows, main)),
        "calibrations": [(one_line(name), Markup(plot)) for name, plot in _calibrations(run)],
    }


def _calibrations(run: Viewed) -> Iterator[tuple[str, str]]:
    """(critic and roles, its scores of drafts against truth), those of equal scores once."""
    seen: dict[tuple[tuple[float, bool], ...], list[str]] = {}
    for role in ROLES:
        scores = draft_scores(run.traces, role)
        pairs = tuple(
            (scores[trace.problem.id].score, trace.correct[DRAFT][run.record.filter])
            for trace in run.traces
            if trace.problem.id in scores
        )
        if pairs:
            seen.setdefault(pairs, []).append(role)
    for pairs, roles in seen.items():
        name = _critic(run.record, roles[0])
        yield f"{name} ({', '.join(roles)})", calibration_plot(reliability(pairs), name)


def _critic(record: RunRecord, role: str) -> str:
    return str(record.settings.get(role, {}).get("name", role))


def _has_role(run: Viewed, role: str) -> bool:
    return any(role in trace.critiques.get(DRAFT, {}) for trace in run.traces)


def _data(run: Viewed) -> dict[str, Any]:
    """What the browser of problems shows, as JSON types; keys that say nothing are left out."""
    return {
        "name": one_line(run.record.name),
        "problems": [_problem(run, trace) for trace in run.traces],
    }


def _problem(run: Viewed, trace: Trace) -> dict[str, Any]:
    known = run.known.get(trace.problem.first_id)
    return {
        "id": one_line(trace.problem.id),
        **({"question": strip_control(known.question), "gold": _text(split_steps(known.gold))} if known else {}),
        "fate": end(trace, run.record.filter),
        "chosen": {one_line(selector): candidate for selector, candidate in trace.selected.items()},
        "critic_tokens": trace.critic_tokens,
        "candidates": [_candidate(run, trace, candidate) for candidate in trace.candidates],
    }


def _candidate(run: Viewed, trace: Trace, candidate: Candidate) -> dict[str, Any]:
    solution = candidate.solution
    steps = list(map(strip_control, solution.steps))
    critiques = list(_critiques(run, trace.critiques.get(candidate.id, {}), len(steps)))
    # A text without steps is a thought that never ended.
    thought = strip_control((solution.before(0) or ("" if solution.steps else solution.text)).strip())
    return {
        "id": candidate.id,
        "steps": steps,
        "tokens": solution.tokens,
        "right": trace.correct[candidate.id][run.record.filter],
        **({"parent": candidate.parent} if candidate.parent is not None else {}),
        **({"thought": thought} if thought else {}),
        **({"cut": True} if solution.finish_reason == "length" else {}),
        **({"unwritten": one_line(solution.unwritten)} if solution.unwritten is not None else {}),
        **({"critiques": critiques} if critiques else {}),
    }


def _critiques(run: Viewed, by_role: Mapping[str, Critique], steps: int) -> Iterator[dict[str, Any]]:
    """Each critic's view of a candidate, those that are equal once, with all their roles."""
    merged: dict[tuple[str, Critique], list[str]] = {}
    for role, critique in by_role.items():
        merged.setdefault((_critic(run.record, role), critique), []).append(role)
    for (name, critique), roles in merged.items():
        row: dict[str, Any] = {"critic": one_line(name), "roles": roles}
        if critique.feedback is not None:
            row["feedback"] = strip_control(critique.feedback)
        if critique.unread and critique.verdicts > 1:
            row["unread"] = f"{critique.unread:,} of {critique.verdicts:,} verdicts could not be read"
        if critique.unscored is not None:
            yield {**row, "unscored": one_line(critique.unscored)}
            continue
        row["score"] = round(critique.score, 3)
        if len(critique.step_scores) == steps:  # else a version that split texts in another way made them
            row["steps"] = [round(score, 3) for score in critique.step_scores]
        if critique.first_bad_step is not None:
            row["bad"] = critique.first_bad_step
        yield row


def _text(steps: Sequence[str]) -> str:
    return "\n".join(map(strip_control, steps))
