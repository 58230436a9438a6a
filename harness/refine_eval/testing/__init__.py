"""Is my plugin sound? Contract checks and toy fixtures, which need no model, no network and no test runner.

The contract of a component, as a test suite in two lines (in the manner of scikit-learn's `check_estimator`):

    @pytest.mark.parametrize("check", component_checks(MyCritic), ids=str)
    def test_contract(check): check()

`refine-eval plugins check NAME` prints the same checks for an installed plugin. For tests of your own there are
`ToyRuntime`, `toy_problems`, `toy_candidates`, `toy_judged`, `toy_groups` and `toy_solution`; for those of a trainer
`toy_training_data` and `toy_tokenizer`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from refine_eval.errors import PluginError
from refine_eval.plugin.boundary import fault
from refine_eval.plugin.components import Component
from refine_eval.terminal import shortened
from refine_eval.testing.checks import Case, contract
from refine_eval.testing.subjects import CriticSubject, RefinerSubject, SelectorSubject, Subject
from refine_eval.testing.text_subjects import EngineSubject, SplitterSubject
from refine_eval.testing.toys import (
    ToyRuntime,
    toy_candidates,
    toy_groups,
    toy_judged,
    toy_problems,
    toy_solution,
    toy_tokenizer,
    toy_training_data,
)
from refine_eval.testing.trainers import TrainerSubject, trainer_contract

__all__ = [
    "Check",
    "CheckResult",
    "ToyRuntime",
    "check_component",
    "component_checks",
    "run_checks",
    "toy_candidates",
    "toy_groups",
    "toy_judged",
    "toy_problems",
    "toy_solution",
    "toy_tokenizer",
    "toy_training_data",
]


_SUBJECTS: tuple[type[Subject[Any, Any]], ...] = (
    *(CriticSubject, RefinerSubject, SelectorSubject),
    *(EngineSubject, SplitterSubject, TrainerSubject),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold for a component. Calling it raises AssertionError, with what to change, if it does not.

    An exception that the component itself raises passes through unchanged.
    """

    name: str
    description: str
    function: Callable[[], None] = field(repr=False)

    def __call__(self) -> None:
        self.function()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The outcome of a check; `message` says why it failed, and is empty where it passed."""

    name: str
    description: str
    passed: bool
    message: str
    seconds: float


def component_checks(component: type[Component], options: Any = None) -> list[Check]:
    """The contract of a critic, refiner, selector, engine, splitter or trainer class, each check by itself.

    `options` is an instance of the component's Options; None: the defaults. Most checks open a component of their
    own, so a component with a large model loads it several times, unless it `keep_loaded`.
    """
    return _checks(_case(component, options))


def _case(component: type[Component], options: Any) -> Case:
    kind = next((kind for kind in _SUBJECTS if issubclass(component, kind.kind)), None)
    if kind is None:
        kinds = "Critic, Refiner, Selector, Engine, Splitter or Trainer"
        raise PluginError(f"{component.__name__} is not a {kinds}: subclass one of them.")
    return Case(kind(component, options))


def _checks(case: Case) -> list[Check]:
    subject = case.subject
    functions = trainer_contract(subject) if isinstance(subject, TrainerSubject) else contract(subject)
    return [
        Check(
            name=function.__name__.replace("_", "-"),
            description=(function.__doc__ or "").splitlines()[0],
            function=partial(function, case),
        )
        for function in functions
    ]


def check_component(component: type[Component], options: Any = None) -> None:
    """Runs all checks and raises at the first that fails, naming it."""
    for check in component_checks(component, options):
        try:
            check()
        except Exception as error:
            error.add_note(f"in the contract check {check.name}: {check.description}")
            raise


def run_checks(component: type[Component], options: Any = None) -> list[CheckResult]:
    """Runs all checks, those after a failure too."""
    case = _case(component, options)
    try:
        return [_result(check) for check in _checks(case)]
    finally:
        with suppress(Exception):  # a check has told of it
            case.subject.close()


def _result(check: Check) -> CheckResult:
    start, message, passed = time.perf_counter(), "", True
    try:
        check()
    except AssertionError as error:
        message, passed = shortened(str(error), 2_000) or "a bare assert failed inside the component", False
    except BaseException as error:  # a component may even call sys.exit()
        if type(error) is KeyboardInterrupt:
            raise
        message, passed = f"it raised {fault(error)}", False
    return CheckResult(
        name=check.name,
        description=check.description,
        passed=passed,
        message=message,
        seconds=time.perf_counter() - start,
    )
