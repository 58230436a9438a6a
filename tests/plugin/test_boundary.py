"""Whatever a component raises, wherever it does: one sentence that names it; nothing is lost, no exit is silent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_run import PROBLEMS, PlainCritic, PlainEngine, PlainRefiner, PlainSelector, SmallRun, run

from refine_eval.data import Message, Request, Sampling
from refine_eval.errors import GenerationError, ModelError, PluginError, RefineEvalError, UsageError
from refine_eval.plugin.boundary import called, for_model, harmless, identity_of, label_of, said
from refine_eval.plugin.components import Component, Critic
from refine_eval.plugin.contract import check_prompts, read_count
from refine_eval.plugin.hookspecs import hookimpl
from refine_eval.plugin.options import made
from refine_eval.plugin.registry import Registry
from refine_eval.terminal import shortened


class Unspeakable(Exception):
    """Cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class AlmostCtrlC(KeyboardInterrupt):
    """Looks like Ctrl-C to who does not look closely."""


class Unheard(BaseException):
    """No Exception."""


ERRORS = [
    RuntimeError("boom"),
    RuntimeError("x" * 100_000),
    ValueError("one\ntwo\r\x1b[31mred\x1b]0;title\x07\u202e"),
    Unspeakable(),
    SystemExit(),
    SystemExit(0),
    SystemExit("bye"),
    GeneratorExit(),
    AlmostCtrlC(),
    Unheard("what"),
    StopIteration(3),
    type("Long" * 1_000, (Exception,), {})("x"),
    ModelError("y" * 100_000),
    type("OddModelError", (ModelError,), {"__str__": Unspeakable.__str__})(),
]

PLACES = [
    (PlainCritic, "open"),
    (PlainCritic, "identity"),
    (PlainCritic, "critique"),
    (PlainCritic, "keep_loaded"),
    (PlainRefiner, "open"),
    (PlainRefiner, "identity"),
    (PlainRefiner, "refine"),
    (PlainSelector, "open"),
    (PlainSelector, "select"),
    (PlainEngine, "open"),
    (PlainEngine, "identity"),
    (PlainEngine, "cache_key_of"),
    (PlainEngine, "generate"),
    (PlainEngine, "label"),
    (PlainEngine, "advice"),
    (PlainEngine, "takes_messages"),
]


def raising(error: BaseException) -> Callable[..., Any]:
    def method(*_: object, **__: object) -> None:
        raise error

    return method


def breaking(kind: type[Component], place: str, error: BaseException) -> Any:
    """A component of a registered class that raises in one place."""
    member: Any = raising(error)
    if place in ("keep_loaded", "label", "advice", "takes_messages", "gpus", "preferred_batch_size"):
        member = property(member)
    broken = type("Broken", (kind,), {"name": "broken", "__doc__": "Breaks.", place: member})

    def hook() -> list[type[Component]]:
        return [broken]

    hook.__name__ = f"refine_eval_{kind.kind}s"
    Registry([("broken", SimpleNamespace(**{hook.__name__: hookimpl(hook)}), "odd-plugin", "1.2")])
    return broken()


def use(folder: Path, component: Any, place: str) -> None:
    """A run, or for what plain prompts do not ask for, what is done with messages."""
    if place == "takes_messages":
        of_messages = Request(
            problem=PROBLEMS[0],
            prompt=(Message(role="user", content="1 + 1?"),),
            sampling=Sampling(max_tokens=5),
            purpose="draft",
            sample=0,
            seed=0,
        )
        check_prompts(component, [of_messages])
    run(folder, component)


def is_one_sentence(error: RefineEvalError) -> None:
    text = str(error)
    assert len(text) < 2_500
    assert "\n" not in text
    assert shortened(text, 3_000) == text, "nothing in it moves a terminal"


@pytest.mark.parametrize(("kind", "place"), PLACES, ids=lambda value: getattr(value, "kind", value))
def test_whatever_is_raised_names_the_plugin(tmp_path: Path, kind: type[Component], place: str) -> None:
    for number, error in enumerate(ERRORS):
        with pytest.raises(RefineEvalError) as raised:
            use(tmp_path / str(number), breaking(kind, place, error), place)
        is_one_sentence(raised.value)
        if not isinstance(error, RefineEvalError):
            assert f"{kind.kind.capitalize()} 'broken' of odd-plugin 1.2 failed" in str(raised.value)
        else:
            assert type(raised.value) is ModelError


@pytest.mark.parametrize(("kind", "place"), PLACES, ids=lambda value: getattr(value, "kind", value))
def test_ctrl_c_is_nobodys_fault(tmp_path: Path, kind: type[Component], place: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        use(tmp_path, breaking(kind, place, KeyboardInterrupt()), place)


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(0)], ids=repr)
def test_what_was_computed_before_is_stored(tmp_path: Path, error: BaseException) -> None:
    class EndsLate(PlainEngine):
        def one(self, request: Any) -> Any:
            if request.problem.id == "toy/3":
                raise error
            return super().one(request)

    with pytest.raises(GenerationError, match=r"'plain-engine' failed after 3 of 4 texts"):
        run(tmp_path, EndsLate())
    second = SmallRun(tmp_path)
    second.traces()
    assert second.runtime.generated == 1 + len(PROBLEMS), "one draft, and the samples"


