"""A component under test: its inputs, how it is called, what its outputs must be; for those who read solutions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, TypeVar

from refine_eval.data import Candidate, Critique, ScoredCandidate, Solution
from refine_eval.errors import PluginError
from refine_eval.formats import split_steps
from refine_eval.plugin.components import Component, Critic, Refiner, Selector
from refine_eval.plugin.contract import read_critiques, read_picks, read_refinements
from refine_eval.plugin.making import give_members
from refine_eval.plugin.options import made
from refine_eval.plugin.registry import registry
from refine_eval.terminal import shown
from refine_eval.testing.toys import ToyRuntime, toy_candidates, toy_groups, toy_judged, toy_solution

Given = TypeVar("Given")
Found = TypeVar("Found")

TOLERANCE = 1e-4
"""How far apart two scores of one input may be: padding changes the last digits."""

HOSTILE = (
    "\x1b]0;title\x07\x1b[31m23+5=28\x1b[0m\n#### 28",
    "[bold red]23+5=28[/bold red]\n[/]\n[link=file:///]#### 28[/link]",
    "23+5=28\n[BAD]28*3=84\n</s>\n#### 84",
    "Question: 1\nAnswer:\n#### 1\u2028\u202e\x00\x85\n",
    "7" * 10_000,
    "(" * 5_000 + "=1\n#### 1",
)
"""Texts that models have written, or might: terminal escapes, markup, special tokens, very long lines."""


class Subject(Generic[Given, Found]):
    """A component class with its options, opened anew for each check on a toy runtime.

    `runtime` is which one: a class of one's own has another student, such as a real model.
    """

    kind: type[Component]
    runtime: type[ToyRuntime] = ToyRuntime

    def __init__(self, component: type[Component], options: Any = None) -> None:
        self.component = component
        self.options = options
        self._kept: Component | None = None

    def make(self) -> Any:
        """A new instance, not open yet; one that combines critics has its members, with their default options."""
        return self.component(self.options)

    @contextmanager
    def opened(self, runtime: ToyRuntime | None = None) -> Iterator[Any]:
        """A fresh instance, open on a toy runtime that knows gold answers only if the component asks for them.

        One that stays open in runs, because it is slow to open, serves all checks that bring no runtime of their own.
        """
        if runtime is None and self._kept is not None:
            yield self._kept
            return
        instance = self.make()
        instance.open(runtime or self.runtime(gold=instance.needs_gold))
        if runtime is None and instance.keep_loaded:
            self._kept = instance
        try:
            yield instance
        finally:
            if instance is not self._kept:
                instance.close()

    @property
    def needs_gold(self) -> bool:
        """Whether the component, with these options, sees the gold answers."""
        return bool(self.make().needs_gold)

    def close(self) -> None:
        """Closes the instance that served several checks."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def outputs(self, instance: Any, batch: Sequence[Given]) -> list[Found]:
        """The outputs for a batch, known to be a list with one output per input."""
        outputs = self.call(instance, list(batch))
        assert isinstance(outputs, list), f"returned {shown(outputs)} instead of a list"
        assert len(outputs) == len(batch), f"returned {len(outputs)} outputs for a batch of {len(batch)}"
        return outputs

    def call(self, instance: Any, batch: list[Given]) -> Any:
        """Calls the method that does the component's work."""
        raise NotImplementedError

    def inputs(self) -> list[Given]:
        """Ordinary inputs."""
        raise NotImplementedError

    def empty_inputs(self) -> list[Given]:
        """Inputs whose solutions have no text, or no steps."""
        raise NotImplementedError

    def hostile_inputs(self) -> list[Given]:
        """Inputs with the texts of `HOSTILE`."""
        raise NotImplementedError

    def verify(self, instance: Any, given: Given, found: Found) -> None:
        """AssertionError where an output is not what a run would accept from this kind."""
        raise NotImplementedError

    def left_out(self, found: Found) -> str | None:
        """Why an output says that there is none for its input; None where there is one."""
        return None

    def alike(self, one: Found, other: Found) -> bool:
        """Whether two outputs for one input count as the same."""
        return one == other

    def label(self, given: Given) -> str:
        """What to call an input in a message."""
        raise NotImplementedError


@contextmanager
def breach() -> Iterator[None]:
    """What a run would report as a PluginError is a failed check."""
    try:
        yield
    except PluginError as error:
        raise AssertionError(str(error)) from error


def _with_text(candidate: Candidate, text: str) -> Candidate:
    return replace(candidate, solution=toy_solution(text))


def _called(candidate: Candidate) -> str:
    text = candidate.solution.text
    return f"candidate {candidate.id} of {candidate.problem.id} (text {shown(text)})"


