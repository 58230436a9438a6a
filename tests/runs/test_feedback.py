"""Critiques in words: made safe at the entrance, stored, in traces, and given to refiners with the scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile_texts import KINDS, hostile_text
from small_run import PlainCritic, PlainRefiner, SmallRun, run

from refine_eval.costs import LeftOut
from refine_eval.data import Candidate, Critique, ScoredCandidate, Solution
from refine_eval.errors import PluginError
from refine_eval.plugin.values import LONGEST_FEEDBACK, feedback_of
from refine_eval.results.traces import outcome_to_json, trace_from_json, trace_to_json
from refine_eval.results.typed import Fault


class Talks(PlainCritic):
    """Says something of every candidate, and finds no verdict on the odd problem."""

    says: Any = "Step 2 is wrong."
    calls = 0

    def one(self, candidate: Candidate) -> Any:
        type(self).calls += 1
        if candidate.problem.id == "toy/2":
            why = "no verdict found (it ends with 'so'); ask otherwise"
            return Critique.without_score(candidate, why, feedback=self.says, parsed=False)
        return replace(super().one(candidate), feedback=self.says, verdicts=4, unread=1)


class Listens(PlainRefiner):
    """Remembers what it was told."""

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        self.heard = [(judged.critique.feedback, judged.critique.parsed) for judged in batch]
        return super().refine(batch)


def saying(says: Any) -> Talks:
    critic = Talks()
    critic.says = says
    return critic


def test_words_reach_refiners_and_the_store_gives_them_back(tmp_path: Path) -> None:
    refiner, said = Listens(), "Step 2 is wrong."
    written = run(tmp_path, Talks(), refiner)
    assert refiner.heard == [(said, True), (said, True), (said, False), (said, True)]
    before = Talks.calls
    assert run(tmp_path, Talks(), Listens()) == written
    critique = written[0].critiques["draft"]["when"]
    assert (critique.verdicts, critique.unread) == (4, 1)
    assert Talks.calls == before + 2, "what has a verdict is stored; the draft and the refinement without one are not"


def test_unparsed_verdicts_are_counted_and_have_no_score(tmp_path: Path) -> None:
    parts = SmallRun(tmp_path, Talks())
    traces = parts.traces()
    assert parts.pipeline.left_out == (
        LeftOut(component="plain-critic", verb="score", texts=2, of=8, reason="no verdict found"),
        LeftOut(
            component="plain-critic",
            verb="read a verdict in",
            texts=6,
            of=24,
            reason="they are left out of the means",
        ),
    )
    critique = traces[2].critiques["draft"]["when"]
    assert (critique.score, critique.parsed) == (0.0, False)
    assert str(critique.unscored).startswith("no verdict found")


def test_traces_have_words_only_where_there_are_some(tmp_path: Path) -> None:
    traces = [
        replace(trace, correct={candidate.id: {"strict": True} for candidate in trace.candidates})
        for trace in run(tmp_path, Talks())
    ]
    rows = [json.loads(json.dumps(trace_to_json(trace))) for trace in traces]
    assert rows[0]["critiques"]["draft"]["when"]["feedback"] == "Step 2 is wrong."
    assert "parsed" not in rows[0]["critiques"]["draft"]["when"]
    assert rows[2]["critiques"]["draft"]["when"]["parsed"] is False
    read = [trace_from_json(row) for row in rows]
    assert [trace.critiques for trace in read] == [trace.critiques for trace in traces]
    plain = json.dumps(trace_to_json(run(tmp_path / "plain", PlainCritic())[0]))
    assert "feedback" not in plain
    assert "parsed" not in plain
    assert "Step 2" not in json.dumps(outcome_to_json(traces[0], None)), "published records hold no texts"


def test_a_trace_with_a_score_and_no_verdict_is_refused(tmp_path: Path) -> None:
    row = trace_to_json(run(tmp_path, Talks())[0])
    row["critiques"]["draft"]["when"]["parsed"] = False
    with pytest.raises(Fault, match="without a verdict"):
        trace_from_json(row)


@pytest.mark.parametrize(
    ("says", "kept"),
    [
        (" It is wrong.\n", "It is wrong."),
        ("half \ud83d a face", "half ? a face"),
        ("\x1b[2Jred\x07\u202e", "\ufffd[2Jred\ufffd\ufffd"),
        ("  \n", None),
        ("<script>&", "<script>&"),
        (None, None),
    ],
    ids=["spaces", "half a pair", "terminal escapes", "nothing", "markup", "none"],
)
def test_words_are_made_safe(says: Any, kept: str | None, tmp_path: Path) -> None:
    assert run(tmp_path, saying(says))[0].critiques["draft"]["when"].feedback == kept
    assert run(tmp_path, saying(says))[0].critiques["draft"]["when"].feedback == kept, "from the store, too"


def test_a_megabyte_of_words_is_cut_and_says_so(tmp_path: Path) -> None:
    kept = run(tmp_path, saying("x" * 1_000_000))[0].critiques["draft"]["when"].feedback
    assert kept == "x" * LONGEST_FEEDBACK + "\n[cut: 20,000 of 1,000,000 characters]"


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_words_are_texts_that_files_can_hold(kind: str) -> None:
    kept = feedback_of(hostile_text(kind, 50_000))
    assert kept is None or len(kept.encode()) <= 4 * (LONGEST_FEEDBACK + 100)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"feedback": ["wrong"]}, "gave a list of 1 as feedback for candidate draft of problem toy/0; it must be a te"),
        ({"feedback": b"wrong"}, "it must be a text, or None"),
        ({"parsed": None}, "gave None as parsed"),
        ({"parsed": False}, r"could not read a verdict .* and scored it all the same; make the critique with Critique"),
        (
            {"unread": 2},
            "could not read 2 of 1 verdicts for candidate draft of problem toy/0; these must be whole numb",
        ),
        ({"verdicts": 0}, "could not read 0 of 0 verdicts"),
        ({"verdicts": "three"}, "could not read 0 of 'three' verdicts"),
    ],
    ids=["list", "bytes", "no truth", "scored", "more than all", "of none", "no number"],
)
def test_what_are_no_words(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    class Wrong(PlainCritic):
        def one(self, candidate: Candidate) -> Any:
            return replace(super().one(candidate), **values)

    with pytest.raises(PluginError, match=f"^Critic 'plain-critic' .*{message}") as raised:
        run(tmp_path, Wrong())
    assert "\n" not in str(raised.value)
