"""What components return: numbers of every library are taken and made plain, rubbish is one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import PROBLEMS, PlainCritic, PlainEngine, PlainRefiner, PlainSelector, SmallRun, run

from refine_eval.data import Candidate, Critique, Generation, Request, ScoredCandidate
from refine_eval.errors import GenerationError, PluginError

NO_SCORES = [None, "0.5", b"1", 1j, True, np.True_, float("nan"), float("inf"), -0.1, 1.5, 10**400, [0.5], object()]
NO_SCORES += [np.array([0.5]), np.float64("nan"), torch.tensor([0.1, 0.2]), torch.tensor(True), np.str_("0.5")]
NO_INDICES = [None, "0", 0.0, 1.5, -1, 99, 10**400, [0], np.float32(0), object()]


def kind_of(value: object) -> str:
    """A test's id that is the same in every process: no address is in it."""
    return f"{type(value).__name__}{str(value)[:8]}"


class SaysCritic(PlainCritic):
    """Changes its critiques by a function."""

    stored = True

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def one(self, candidate: Candidate) -> Any:
        return self.change(super().one(candidate))


@pytest.mark.parametrize(
    "half",
    [0.5, Fraction(1, 2), np.float16(0.5), np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_any_library_are_scores(tmp_path: Path, half: Any) -> None:
    def change(critique: Critique) -> Critique:
        return replace(critique, score=half, step_scores=(half,) * 2, first_bad_step=np.int64(1))  # type: ignore[arg-type]

    written = run(tmp_path, SaysCritic(change))
    critique = written[0].critiques["draft"]["choose"]
    assert critique == Critique(score=0.5, step_scores=(0.5, 0.5), first_bad_step=1)
    kinds = {type(value) for value in (critique.score, *critique.step_scores, critique.first_bad_step)}
    assert kinds == {float, int}
    json.dumps([asdict(trace) for trace in written])
    again = SmallRun(tmp_path, SaysCritic(None))
    assert again.traces() == written, "and the store gives back what it got"


@pytest.mark.parametrize(
    "scores", [[0.5, 1], np.array([0.5, 1]), torch.tensor([0.5, 1.0], dtype=torch.bfloat16)], ids=type
)
def test_step_scores_may_be_a_list_or_an_array(tmp_path: Path, scores: Any) -> None:
    written = run(tmp_path, SaysCritic(lambda critique: replace(critique, score=1, step_scores=scores)))
    critique = written[0].critiques["draft"]["choose"]
    assert critique.step_scores == (0.5, 1.0)
    assert isinstance(critique.step_scores, tuple)
    assert {type(value) for value in (critique.score, *critique.step_scores)} == {float}


@pytest.mark.parametrize("wrong", NO_SCORES, ids=kind_of)
def test_what_is_no_score(tmp_path: Path, wrong: Any) -> None:
    for number, change in enumerate(
        (lambda c: replace(c, score=wrong), lambda c: replace(c, step_scores=(0.5, wrong)))
    ):
        with pytest.raises(
            PluginError, match=r"^Critic 'plain-critic' gave the score .* for candidate draft of problem"
        ) as e:
            run(tmp_path / str(number), SaysCritic(change))
        assert "scores must be probabilities in [0, 1]" in str(e.value)
        assert len(str(e.value)) < 300


@pytest.mark.parametrize("wrong", [*NO_INDICES[1:], True], ids=kind_of)
def test_what_is_no_step(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(PluginError, match=r"^Critic 'plain-critic' named step .*which has 2 steps"):
        run(tmp_path, SaysCritic(lambda critique: replace(critique, first_bad_step=wrong)))


@pytest.mark.parametrize("wrong", [None, 0.5, "ab", {0.5: 1}, iter([0.5, 0.5]), np.ones((2, 1))], ids=type)
def test_what_are_no_step_scores(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(
        PluginError, match=r"^Critic 'plain-critic' gave .* as step scores for candidate draft of problem toy/0"
    ):
        run(tmp_path, SaysCritic(lambda critique: replace(critique, step_scores=wrong)))


@pytest.mark.parametrize("returned", [None, 3, "four", (), iter(()), [None] * 4, [[]] * 4, [0.5] * 5, {}], ids=kind_of)
def test_what_are_no_results(tmp_path: Path, returned: Any) -> None:
    class Critic(PlainCritic):
        critique = lambda self, batch: returned  # noqa: E731

    class Refiner(PlainRefiner):
        refine = lambda self, batch: returned  # noqa: E731

    class Selector(PlainSelector):
        select = lambda self, batch: returned  # noqa: E731

    for component in (Critic(), Refiner(), Selector()):
        if component.kind == "refiner" and returned == [[]] * 4:
            continue  # no refinements
        if component.kind == "selector" and returned == [None] * 4:
            continue  # it cannot tell, which is counted
        with pytest.raises(PluginError, match=f"^{component.kind.capitalize()} 'plain-{component.kind}' ") as raised:
            run(tmp_path / component.kind, component)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("one", [1, np.int8(1), np.uint64(1), np.array(1), torch.tensor(1), True], ids=type)
def test_picks_of_any_library(tmp_path: Path, one: Any) -> None:
    class Second(PlainSelector):
        def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> Any:
            return [one for _ in batch]

    class Array(PlainSelector):
        def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> Any:
            return np.ones(len(batch), dtype=int)

    for selector in (Second(), Array()):
        assert {trace.choice.component for trace in run(tmp_path / type(selector).__name__, selector)} == {
            "plain-refiner"
        }


@pytest.mark.parametrize("wrong", NO_INDICES[1:], ids=kind_of)
def test_what_is_no_pick(tmp_path: Path, wrong: Any) -> None:
    class Wild(PlainSelector):
        def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> Any:
            return [wrong for _ in batch]

    with pytest.raises(PluginError, match=r"^Selector 'plain-selector' picked .* for problem toy/0, which has 2 cand"):
        run(tmp_path, Wild())


# Refiners.


class SaysRefiner(PlainRefiner):
    """Changes its solutions."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self.values = values

    def refine(self, batch: Sequence[ScoredCandidate]) -> Any:
        return [[replace(one, **self.values) for one in found] for found in super().refine(batch)]


@pytest.mark.parametrize(
    "values",
    [
        {"text": None},
        {"text": b"x"},
        {"steps": None},
        {"steps": "ab"},
        {"steps": (1, 2)},
        {"answer": 3},
        {"finish_reason": None},
        {"tokens": "5"},
        {"tokens": -1},
        {"tokens": True},
        {"tokens": 2**64},
        {"seconds": float("nan")},
        {"seconds": -1.0},
        {"seconds": "1"},
    ],
    ids=str,
)
def test_what_is_no_solution(tmp_path: Path, values: dict[str, Any]) -> None:
    name = next(iter(values))
    with pytest.raises(PluginError, match=f"^Refiner 'plain-refiner' returned a Solution for .* its {name}; "):
        run(tmp_path, SaysRefiner(**values))


def test_solutions_become_plain(tmp_path: Path) -> None:
    odd = {"text": "half \ud83d", "steps": ["half \ud83d"], "tokens": np.int32(7), "seconds": np.float32(0.5)}
    solution = run(tmp_path, SaysRefiner(**odd))[0].candidates[1].solution
    assert (solution.text, solution.steps, solution.tokens, solution.seconds) == ("half ?", ("half ?",), 7, 0.5)
    assert {type(solution.tokens), type(solution.seconds)} == {int, float}


# Engines.


class SaysEngine(PlainEngine):
    """Changes its generations, or says something else altogether."""

    def __init__(self, generate: Any = None, **values: Any) -> None:
        super().__init__()
        self.values, self.says = values, generate

    def one(self, request: Request) -> Any:
        return replace(super().one(request), **self.values)

    def generate(self, requests: Sequence[Request]) -> Any:
        return super().generate(requests) if self.says is None else self.says(list(super().generate(requests)))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"text": None}, "the text None"),
        ({"text": b"x"}, "the text b'x'"),
        ({"tokens": "5"}, "a text of '5' tokens"),
        ({"tokens": -1}, "a text of -1 tokens"),
        ({"tokens": True}, "a text of True tokens"),
        ({"tokens": 1.0}, "a text of 1.0 tokens"),
        ({"tokens": 10**400}, "tokens"),
        ({"finish_reason": None}, "the finish reason None"),
        ({"finish_reason": "tired"}, "the finish reason 'tired'; it must be 'stop' or 'length'"),
        ({"finish_reason": ["stop"]}, "the finish reason a list of 1"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": float("inf")}, "inf seconds"),
        ({"seconds": -1}, "-1 seconds"),
        ({"seconds": "1"}, "'1' seconds"),
        ({"seconds": None}, "None seconds"),
        ({"prompt_tokens": 0}, "a prompt of 0 tokens; it must be a whole number of at least 1, or None"),
        ({"prompt_tokens": 2.5}, "a prompt of 2.5 tokens"),
        ({"prompt_tokens": True}, "a prompt of True tokens"),
        ({"prompt_tokens": 2**63}, "a prompt of 9223372036854775808 tokens"),
        ({"prompt_tokens": 3, "cached_tokens": 4}, "4 cached tokens of a prompt of 3 tokens"),
        ({"prompt_tokens": 3, "cached_tokens": -1}, "-1 cached tokens"),
        ({"cached_tokens": 1}, "1 cached tokens of a prompt of None tokens"),
        ({"cached_tokens": None}, "None cached tokens"),
    ],
    ids=str,
)
def test_what_is_no_generation(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(PluginError, match=r"^Engine 'plain-engine' gave for problem toy/0 ") as raised:
        run(tmp_path, SaysEngine(**values))
    assert says in str(raised.value)


def test_generations_become_plain(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, SaysEngine(tokens=np.int64(5), seconds=torch.tensor(0.5), text=np.str_("#### 3")))
    solution = small.traces()[0].draft.solution
    assert (solution.text, solution.tokens, solution.seconds) == ("#### 3", 5, 0.5)
    assert {type(solution.text), type(solution.tokens), type(solution.seconds)} == {str, int, float}
    again = SmallRun(tmp_path)
    again.traces()
    assert again.runtime.generated == 0, "it was stored"


def test_what_was_read_becomes_plain_and_flops_are_the_runs_own(tmp_path: Path) -> None:
    engine = SaysEngine(prompt_tokens=np.int64(9), cached_tokens=np.int32(2), flops=1e99)
    engine.model_parameters = np.int64(50)  # type: ignore[assignment]
    solution = run(tmp_path, engine)[0].draft.solution
    assert (solution.read_tokens, type(solution.read_tokens)) == (7, int)
    assert solution.flops == 2 * 50 * (7 + 5)


@pytest.mark.parametrize("parameters", [0, -1, 1.5, "7B", True])
def test_parameters_that_no_model_has(tmp_path: Path, parameters: Any) -> None:
    for component in (PlainEngine(), PlainCritic()):
        component.model_parameters = parameters
        with pytest.raises(PluginError, match=f"{component.name}' says that its model_parameters are"):
            run(tmp_path / component.name, component)


@pytest.mark.parametrize("read", [-1, 1.5, "3", True])
def test_no_number_of_tokens_that_a_critic_read(tmp_path: Path, read: Any) -> None:
    class ReadingCritic(PlainCritic):
        def one(self, candidate: Candidate) -> Any:
            return replace(super().one(candidate), read_tokens=read)

    with pytest.raises(PluginError, match=r"says that it read .* tokens for candidate draft of problem toy/0"):
        run(tmp_path, ReadingCritic())


def _for_ever(found: list[Any]) -> Iterator[Any]:
    while True:
        yield from found


@pytest.mark.parametrize(
    ("generate", "says"),
    [
        (lambda found: None, "failed after 0 of 4 texts: TypeError: 'NoneType' object is not iterable"),
        (lambda found: iter(found[:2]), "wrote 2 of 4 texts; the first missing one is for problem toy/2"),
        (lambda found: [(9, found[0][1])], "yielded the index 9, and got 4 requests"),
        (lambda found: [(-1, found[0][1])], "yielded the index -1, and got 4 requests"),
        (lambda found: [("0", found[0][1])], "yielded the index '0', and got 4 requests"),
        (lambda found: [(True, found[0][1])], "yielded the index True, and got 4 requests"),
        (lambda found: [found[0], found[0]], "yielded a text for the index 0 twice"),
        (_for_ever, "yielded a text for the index 0 twice"),
        (lambda found: [found[0][1]], "must yield pairs"),
        (lambda found: [(*found[0], 3)], "must yield pairs"),
        (lambda found: [(0, "text")], "must yield pairs (index, Generation), and yielded (0, 'text')"),
        (lambda found: ["ab"], "must yield pairs"),
        (lambda found: [None], "must yield pairs (index, Generation), and yielded None"),
    ],
    ids=range(13),
)
def test_what_an_engine_may_not_yield(tmp_path: Path, generate: Any, says: str) -> None:
    with pytest.raises((PluginError, GenerationError)) as raised:
        run(tmp_path, SaysEngine(generate))
    assert str(raised.value).startswith("Engine 'plain-engine' ")
    assert says in str(raised.value)


def test_what_was_yielded_before_the_breach_is_stored(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="twice"):
        run(tmp_path, SaysEngine(_for_ever))
    again = SmallRun(tmp_path)
    again.traces()
    assert again.runtime.generated == len(PROBLEMS), "only the samples"


def test_indices_of_numpy(tmp_path: Path) -> None:
    traces = run(tmp_path, SaysEngine(lambda found: [(np.int64(index), one) for index, one in reversed(found)]))
    assert [trace.draft.solution.answer for trace in traces] == ["0", "1", "2", "3"]


def test_a_subclass_of_a_record_is_taken_for_what_it_holds(tmp_path: Path) -> None:
    class Own(Generation):
        """Knows more."""

    class Engine(PlainEngine):
        def one(self, request: Request) -> Any:
            return Own(text="#### 1", tokens=1, finish_reason="stop")

    assert run(tmp_path, Engine())[0].draft.solution.answer == "1"
