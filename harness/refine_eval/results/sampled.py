"""Records with their traces, for what compares answers of one problem with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from refine_eval.data import Trace
from refine_eval.results.ledger import Row, problem_shares
from refine_eval.results.published import read_outcomes
from refine_eval.results.records import RunRecord, keeps_texts, read_run, read_traces
from refine_eval.statistics.intervals import Cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A record with its traces; `has_answers`: whether these tell which answers are equal, for votes."""

    record: RunRecord
    traces: Sequence[Trace]
    has_answers: bool

    def right(self, row: Row) -> Cases:
        """The share of each problem's drafts that the row answers rightly."""
        return problem_shares(self.traces, [t.correct[row.answer(t).id][self.record.filter] for t in self.traces])


def read_sampled(folder: Path) -> Sampled:
    """The record in a folder; RunError where it is missing or corrupt."""
    outcomes, traces = read_outcomes(folder), None
    if not outcomes.has_answers and keeps_texts(folder):
        traces = read_traces(folder)
    return Sampled(
        record=read_run(folder),
        traces=traces or outcomes.traces,
        has_answers=outcomes.has_answers or traces is not None,
    )
