"""Writes docs/reference/components.md: what each bundled component does and needs, and its options. Run by `make docs`.

What critics, refiners and selectors need is seen, not said: each judges, refines or chooses among toy solutions, plain
and as chats, on a runtime that notes what it is asked for.
"""

import argparse
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from refine_eval.critics.token_classifier import TokenClassifierCritic
from refine_eval.data import Candidate, EngineSpec, Generation, Problem, Prompt, ScoredCandidate, Solution
from refine_eval.errors import RefineEvalError
from refine_eval.formats import as_messages, prefill_of
from refine_eval.plugin.combining import CombiningCritic
from refine_eval.plugin.components import Component, Engine, Trainer
from refine_eval.plugin.options import option_fields
from refine_eval.plugin.registry import KINDS, registry
from refine_eval.plugin.runtime import Grader
from refine_eval.testing import ToyRuntime
from refine_eval.testing.subjects import CriticSubject, RefinerSubject, SelectorSubject, Subject

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "components.md"
INTRODUCTION = """# Components

All that comes with refine-eval, what it needs of a run, and its options with their defaults. Made by `make docs`.
`refine-eval plugins show NAME` says more of each.
"""
WATCHED = ("critic", "refiner", "selector")
SUBJECTS: tuple[type[Subject[Any, Any]], ...] = (CriticSubject, RefinerSubject, SelectorSubject)


class Noting(ToyRuntime):
    """A toy runtime that notes what a component asks it for, as people would call it."""

    def __init__(self, gold: bool) -> None:
        super().__init__(gold=gold)
        self.noted: dict[str, None] = {}

    def generate(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        *,
        model: str | EngineSpec | None = None,
        **how: Any,
    ) -> list[list[Generation]]:
        if prompts and how["purpose"] != "sample":
            self.noted["texts of the student" if model is None else "texts of a model of its own"] = None
        if any(map(prefill_of, prompts)):
            self.noted["of chats: a prefill"] = None
        return super().generate(problems, prompts, model=model, **how)

    def choose(
        self, problems: Sequence[Problem], *how: Any, model: str | EngineSpec | None = None, **more: Any
    ) -> list[Generation]:
        if problems:
            self.noted["how likely " + ("the student" if model is None else "a model of its own") + " finds words"] = (
                None
            )
        return super().choose(problems, *how, model=model, **more)

    def sample_answers(self, problems: Sequence[Problem], *how: Any, **more: Any) -> list[list[Solution]]:
        if problems:
            self.noted["samples of the student"] = None
        return super().sample_answers(problems, *how, **more)

    def student_model(self) -> tuple[str, str | None]:
        self.noted["the weights of the student"] = None
        return super().student_model()

    @property
    def grader(self) -> Grader:
        self.noted["gold answers"] = None
        return super().grader


def needs(component: type[Component]) -> list[str]:
    """What a component needs of a run, in words."""
    if issubclass(component, Engine):
        return ["plain prompts" + " or messages" * component.takes_messages]
    if issubclass(component, Trainer):
        return [f"the outputs of `{stage}`" for stage in component.reads] + ["a model"] * component.needs_base
    if component.kind not in WATCHED:
        return []
    if issubclass(component, CombiningCritic):
        return ["what the critics that it combines need"]
    (kind,) = (kind for kind in SUBJECTS if issubclass(component, kind.kind))
    runtime = Noting(gold=component.needs_gold)
    subject: Subject[Any, Any] = kind(component)
    for batch in (subject.inputs(), [_as_chat(given) for given in subject.inputs()]):
        try:
            with subject.opened(runtime) as instance:
                subject.call(instance, batch)
        except RefineEvalError:  # it wants a model that must be named
            break
    return [*_weights(component, runtime), *runtime.noted]


def _weights(component: type[Component], runtime: Noting) -> Iterator[str]:
    named = "model" in {field.name for field in option_fields(component)}
    if not named or not issubclass(component, TokenClassifierCritic) or "the weights of the student" in runtime.noted:
        return
    bundled = hasattr(component, "bundled")
    yield "weights of its own (bundled ones for the bundled task)" if bundled else "weights of its own"


def _as_chat(given: Any) -> Any:
    """An input of a component whose problems' prompts are messages."""
    if isinstance(given, list):
        return [_as_chat(each) for each in given]
    if isinstance(given, ScoredCandidate):
        return replace(given, candidate=_as_chat(given.candidate))
    assert isinstance(given, Candidate)
    return replace(given, problem=replace(given.problem, prompt=as_messages(given.problem.prompt)))


def page() -> str:
    """The page: a table of each kind's components, and of each one's options."""
    return INTRODUCTION + "".join(f"\n## {kind.capitalize()}s\n\n{''.join(_kind(kind))}" for kind in KINDS)


def _kind(kind: str) -> Iterator[str]:
    yield "| name | what it does | needs | options |\n| --- | --- | --- | --- |\n"
    for found in registry().all(kind):
        if found.distribution == "refine-eval":
            component = found.item
            assert isinstance(component, type)
            assert issubclass(component, Component)
            what = inspect.cleandoc(component.__doc__ or "").splitlines()[0]
            cells = [f"`{found.name}`", what, "; ".join(needs(component)) or "-", _options(component)]
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _options(component: type[Component]) -> str:
    shown = [
        (field.name.replace("_", "-"), "+".join(field.default) if field.kind is tuple else field.default)
        for field in option_fields(component)
        if not field.rest
    ]
    return (
        ", ".join(
            f"`{name}`" + (f" ({default})" if default not in ("", None, {}, ()) else "") for name, default in shown
        )
        or "-"
    )


def main() -> None:
    """Writes the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
