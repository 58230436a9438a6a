"""Records of made problems whose refinements help where the gate's score of the draft is low."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from traces import judged, trace

from refine_eval.data import Candidate, Trace
from refine_eval.results.ledger import rows
from refine_eval.results.records import write_run
from refine_eval.results.tables import row_to_json

SETTINGS: dict[str, Any] = {
    "command": "refine-eval run",
    "model": {"name": "digits"},
    "machine": "2 cores",
    "when": {"name": "orm", "options": {}},
    "where": {"name": "sorm", "options": {}},
    "choose": {"name": "orm", "options": {}},
    "refine_below": None,
    "refiners": [{"name": "local", "options": {}}],
    "selectors": [{"name": "rerank", "options": {}}],
    "rounds": 1,
    "seed": 0,
}

EIGHT = [(0.11, 0, 1), (0.21, 0, 1), (0.31, 0, 0), (0.41, 1, 1), (0.51, 1, 0), (0.61, 1, 0), (0.71, 0, 1), (0.81, 1, 0)]
"""The draft's score, whether it is right, and whether the refinement is, which always has the higher score."""


def gated(number: int, score: float, draft: int, refined: int, task: str = "apples") -> Trace:
    """A problem of texts of 10 tokens, sent on and refined once."""
    judge = judged(score)
    found = trace(
        number,
        {"draft": ((f"draft {number}",), bool(draft)), "1.local.0": ((f"other {number}",), bool(refined))},
        {"draft": {"when": judge, "where": judge, "choose": judge}, "1.local.0": {"choose": judged(0.9)}},
        chosen="1.local.0",
        task=task,
    )
    draft_, refinement = found.candidates
    return replace(found, candidates=(draft_, _of_round(refinement)))


def _of_round(candidate: Candidate) -> Candidate:
    return replace(candidate, round=1, parent="draft")


def write_gated(
    results: Path, name: str, problems: list[tuple[float, int, int]] = EIGHT, task: str = "apples", **settings: Any
) -> list[Trace]:
    """Writes the record of a run that refined all drafts."""
    traces = [gated(number, *each, task=task) for number, each in enumerate(problems)]
    metrics = {"filter": "strict", "rows": [row_to_json(row) for row in rows(traces, "strict")]}
    said = {**SETTINGS, "task": {"name": task}, **settings}
    write_run(results, name, settings=said, traces=traces, metrics=metrics, lm_eval_results={"results": {}})
    return traces
