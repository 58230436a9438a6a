"""Rounds with acceptance, refiners that see the whole group, and selectors that ask a model or cannot tell."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import error_line, refine_eval
from toy_pipeline import PROBLEMS, Again, Best, Digits, Even, runtime, strategy

from refine_eval.costs import Cost, LeftOut
from refine_eval.data import Candidate, Critique, ScoredCandidate, Solution, Trace
from refine_eval.errors import UsageError
from refine_eval.plugin.components import Refiner, Selector
from refine_eval.results.ledger import rows
from refine_eval.results.tables import check_figures
from refine_eval.results.traces import trace_from_json, trace_to_json
from refine_eval.results.typed import Fault
from refine_eval.runs.pipeline import Pipeline
from refine_eval.runs.settings import RunSettings


class Last(Selector):
    """Takes the candidate that was written last."""

    name = "last"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        return [len(group) - 1 for group in batch]


def traces(tmp_path: Path, **changes: Any) -> list[Trace]:
    """Traces of a run with these changes, graded: even answers are right."""
    found = Pipeline(strategy(**changes), runtime(tmp_path, Digits())).run(PROBLEMS)
    return [
        replace(t, correct={c.id: {"strict": int(c.solution.answer or 1) % 2 == 0} for c in t.candidates})
        for t in found
    ]


@pytest.mark.parametrize("until", [1, 2, 3])
def test_a_problem_is_refined_until_its_choices_were_accepted_so_often_in_a_row(tmp_path: Path, until: int) -> None:
    done = []
    found = traces(tmp_path, refine_below=0.5, rounds=5, until_accepted=until, selectors=(Last(),))
    for trace in found:
        refined = {c.round for c in trace.candidates if c.round}
        in_a_row, settled, current = 0, False, trace.draft
        for number in range(1, 6):
            if not settled:
                in_a_row = in_a_row + 1 if int(current.solution.answer or 1) % 2 == 0 else 0
                settled = in_a_row >= until
            assert (number in refined) == (not settled)
            current = trace.candidate(trace.rounds[number - 1])
        done.append(settled)
    assert any(done)
    assert not all(done) or until == 1


def test_one_acceptance_is_what_the_gate_has_always_been(tmp_path: Path) -> None:
    how: dict[str, Any] = {"refine_below": 0.5, "rounds": 3}
    assert traces(tmp_path / "a", **how, until_accepted=1) == traces(tmp_path / "b", **how)


def test_the_table_has_a_row_for_each_of_several_rounds(tmp_path: Path) -> None:
    assert [row.kind for row in rows(traces(tmp_path / "one"), "strict")] == ["draft", "refiner", "selector"]
    found = traces(tmp_path / "three", rounds=3)
    table = rows(found, "strict")
    assert [(row.kind, row.name) for row in table[2:]] == [
        ("round", "round 1"),
        ("round", "round 2"),
        ("round", "round 3"),
        ("selector", "best"),
    ]
    # Each text has five tokens: the draft, and two samples a round.
    assert [row.tokens for row in table[2:]] == [15, 25, 35, 35]
    for number, row in enumerate(table[2:5]):
        assert [row.answer(t) for t in found] == [t.candidate(t.rounds[number]) for t in found]
    assert table[4].correct == table[5].correct
    assert len({row.correct["strict"] for row in table}) > 1


def test_a_table_of_rounds_is_read_from_its_traces(tmp_path: Path) -> None:
    found = traces(tmp_path, rounds=2)
    read = [trace_from_json(trace_to_json(trace)) for trace in found]
    assert [trace.rounds for trace in read] == [trace.rounds for trace in found]
    check_figures(rows(found, "strict"), read, "strict")
    row = trace_to_json(found[0])
    with pytest.raises(Fault, match=r"the candidate '9\.x\.0', which is not there"):
        trace_from_json({**row, "rounds": ["9.x.0", row["rounds"][1]]})
    with pytest.raises(Fault, match="not that of its last round"):
        trace_from_json({**row, "rounds": [row["rounds"][1], next(i for i in row["correct"] if i != row["rounds"][1])]})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"until_accepted": 1}, "--until-accepted needs --refine-below, the score from which the when critic accepts."),
        (
            {"until_accepted": 3, "refine_below": 0.5, "rounds": 2},
            "--until-accepted 3 is out of reach in 2 rounds; raise --rounds.",
        ),
        ({"until_accepted": 0}, "--until-accepted must be a whole number of at least 1, not 0."),
    ],
)
def test_acceptance_that_cannot_be_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as error:
        RunSettings(**settings)
    assert str(error.value) == says


def test_a_record_says_how_it_accepts_and_is_replayed(tmp_path: Path) -> None:
    task = ("run", "--tasks", "apples", "--limit", "12", "--name", "rounds", "--rounds", "2", "--refine-below", "0.6")
    asked = (*task, "--critic", "calculator", "--refiner", "continue", "--selector", "rerank")
    printed = refine_eval(*asked, "--until-accepted", "2", cwd=tmp_path).stdout
    assert "after round 1" in printed
    assert "after round 2" in printed
    assert "until_accepted: 2" in (tmp_path / "results/runs/rounds/run.yaml").read_text()
    replayed = json.loads(refine_eval("replay", "results/runs/rounds", "--json", cwd=tmp_path).stdout)
    told = json.loads((tmp_path / "results/runs/rounds/metrics.json").read_text())
    kinds = [(row["kind"], row["name"], row["correct"]) for row in told["rows"]]
    assert [(row["kind"], row["name"], row["correct"]) for row in replayed["rows"]] == kinds
    assert "with until_accepted 2 and not None" in error_line(*asked, cwd=tmp_path)


class Joining(Refiner):
    """Joins all answers that it sees."""

    name = "joining"
    sees_group = True

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        self.seen = [tuple(c.id for c in judged.group) for judged in batch]
        return [
            [replace(judged.candidate.solution, text=",".join(c.solution.text for c in judged.group), tokens=1)]
            for judged in batch
        ]


class Blind(Again):
    """Remembers the groups that it was given."""

    name = "blind"

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        self.seen = [judged.group for judged in batch]
        return super().refine(batch)


def test_refiners_that_declare_it_see_all_candidates_so_far_and_pay_for_them(tmp_path: Path) -> None:
    blind, joining = Blind(), Joining()
    found = traces(tmp_path, refiners=(blind, joining, Again()), rounds=2, selectors=(Best(),))
    first_round = ("draft", "1.blind.0", "1.blind.1", "1.joining.0", "1.again.0", "1.again.1")
    assert joining.seen == [(*first_round, "2.blind.0", "2.blind.1")] * len(PROBLEMS)
    assert blind.seen == [()] * len(PROBLEMS)
    plain, paying = rows(found, "strict"), rows(found, "strict", sees_group={"joining"})
    [alone], [read] = ([row for row in table if row.name == "joining"] for table in (plain, paying))
    assert (alone.tokens, read.tokens) == (5 + 1, 5 + 2 * 5 + 1)
    assert [row for row in plain if row.name != "joining"] == [row for row in paying if row.name != "joining"]
    check_figures(paying, [trace_from_json(trace_to_json(trace)) for trace in found], "strict")


class Asking(Selector):
    """Has the student say something about each problem; cannot tell of every second one."""

    name = "asking"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int | None]:
        problems = [group[0].candidate.problem for group in batch]
        self.runtime.generate(problems, [f"Which? {problem.id}" for problem in problems], purpose=self.name)
        return [None if number % 2 else 0 for number in range(len(batch))]


class Third(Even):
    """Scores the second sample highest."""

    name = "third"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        scores = [0.9 if candidate.sample else 0.1 for candidate in batch]
        return [Critique(score=s, step_scores=(s,) * len(c.solution.steps)) for s, c in zip(scores, batch, strict=True)]


def test_a_selector_that_cannot_tell_is_counted_and_the_best_score_is_taken(tmp_path: Path) -> None:
    pipeline = Pipeline(strategy(choose=Third(), selectors=(Asking(), Best())), runtime(tmp_path, Digits()))
    found = pipeline.run(PROBLEMS)
    assert [trace.selected["asking"] for trace in found] == ["draft", "1.again.1"] * 3
    assert pipeline.left_out == (
        LeftOut(
            component="asking", verb="choose from the candidates of", texts=3, of=6, reason="it named none of them"
        ),
    )


def test_what_a_selector_asks_a_model_is_on_its_own_bill(tmp_path: Path) -> None:
    found = traces(tmp_path, selectors=(Asking(), Best()))
    assert {name: cost.tokens for name, cost in found[0].selecting.items()} == {"asking": 5}
    table = {row.name: row for row in rows(found, "strict")}
    assert (table["asking"].tokens, table["best"].tokens) == (20, 15)
    assert table["asking"].seconds == pytest.approx(table["best"].seconds + 0.6)
    read = [trace_from_json(trace_to_json(trace)) for trace in found]
    assert read[0].selecting == {"asking": Cost(tokens=5)}
    check_figures(rows(found, "strict"), read, "strict")
    with pytest.raises(Fault, match="the selector 'nobody' cost tokens and chose nothing"):
        trace_from_json({**trace_to_json(found[0]), "selecting": {"nobody": 3}})
