"""Where plugins' code is called: whatever escapes from it is one sentence that names the plugin."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence
from types import TracebackType
from weakref import WeakKeyDictionary

from refine_eval.data import Candidate, Critique, Thinking
from refine_eval.errors import GenerationError, PluginError, RefineEvalError, UsageError
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Component, Critic, Engine
from refine_eval.terminal import shortened, shown

LONGEST_FAULT = 300
"""How many characters of a plugin's own words go into a sentence."""
LONGEST_SENTENCE = 2_000
"""How many characters an error may have that a plugin raises on purpose."""

_components: WeakKeyDictionary[type[Component], str] = WeakKeyDictionary()
_benchmarks: dict[str, str] = {}


def remember_origin(item: type[Component] | Benchmark, distribution: str, version: str) -> None:
    """Who brought a component class or a benchmark, for sentences about it."""
    if isinstance(item, Benchmark):
        _benchmarks[item.name] = f"{distribution} {version}"
    else:
        _components[item] = f"{distribution} {version}"


def called(item: Component | type[Component] | Benchmark) -> str:
    """ "Critic 'length' of my-package 1.2"; without the distribution where nobody knows it."""
    if isinstance(item, Benchmark):
        kind, name, origin = "benchmark", item.name, _benchmarks.get(item.name)
    else:
        kind, name = item.kind, _name(item)
        origin = _components.get(item if isinstance(item, type) else type(item))
    return f"{kind.capitalize()} {shown(name)}" + (f" of {origin}" if origin else "")


def _name(item: Component | type[Component]) -> str:
    try:
        return item.name
    except AttributeError:  # it is not registered: nobody can say how it is called
        return item.__name__ if isinstance(item, type) else type(item).__name__


def said(error: BaseException) -> str:
    """What an error says, as part of a sentence: one of refine-eval's own without the full stop, else its repr."""
    try:
        return shortened(
            str(error).rstrip(". \n") if isinstance(error, RefineEvalError) else repr(error), LONGEST_FAULT
        )
    except BaseException as another:
        if type(another) is KeyboardInterrupt:
            raise
        return shortened(type(error).__name__, LONGEST_FAULT)


def fault(error: BaseException) -> str:
    """An error as a part of a sentence: its kind, and what it says where it can."""
    kind = type(error).__name__
    try:
        text = shortened(str(error), LONGEST_FAULT).rstrip(".")
    except BaseException as another:
        if type(another) is KeyboardInterrupt:
            raise
        text = ""
    return shortened(f"{kind}: {text}" if text else kind, LONGEST_FAULT)


def harmless(error: RefineEvalError) -> RefineEvalError:
    """The error itself where its sentence is one: short, printable, and in one line; else one of its kind that is."""
    try:
        text = str(error)
        if len(text) <= LONGEST_SENTENCE and not any(unicodedata.category(c)[0] == "C" for c in text):
            return error
        text = shortened(text, LONGEST_SENTENCE)
    except BaseException as another:
        if type(another) is KeyboardInterrupt:
            raise
        text = f"A plugin raised {type(error).__name__}, which cannot say why."
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == RefineEvalError.__module__)
    return kind(text)  # type: ignore[no-any-return]


class blamed:
    """A block that calls a plugin's code. `doing` says what: "failed in open()".

    What it raises on purpose passes, harmless; anything else, sys.exit too, becomes an error that names the plugin: a
    PluginError, or a GenerationError where an engine failed while it wrote. Ctrl-C ends the run as ever.
    """

    def __init__(
        self,
        item: Component | type[Component] | Benchmark,
        doing: str,
        kind: type[PluginError | GenerationError] = PluginError,
    ) -> None:
        self._item, self._doing, self._kind = item, doing, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None or type(error) is KeyboardInterrupt:
            return
        if isinstance(error, RefineEvalError):
            plain = harmless(error)
            if plain is error:
                return
            raise plain from error
        raise self._kind(
            f"{called(self._item)} failed {self._doing}: {fault(error)}. What was computed before is stored"
            f"{self._what_now()}"
        ) from error

    def _what_now(self) -> str:
        if self._kind is GenerationError:
            return ", and the same command goes on from there."
        if isinstance(self._item, Benchmark):
            return "."
        return f". To look into it: refine-eval plugins check {_name(self._item)}"


