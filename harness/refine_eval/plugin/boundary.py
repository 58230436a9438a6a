"""Where plugins' code is called: whatever escapes from it is one sentence that names the plugin."""

from __future__ import annotations

import unicodedata
from types import TracebackType
from weakref import WeakKeyDictionary

from refine_eval.errors import PluginError, RefineEvalError
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Component, Engine
from refine_eval.terminal import strip_control

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
    return f"{kind.capitalize()} {said(name)}" + (f" of {origin}" if origin else "")


def _name(item: Component | type[Component]) -> str:
    try:
        return item.name
    except AttributeError:  # it is not registered: nobody can say how it is called
        return item.__name__ if isinstance(item, type) else type(item).__name__


def said(thing: object, longest: int = LONGEST_FAULT) -> str:
    """A value of a plugin's, or an error's words, in a sentence: one line, harmless and short, whatever it is.

    Of an error that refine-eval raises on purpose its sentence without the full stop, of anything else the repr.
    """
    try:
        text = str(thing).rstrip(". \n") if isinstance(thing, RefineEvalError) else repr(thing)
        return shortened(text, longest)
    except BaseException as error:
        if type(error) is KeyboardInterrupt:
            raise
        return shortened(type(thing).__name__)


def fault(error: BaseException) -> str:
    """An error as a part of a sentence: its kind, and what it says where it can."""
    kind = type(error).__name__
    try:
        text = shortened(str(error)).rstrip(".")
    except BaseException as another:
        if type(another) is KeyboardInterrupt:
            raise
        text = ""
    return shortened(f"{kind}: {text}" if text else kind)


def shortened(text: str, longest: int = LONGEST_FAULT) -> str:
    """A text in one line, without control characters, and not too long."""
    line = strip_control(" ".join(text[: 10 * longest].split()))
    return line if len(line) <= longest and len(text) <= 10 * longest else f"{line[: longest - 3]}..."


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

    What it raises on purpose passes, harmless; anything else, sys.exit too, becomes a PluginError that names the
    plugin. Ctrl-C ends the run as ever.
    """

    def __init__(self, item: Component | type[Component] | Benchmark, doing: str) -> None:
        self._item, self._doing = item, doing

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
        look = (
            ""
            if isinstance(self._item, Benchmark)
            else f" To look into it: refine-eval plugins check {_name(self._item)}"
        )
        raise PluginError(
            f"{called(self._item)} failed {self._doing}: {fault(error)}. What was computed before is stored.{look}"
        ) from error


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


def label_of(engine: Engine) -> str:
    """What progress calls an engine."""
    with blamed(engine, "in label"):
        return shortened(_text(engine, "label", engine.label))


def advice_of(engine: Engine) -> str:
    """An engine's line for people, once it is open; "" where it has none."""
    with blamed(engine, "in advice"):
        return shortened(_text(engine, "advice", engine.advice), LONGEST_SENTENCE)


def for_model(engine: Engine, model: str) -> Engine | None:
    """An engine of this kind for another model, not opened yet; None where it has none."""
    with blamed(engine, "in for_model()"):
        found = engine.for_model(model)
    if found is not None and not isinstance(found, Engine):
        raise PluginError(f"{called(engine)} must return an Engine or None from for_model(), not {said(found)}.")
    return found


def _text(component: Component, what: str, found: object) -> str:
    if isinstance(found, str):
        try:
            return found.encode().decode()
        except UnicodeError:
            pass
    raise PluginError(f"{called(component)} must return a text from {what}, not {said(found)}.")