@pytest.mark.parametrize("kind", [PlainCritic, PlainRefiner, PlainSelector, PlainEngine], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("error", [RuntimeError("stuck"), SystemExit(0), Unspeakable()], ids=lambda e: type(e).__name__)
def test_a_close_that_fails_loses_nothing(
    tmp_path: Path, kind: type[Component], error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(run(tmp_path, breaking(kind, "close", error))) == len(PROBLEMS)
    err = capsys.readouterr().err
    assert f"Warning: {kind.kind.capitalize()} 'broken' of odd-plugin 1.2 failed in close(): " in err
    assert all(line.startswith("Warning: ") for line in err.splitlines())


def test_a_close_that_fails_does_not_hide_the_first_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Twice(PlainCritic):
        keep_loaded = True
        critique = raising(RuntimeError("the first"))
        close = raising(RuntimeError("the second"))

    with pytest.raises(PluginError, match="the first"):
        run(tmp_path, Twice())
    assert "the second" in capsys.readouterr().err


@pytest.mark.parametrize("found", [None, 3, b"bytes", "half \ud83d", ["list"]], ids=repr)
def test_identities_keys_and_labels_are_texts(tmp_path: Path, found: object) -> None:
    critic = breaking(PlainCritic, "identity", RuntimeError())
    type(critic).identity = lambda self: found
    with pytest.raises(PluginError, match=r"'broken' of odd-plugin 1\.2 must return a text from identity\(\), not "):
        identity_of(critic)
    for place in ("label", "cache_key_of"):
        if place == "cache_key_of" and isinstance(found, str):
            continue  # a prompt may be anything, and is hashed
        member = property(lambda self: found) if place == "label" else lambda self, request: found
        with pytest.raises(PluginError, match=r"'plain-engine'.* must return a text from "):
            run(tmp_path / place, type("Odd", (PlainEngine,), {place: member})())


def test_what_an_engine_says_of_itself() -> None:
    for error in ERRORS[:6]:
        engine = breaking(PlainEngine, "for_model", error)
        for ask in (lambda: for_model(engine, "m"), lambda: read_count(engine, "gpus", raising(error))):  # noqa: B023
            with pytest.raises(PluginError, match=r"Engine 'broken' of odd-plugin 1\.2 failed in ") as raised:
                ask()
            is_one_sentence(raised.value)
    engine = PlainEngine()
    for wrong in (None, -1, 0.5, True, "2", 10**400):
        with pytest.raises(PluginError, match="says that its gpus is "):
            read_count(engine, "gpus", lambda: wrong)  # noqa: B023
    engine.for_model = lambda model: model  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(PluginError, match=r"must return an Engine or None from for_model\(\), not 'm'"):
        for_model(engine, "m")
    assert label_of(PlainEngine()) == "plain-engine"


# Options and __init__.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusing:
    """Refuses in words of its own."""

    depth: int = 3

    def __post_init__(self) -> None:
        if self.depth == 4:
            raise UsageError("Depth 4 is haunted; take another.")
        if self.depth == 5:
            raise SystemExit(0)
        if self.depth == 6:
            raise KeyError("x" * 100_000)


class Deep(PlainCritic):
    """Has a depth."""

    name = "deep"
    Options = Refusing


def test_options_that_fail() -> None:
    assert made(Deep, {"depth": "2"}).options.depth == 2
    with pytest.raises(UsageError, match=r"^Depth 4 is haunted; take another\.$"):
        made(Deep, {"depth": 4})
    for depth in (5, 6):
        with pytest.raises(PluginError, match=r"Critic 'deep' failed in its Options: (SystemExit|KeyError)") as raised:
            made(Deep, {"depth": depth})
        is_one_sentence(raised.value)


@pytest.mark.parametrize("error", ERRORS[:12], ids=lambda e: type(e).__name__[:20])
def test_an_init_that_fails(error: BaseException) -> None:
    broken = type("Broken", (PlainCritic,), {"name": "broken", "__init__": raising(error)})
    with pytest.raises(PluginError, match="Critic 'broken' failed in __init__: ") as raised:
        made(broken, {})
    is_one_sentence(raised.value)


def test_an_init_that_makes_something_else() -> None:
    for init in ({"__init__": lambda self, options: None}, {"__new__": lambda *_: "a text"}):
        broken = type("Broken", (PlainCritic,), {"name": "broken", **init})
        with pytest.raises(PluginError, match=r"'broken' has no options after __init__: it must call super"):
            made(broken, {})


def test_components_that_say_they_are_equal_or_have_no_hash(tmp_path: Path) -> None:
    class Same(PlainCritic):
        keep_loaded = True
        __hash__ = None  # type: ignore[assignment]
        __eq__ = raising(RuntimeError("incomparable"))

    assert len(run(tmp_path, Same())) == len(PROBLEMS)


def test_batches_that_a_component_empties_are_its_own(tmp_path: Path) -> None:
    class Eats(PlainCritic):
        def critique(self, batch: Any) -> Any:
            return [self.one(batch.pop(0)) for _ in range(len(batch))]

    class EatsToo(PlainRefiner):
        def refine(self, batch: Any) -> Any:
            found = super().refine(batch)
            batch.clear()
            return found

    class EatsGroups(PlainSelector):
        def select(self, batch: Any) -> Any:
            for group in batch:
                group.clear()
            return [1 for _ in range(len(batch))]

    traces = run(tmp_path, Eats(), EatsToo(), EatsGroups())
    assert [trace.choice.component for trace in traces] == ["plain-refiner"] * len(PROBLEMS)


# Words.


def test_what_is_said_of_an_error_is_short_and_harmless() -> None:
    assert said(ModelError("A sentence; do this.")) == "A sentence; do this"
    assert said(ValueError("\x1b[31m")) == r"ValueError('\x1b[31m')"
    assert said(Unspeakable()) == "Unspeakable"
    assert len(said(ValueError("x" * 10**6))) <= 300
    error = ModelError("A sentence; do this.")
    assert harmless(error) is error


def test_a_component_without_a_name_can_be_named() -> None:
    class Nameless(Critic):
        """Has no name."""

    assert called(Nameless) == "Critic 'Nameless'"
    assert called(Nameless()) == "Critic 'Nameless'"
