"""The way of a problem, with components small enough to see through."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_pipeline import PROBLEMS, Again, Best, Digits, Even, runtime, strategy

from refine_eval.data import Candidate, Critique, Problem, ScoredCandidate, Solution
from refine_eval.errors import GenerationError, PluginError
from refine_eval.plugin.runtime import Runtime
from refine_eval.runs.pipeline import Pipeline
from refine_eval.runs.requests import derive_seed


def test_every_stage_leaves_its_trace(tmp_path: Path) -> None:
    traces = Pipeline(strategy(), runtime(tmp_path, Digits())).run(PROBLEMS)
    assert [trace.problem for trace in traces] == PROBLEMS
    for number, trace in enumerate(traces):
        assert [c.id for c in trace.candidates] == ["draft", "1.again.0", "1.again.1"]
        assert trace.candidates[0].solution.answer == str(number)
        assert [c.parent for c in trace.candidates] == [None, "draft", "draft"]
        assert set(trace.critiques["draft"]) == {"when", "where", "choose"}
        assert set(trace.critiques["1.again.0"]) == {"choose"}
        best = max(trace.candidates, key=lambda c: trace.critiques[c.id]["choose"].score)
        assert trace.selected == {"best": best.id}


def test_only_drafts_below_the_gate_are_refined(tmp_path: Path) -> None:
    engine = Digits()
    traces = Pipeline(strategy(refine_below=0.5), runtime(tmp_path, engine)).run(PROBLEMS)
    assert [trace.refined for trace in traces] == [False, True] * 3
    assert [len(trace.candidates) for trace in traces] == [1, 3] * 3
    assert {request.problem.id for request in engine.asked if request.purpose == "sample"} == {
        "toy/1",
        "toy/3",
        "toy/5",
    }


def test_later_rounds_refine_the_last_choice(tmp_path: Path) -> None:
    traces = Pipeline(strategy(rounds=2), runtime(tmp_path, Digits())).run(PROBLEMS)
    for trace in traces:
        assert [c.round for c in trace.candidates] == [0, 1, 1, 2, 2]
        first_round = trace.candidates[:3]
        best = max(first_round, key=lambda c: trace.critiques[c.id]["choose"].score)
        assert {c.parent for c in trace.candidates[3:]} == {best.id}
    assert any(trace.candidates[3].parent == "draft" for trace in traces)
    texts = [[c.solution.answer for c in trace.candidates[1:]] for trace in traces]
    assert any(later != earlier for earlier, *_, later in texts), "a second round samples anew"


def test_a_second_run_generates_nothing(tmp_path: Path) -> None:
    first = Pipeline(strategy(), runtime(tmp_path, Digits())).run(PROBLEMS)
    engine = Digits()
    run = runtime(tmp_path, engine)
    assert Pipeline(strategy(), run).run(PROBLEMS) == first
    assert engine.asked == []
    assert run.generated == 0


def test_another_seed_samples_anew_but_keeps_greedy_drafts(tmp_path: Path) -> None:
    Pipeline(strategy(), runtime(tmp_path, Digits())).run(PROBLEMS)
    engine = Digits()
    Pipeline(strategy(), runtime(tmp_path, engine, seed=1)).run(PROBLEMS)
    assert {request.purpose for request in engine.asked} == {"sample"}


def test_results_do_not_depend_on_which_problems_run_together(tmp_path: Path) -> None:
    together = Pipeline(strategy(), runtime(tmp_path / "a", Digits())).run(PROBLEMS)
    alone = [Pipeline(strategy(), runtime(tmp_path / "b", Digits())).run([p])[0] for p in reversed(PROBLEMS)]
    assert alone[::-1] == together


def test_what_was_written_before_an_engine_failed_is_kept(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"'digits' failed after 4 of 6 texts.*on fire"):
        Pipeline(strategy(), runtime(tmp_path, Digits(fail_after=4))).run(PROBLEMS)
    engine = Digits()
    traces = Pipeline(strategy(), runtime(tmp_path, engine)).run(PROBLEMS)
    assert sum(request.purpose == "draft" for request in engine.asked) == 2
    assert traces == Pipeline(strategy(), runtime(tmp_path / "fresh", Digits())).run(PROBLEMS)


def test_seeds_differ_by_all_that_matters() -> None:
    seeds = {
        derive_seed(r, p, s, i) for r in (0, 1) for p in ("a/1", "a/2") for s in ("draft", "sample") for i in (0, 1)
    }
    assert len(seeds) == 16
    assert all(0 <= seed < 2**63 for seed in seeds)


class Broken(Even):
    """Returns what it is told to."""

    name = "broken"
    stored = False

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        if isinstance(self.result, Exception):
            raise self.result
        good = super().critique(batch)
        return self.result(good)  # type: ignore[no-any-return]


def _with_score(score: float) -> Any:
    return lambda good: [*good[:3], replace(good[3], score=score), *good[4:]]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (RuntimeError("boom"), r"Critic 'broken' failed on a batch that begins with problem toy/0: RuntimeError: boom"),
        (lambda good: good[:-1], "must return a list of 6 critiques"),
        (lambda good: None, "must return a list of 6 critiques"),
        (_with_score(float("nan")), "score nan for candidate draft of problem toy/3"),
        (_with_score(1.5), r"score 1.5 for candidate draft of problem toy/3.*\[0, 1\]"),
        (
            lambda good: [replace(c, step_scores=(0.5,)) for c in good],
            "1 step scores for candidate draft of problem toy/0",
        ),
        (
            lambda good: [replace(c, first_bad_step=9) for c in good],
            "named step 9 for candidate draft of problem toy/0",
        ),
        (lambda good: [0.5] * len(good), "returned 0.5 for candidate draft of problem toy/0"),
    ],
)
def test_a_critic_that_breaks_its_contract_is_named_with_the_problem(tmp_path: Path, result: Any, message: str) -> None:
    broken = Broken(result)
    run = runtime(tmp_path, Digits())
    with pytest.raises(PluginError, match=message):
        Pipeline(strategy(when=broken, where=broken, choose=broken), run).run(PROBLEMS)
    engine = Digits()
    Pipeline(strategy(), runtime(tmp_path, engine)).run(PROBLEMS)
    assert {r.purpose for r in engine.asked} == {"sample"}, "the drafts that were written before must be stored"


class ShortRefiner(Again):
    """Loses a problem."""

    name = "short"

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        return super().refine(batch)[1:]


class WildSelector(Best):
    """Picks what is not there."""

    name = "wild"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        return [99 for _ in batch]


def test_refiners_and_selectors_are_held_to_their_contract(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="Refiner 'short' must return 6 lists"):
        Pipeline(strategy(refiners=(ShortRefiner(),)), runtime(tmp_path, Digits())).run(PROBLEMS)
    with pytest.raises(PluginError, match="Selector 'wild' picked 99 for problem toy/0, which has 3 candidates"):
        Pipeline(strategy(selectors=(WildSelector(),)), runtime(tmp_path, Digits())).run(PROBLEMS)


class Peeking(Even):
    """Wants the gold answers without saying so."""

    name = "peeking"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        self.runtime.grader.is_correct(batch[0])
        return super().critique(batch)


def test_gold_answers_reach_only_those_who_declare_it(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="'peeking' asked for the gold answers without declaring needs_gold"):
        Pipeline(strategy(when=Peeking()), runtime(tmp_path, Digits())).run(PROBLEMS)


def test_no_record_that_components_see_has_a_gold_answer() -> None:
    seen = {field for record in (Problem, Solution, Candidate, Critique, ScoredCandidate) for field in record.__slots__}
    assert not {"gold", "target", "doc", "correct", "is_correct", "label"} & seen


class Slow(Even):
    """Stays open, and counts."""

    name = "slow"

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.fail = fail
        self.calls: list[str] = []

    @property
    def keep_loaded(self) -> bool:
        return True

    def open(self, runtime: Runtime) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        if self.fail and batch[0].id != "draft":
            raise RuntimeError("out of paper")
        return super().critique(batch)


def test_what_stays_open_is_opened_once_and_closed_at_the_end(tmp_path: Path) -> None:
    slow = Slow()
    pipeline = Pipeline(strategy(when=slow, choose=slow, rounds=2), runtime(tmp_path, Digits()))
    pipeline.run(PROBLEMS)
    assert slow.calls == ["open"]
    pipeline.close()
    pipeline.close()
    assert slow.calls == ["open", "close"]


def test_what_stays_open_is_closed_after_an_error_too(tmp_path: Path) -> None:
    slow = Slow(fail=True)
    pipeline = Pipeline(strategy(when=slow, choose=slow), runtime(tmp_path, Digits()))
    with pytest.raises(PluginError, match="Critic 'slow' failed"):
        pipeline.run(PROBLEMS)
    assert slow.calls == ["open"]
    pipeline.close()
    assert slow.calls == ["open", "close"]


def test_what_failed_to_open_is_not_held_to_be_open(tmp_path: Path) -> None:
    class Never(Slow):
        """Cannot be opened."""

        name = "never"

        def open(self, runtime: Runtime) -> None:
            super().open(runtime)
            raise RuntimeError("no paper")

    never = Never()
    pipeline = Pipeline(strategy(when=never), runtime(tmp_path, Digits()))
    for opened in (1, 2):
        with pytest.raises(PluginError, match="no paper"):
            pipeline.run(PROBLEMS)
        assert never.calls.count("open") == opened
    pipeline.close()