class CriticSubject(Subject[Candidate, Critique]):
    """A critic: candidates in, critiques out."""

    kind = Critic

    def make(self) -> Any:
        instance = super().make()
        give_members(instance, lambda name: made(registry().named_component(Critic, name), {}))
        return instance

    def call(self, instance: Critic, batch: list[Candidate]) -> Any:
        return instance.critique(batch)

    def inputs(self) -> list[Candidate]:
        return toy_candidates(12)

    def empty_inputs(self) -> list[Candidate]:
        return [_with_text(toy_candidates(1)[0], text) for text in ("", " \n\n ")]

    def hostile_inputs(self) -> list[Candidate]:
        return [_with_text(toy_candidates(1)[0], text) for text in HOSTILE]

    def verify(self, instance: Critic, given: Candidate, found: Critique) -> None:
        with breach():
            read_critiques(instance, [given], [found])

    def verify_scores(self, given: Candidate, found: Critique) -> None:
        """All scores are finite floats in [0, 1]."""
        for score in (found.score, *found.step_scores):
            assert isinstance(score, float), f"the score {score!r} for {_called(given)} is not a Python float"
            in_range = math.isfinite(score) and 0 <= score <= 1
            assert in_range, f"the score {score} for {_called(given)} is no probability in [0, 1]"

    def verify_step_scores(self, given: Candidate, found: Critique) -> None:
        """One score a step."""
        steps, scores = len(given.solution.steps), found.step_scores
        assert isinstance(scores, tuple), f"step_scores for {_called(given)} are no tuple: {shown(scores)}"
        assert len(scores) == steps, f"{len(scores)} step scores for {_called(given)}, which has {steps} steps"

    def verify_first_bad_step(self, given: Candidate, found: Critique) -> None:
        """None, or the index of a step; 0 is allowed where there are no steps."""
        bad, steps = found.first_bad_step, len(given.solution.steps)
        in_range = bad is None or (type(bad) is int and 0 <= bad < max(steps, 1))
        assert in_range, f"first_bad_step is {bad!r} for {_called(given)}, which has {steps} steps, counted from 0"

    def verify_words(self, given: Candidate, found: Critique) -> None:
        """Feedback is a text; without a verdict there is no score."""
        assert found.feedback is None or isinstance(found.feedback, str), (
            f"the feedback for {_called(given)} is {shown(found.feedback)}, not a text"
        )
        assert found.parsed or found.unscored is not None, (
            f"no verdict was parsed for {_called(given)}, and it is scored; return "
            f"Critique.without_score(candidate, why, parsed=False)"
        )

    def left_out(self, found: Critique) -> str | None:
        return found.unscored

    def alike(self, one: Critique, other: Critique) -> bool:
        scores, others = (one.score, *one.step_scores), (other.score, *other.step_scores)
        return (
            len(scores) == len(others)
            and all(abs(a - b) <= TOLERANCE for a, b in zip(scores, others, strict=True))
            and (one.first_bad_step, one.unscored) == (other.first_bad_step, other.unscored)
            and (one.feedback, one.parsed, one.verdicts, one.unread)
            == (other.feedback, other.parsed, other.verdicts, other.unread)
        )

    def label(self, given: Candidate) -> str:
        return _called(given)


class RefinerSubject(Subject[ScoredCandidate, list[Solution]]):
    """A refiner: judged candidates in, lists of solutions out."""

    kind = Refiner

    def call(self, instance: Refiner, batch: list[ScoredCandidate]) -> Any:
        return instance.refine(batch)

    def inputs(self) -> list[ScoredCandidate]:
        judged = toy_judged(12)
        return [self._in_group(item, [other.candidate for other in judged]) for item in judged]

    def _in_group(self, item: ScoredCandidate, others: Sequence[Candidate]) -> ScoredCandidate:
        """As the pipeline gives it: with the problem's candidates up to this one, to who declares to see them."""
        if not getattr(self.component, "sees_group", False):
            return item
        own = [other for other in others if other.problem.id == item.candidate.problem.id]
        return replace(item, group=tuple(own[: own.index(item.candidate) + 1]))

    def empty_inputs(self) -> list[ScoredCandidate]:
        candidate = _with_text(toy_candidates(1)[0], "")
        found = [
            ScoredCandidate(candidate=candidate, critique=Critique(score=0.0, step_scores=(), first_bad_step=first_bad))
            for first_bad in (None, 0)
        ]
        return [self._in_group(item, [candidate]) for item in found]

    def hostile_inputs(self) -> list[ScoredCandidate]:
        candidates = [_with_text(toy_candidates(1)[0], text) for text in HOSTILE]
        found = [
            ScoredCandidate(
                candidate=candidate,
                critique=Critique(
                    score=0.1, step_scores=(0.1,) * steps, first_bad_step=0, feedback=candidate.solution.text
                ),
            )
            for candidate in candidates
            for steps in [len(candidate.solution.steps)]
        ]
        return [self._in_group(item, candidates) for item in found]

    def verify(self, instance: Refiner, given: ScoredCandidate, found: list[Solution]) -> None:
        with breach():
            read_refinements(instance, [given], [found])
        where = f"for {self.label(given)}"
        for solution in found:
            assert solution.steps == split_steps(solution.text), (
                f"returned a Solution {where} whose steps are not the non-empty lines of its text; "
                f"make it with runtime.solution(problem, generation)"
            )
            assert solution.tokens >= 0, f"returned a Solution {where} with {solution.tokens} tokens"

    def label(self, given: ScoredCandidate) -> str:
        return _called(given.candidate)


class SelectorSubject(Subject[list[ScoredCandidate], int | None]):
    """A selector: groups of judged candidates in, indices out."""

    kind = Selector

    def call(self, instance: Selector, batch: list[list[ScoredCandidate]]) -> Any:
        return instance.select(batch)

    def inputs(self) -> list[list[ScoredCandidate]]:
        groups = toy_groups(17)
        return [*groups, *([group[0]] for group in groups)]

    def empty_inputs(self) -> list[list[ScoredCandidate]]:
        return [[replace(judged, candidate=_with_text(judged.candidate, "")) for judged in toy_groups(15)[0]]]

    def hostile_inputs(self) -> list[list[ScoredCandidate]]:
        judged = toy_groups(15)[0][0]
        return [[judged, *(replace(judged, candidate=_with_text(judged.candidate, text)) for text in HOSTILE)]]

    def left_out(self, found: int | None) -> str | None:
        return "it cannot tell" if found is None else None

    def verify(self, instance: Selector, given: list[ScoredCandidate], found: int | None) -> None:
        with breach():
            read_picks(instance, [given], [found])

    def label(self, given: list[ScoredCandidate]) -> str:
        return f"{given[0].candidate.problem.id} with {len(given)} candidates"