def critiqued(critic: Critic, batch: Sequence[Candidate]) -> tuple[list[Critique], float]:
    """What a critic returns for a batch that is not empty, unchecked, and the seconds that each candidate took."""
    began = time.perf_counter()
    with blamed(critic, f"on a batch that begins with problem {batch[0].problem.id}"):
        returned = critic.critique(list(batch))
    return returned, (time.perf_counter() - began) / len(batch)


def close_quietly(component: Component) -> str | None:
    """Closes a component; what went wrong, if anything did: neither is a run lost by it, nor the first error hidden."""
    try:
        with blamed(component, "in close()"):
            component.close()
    except RefineEvalError as error:
        return str(error)
    return None


def identity_of(component: Component) -> str:
    """A component's identity, known to be a text that can be written."""
    with blamed(component, "in identity()"):
        return _text(component, "identity()", component.identity())


def stays_open(component: Component) -> bool:
    """Whether a component is kept open until the run's end."""
    with blamed(component, "in keep_loaded"):
        return bool(component.keep_loaded)


def takes_messages(engine: Engine) -> bool:
    """Whether an engine can be given messages."""
    with blamed(engine, "in takes_messages"):
        return bool(engine.takes_messages)


def can_choose(engine: Engine) -> bool:
    """Whether an engine says how likely choices are."""
    with blamed(engine, "in can_choose"):
        return bool(engine.can_choose)


def only_messages(engine: Engine) -> bool:
    """Whether an engine is to be given nothing but messages."""
    with blamed(engine, "in only_messages"):
        return bool(engine.only_messages)


def label_of(engine: Engine) -> str:
    """What progress calls an engine."""
    with blamed(engine, "in label"):
        return shortened(_text(engine, "label", engine.label), LONGEST_FAULT)


def advice_of(engine: Engine) -> str:
    """An engine's line for people, once it is open; "" where it has none."""
    with blamed(engine, "in advice"):
        return shortened(_text(engine, "advice", engine.advice), LONGEST_SENTENCE)


def thinking_of(engine: Engine) -> Thinking | None:
    """How an engine's model thinks, once it is open; None where nobody knows."""
    with blamed(engine, "in thinking"):
        found = engine.thinking
        if found is None:
            return None
        if not isinstance(found, Thinking) or not isinstance(found.end, str) or not found.end:
            raise PluginError(f"{called(engine)} must have a Thinking or None as its thinking, not {shown(found)}.")
        return Thinking(end=str(found.end), at_once=bool(found.at_once))


def for_model(engine: Engine, model: str) -> Engine | None:
    """An engine of this kind for another model, not opened yet; None where it has none."""
    with blamed(engine, "in for_model()"):
        found = engine.for_model(model)
    if found is not None and not isinstance(found, Engine):
        raise PluginError(f"{called(engine)} must return an Engine or None from for_model(), not {shown(found)}.")
    return found


def own_model_of(engine: Engine, wanted_by: Component) -> tuple[str, str | None]:
    """Name or folder, and revision, of the model that an engine runs; UsageError where it runs none of files here."""
    with blamed(engine, "in own_model"):
        found = engine.own_model
        if found is not None:
            name, revision = found
            return str(name), None if revision is None else str(revision)
    raise UsageError(
        f"{called(wanted_by)} reads the student's model itself, and the engine {engine.name!r} has none here: pass "
        f"--{wanted_by.name}-model, a hub name or folder."
    )


def _text(component: Component, what: str, found: object) -> str:
    if isinstance(found, str):
        try:
            return found.encode().decode()
        except UnicodeError:
            pass
    raise PluginError(f"{called(component)} must return a text from {what}, not {shown(found)}.")
