"""A run's candidates, critiques and steps as flat rows of plain values, for data frames and sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.data import Critique, Trace
from refine_eval.results.records import RunRecord
from refine_eval.results.sheets import Columns
from refine_eval.statistics.critic_quality import ROLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A table of a run: its columns, and its rows."""

    columns: Columns
    rows: Callable[[RunRecord, Sequence[Trace]], Iterator[dict[str, Any]]]


def _candidates(record: RunRecord, traces: Sequence[Trace]) -> Iterator[dict[str, Any]]:
    for trace in traces:
        for candidate in trace.candidates:
            critiques = trace.critiques.get(candidate.id, {})
            solution = candidate.solution
            yield {
                "problem": trace.problem.id,
                "candidate": candidate.id,
                "component": candidate.component,
                "round": candidate.round,
                "sample": candidate.sample,
                "parent": candidate.parent,
                "answer": solution.answer,
                "correct": trace.correct[candidate.id][record.filter],
                "chosen": candidate.id == trace.choice.id,
                "score": _score(critiques.get("choose")),
                "first_bad_step": critiques["where"].first_bad_step if "where" in critiques else None,
                "tokens": solution.tokens,
                "text": solution.text,
                "thought": solution.thought,
                "finish_reason": solution.finish_reason,
            }


def _critiques(record: RunRecord, traces: Sequence[Trace]) -> Iterator[dict[str, Any]]:
    for trace in traces:
        for candidate_id, by_role in trace.critiques.items():
            for role, critique in by_role.items():
                yield {
                    "problem": trace.problem.id,
                    "candidate": candidate_id,
                    "role": role,
                    "critic": str(record.settings.get(role, {}).get("name", role)),
                    "score": _score(critique),
                    "first_bad_step": critique.first_bad_step,
                    "unscored": critique.unscored,
                    "feedback": critique.feedback,
                }


def _steps(record: RunRecord, traces: Sequence[Trace]) -> Iterator[dict[str, Any]]:
    del record
    for trace in traces:
        for candidate in trace.candidates:
            critiques = trace.critiques.get(candidate.id, {})
            steps = candidate.solution.steps
            scores = {role: _step_scores(critiques.get(role), len(steps)) for role in ROLES}
            for number, step in enumerate(steps):
                yield {
                    "problem": trace.problem.id,
                    "candidate": candidate.id,
                    "step": number,
                    "text": step,
                    **{role: each[number] for role, each in scores.items()},
                }


def _step_scores(critique: Critique | None, steps: int) -> Sequence[float | None]:
    """A score for each step; None where it has none, as in records of a version that split texts in another way."""
    if critique is None or critique.unscored is not None or len(critique.step_scores) != steps:
        return [None] * steps
    return critique.step_scores


def _score(critique: Critique | None) -> float | None:
    return None if critique is None or critique.unscored is not None else critique.score


FRAMES: Mapping[str, Frame] = {
    "candidates": Frame(
        columns={
            "problem": "text",
            "candidate": "text",
            "component": "text",
            "round": "whole",
            "sample": "whole",
            "parent": "text",
            "answer": "text",
            "correct": "flag",
            "chosen": "flag",
            "score": "number",
            "first_bad_step": "whole",
            "tokens": "whole",
            "text": "text",
            "thought": "text",
            "finish_reason": "text",
        },
        rows=_candidates,
    ),
    "critiques": Frame(
        columns={
            "problem": "text",
            "candidate": "text",
            "role": "text",
            "critic": "text",
            "score": "number",
            "first_bad_step": "whole",
            "unscored": "text",
            "feedback": "text",
        },
        rows=_critiques,
    ),
    "steps": Frame(
        columns={
            "problem": "text",
            "candidate": "text",
            "step": "whole",
            "text": "text",
            **dict.fromkeys(ROLES, "number"),
        },
        rows=_steps,
    ),
}
"""A row for each candidate, for each critic's view of one, and for each step of one with its scores by role."""
