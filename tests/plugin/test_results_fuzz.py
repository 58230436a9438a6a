"""The entrance of plugins' results: whatever a component returns, a run has an outcome, or a sentence names it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz import HOSTILE_NUMBERS, HOSTILE_TEXTS, HOSTILE_VALUES, Refused, accepted_or_refused, fuzz
from hypothesis import strategies as st
from small_run import PROBLEMS, PlainCritic, PlainEngine, PlainRefiner, PlainSelector, run

from refine_eval.data import Candidate, Critique, Request
from refine_eval.plugin.components import Component


class Unspeakable(Exception):
    """Cannot be printed, compared or counted."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __len__ = __eq__ = __bool__ = __float__ = __index__ = __str__  # type: ignore[assignment]
    __hash__ = Exception.__hash__


class Lies(float):
    """A number that changes its mind."""

    def __float__(self) -> float:
        raise SystemExit(0)

    __str__ = __repr__ = lambda self: 1 / 0  # type: ignore[assignment, return-value]


class Bomb:
    """Goes off wherever it is touched."""

    def __getattr__(self, name: str) -> Any:
        raise GeneratorExit

    def __iter__(self) -> Any:
        raise SystemExit(0)


NUMBERS = HOSTILE_NUMBERS | st.sampled_from(
    [
        np.float32(0.25),
        np.float64("nan"),
        np.int8(1),
        np.uint64(2**63),
        np.bool_(True),
        np.array(0.5),
        np.array([0.5, 0.5]),
        np.array([[0.5]]),
        np.array(["a"], dtype=object),
        np.datetime64("nat"),
        torch.tensor(0.5),
        torch.tensor([0, 1]),
        torch.tensor(1 + 1j),
        Fraction(1, 3),
        1j,
        Lies(0.5),
    ]
)

VALUES = (
    HOSTILE_VALUES
    | NUMBERS
    | st.binary(max_size=3)
    | st.builds(Unspeakable)
    | st.builds(Bomb)
    | st.builds(itertools.count)
    | st.lists(NUMBERS | HOSTILE_TEXTS, max_size=3)
    | st.tuples(NUMBERS, NUMBERS)
    | st.sampled_from([object(), int, Critique(score=0.5, step_scores=(0.5, 0.5)), slice(1), range(4), {1}])
)

ERRORS = st.sampled_from(
    [
        RuntimeError("x" * 100_000),
        ValueError("\x1b[31m\n\n"),
        Unspeakable(),
        SystemExit(0),
        SystemExit(None),
        GeneratorExit(),
        StopIteration(),
        MemoryError(),
        RecursionError(),
        type("Odd", (KeyboardInterrupt,), {})(),
        KeyError(Unspeakable()),
        OSError(28, "No space left"),
    ]
)

FIELDS = {
    "critic": ("score", "step_scores", "first_bad_step", "read_tokens"),
    "refiner": ("text", "steps", "answer", "finish_reason", "tokens", "seconds", "read_tokens", "flops"),
    "selector": ("",),
    "engine": ("text", "tokens", "finish_reason", "seconds", "prompt_tokens", "cached_tokens", "index"),
}

METHODS = {
    "critic": ("critique", "identity", "open", "close", "keep_loaded"),
    "refiner": ("refine", "identity", "open", "close"),
    "selector": ("select", "identity", "open", "close"),
    "engine": ("generate", "identity", "open", "close", "cache_key_of", "label", "advice"),
}

ATTRIBUTES = ("keep_loaded", "label", "advice")


class Changes:
    """What a component does to the results of a plain one: some fields of some records become other values."""

    def __init__(self, changes: list[tuple[int, str, Any]]) -> None:
        self.changes = changes

    def of(self, number: int, record: Any) -> Any:
        for at, name, value in self.changes:
            if at == number and name not in ("", "index"):
                record = replace(record, **{name: value})
        return record

    def instead(self, number: int, name: str, value: Any) -> Any:
        return next((new for at, what, new in self.changes if at == number and what == name), value)


def changing(kind: str, changes: Changes) -> Component:
    """A component that returns almost what it should."""

    class ChangingCritic(PlainCritic):
        stored = False

        def critique(self, batch: Sequence[Candidate]) -> Any:
            return [changes.of(number, self.one(candidate)) for number, candidate in enumerate(batch)]

    class ChangingRefiner(PlainRefiner):
        def refine(self, batch: Any) -> Any:
            return [[changes.of(number, one) for one in found] for number, found in enumerate(super().refine(batch))]

    class ChangingSelector(PlainSelector):
        def select(self, batch: Any) -> Any:
            return [changes.instead(number, "", 0) for number in range(len(batch))]

    class ChangingEngine(PlainEngine):
        def generate(self, requests: Sequence[Request]) -> Any:
            for number, request in enumerate(requests):
                yield changes.instead(number, "index", number), changes.of(number, self.one(request))

    made: dict[str, type[Component]] = {
        "critic": ChangingCritic,
        "refiner": ChangingRefiner,
        "selector": ChangingSelector,
        "engine": ChangingEngine,
    }
    return made[kind]()


PLAIN = {"critic": PlainCritic, "refiner": PlainRefiner, "selector": PlainSelector, "engine": PlainEngine}


@st.composite
def changed_fields(draw: st.DrawFn) -> Component:
    """A component some of whose results have a wrong value in a field."""
    kind = draw(st.sampled_from(list(FIELDS)))
    change = st.tuples(st.integers(0, len(PROBLEMS)), st.sampled_from(FIELDS[kind]), VALUES)
    return changing(kind, Changes(draw(st.lists(change, min_size=1, max_size=3))))


@st.composite
def replaced_methods(draw: st.DrawFn) -> Component:
    """A component one of whose methods returns anything, yields anything, or raises."""
    kind = draw(st.sampled_from(list(METHODS)))
    name = draw(st.sampled_from(METHODS[kind]))
    how = draw(st.sampled_from(["return", "yield", "raise"]))
    value = draw(ERRORS if how == "raise" else st.lists(VALUES, max_size=5) | VALUES)

    def method(*_: Any) -> Any:
        if how == "raise":
            raise value
        return iter(value) if how == "yield" and isinstance(value, list) else value

    member = property(method) if name in ATTRIBUTES else method
    replaced: type[Component] = type("Replaced", (PLAIN[kind],), {"__doc__": "Does anything.", name: member})
    return replaced()


def outcome_or_sentence(folder: Path, component: Component) -> None:
    """A run with the component ends with traces that can be written, or with one sentence that names it."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    found = accepted_or_refused(lambda: run(folder / "run", component))
    if isinstance(found, Refused):
        assert f"{component.kind.capitalize()} 'plain-{component.kind}' " in found.sentence
        assert found.sentence.isprintable()
        return
    assert [trace.problem for trace in found.value] == PROBLEMS
    for trace in found.value:
        text = json.dumps(asdict(trace), allow_nan=False, ensure_ascii=False)
        text.encode()
        for candidate in trace.candidates:
            assert type(candidate.solution.tokens) is int
        for critique in trace.critiques[trace.draft.id].values():
            assert {type(value) for value in (critique.score, *critique.step_scores)} == {float}
        assert trace.choice in trace.candidates


@fuzz(component=changed_fields())
def test_almost_what_it_should_return(tmp_path: Path, component: Component) -> None:
    outcome_or_sentence(tmp_path, component)


@fuzz(component=replaced_methods())
def test_anything_from_a_method(tmp_path: Path, component: Component) -> None:
    outcome_or_sentence(tmp_path, component)
