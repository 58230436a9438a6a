"""The entrance of what plugins offer: their hooks are called here, and what they return is known to fit behind it."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any

import pluggy

from refine_eval.errors import PluginError
from refine_eval.plugin import hookspecs
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.boundary import LONGEST_FAULT, said
from refine_eval.plugin.components import Component, Critic, Engine, Refiner, Selector, Splitter, Trainer
from refine_eval.plugin.moved import moved_import
from refine_eval.plugin.options import click_options
from refine_eval.terminal import shortened, shown, strip_control

DISABLE = "REFINE_EVAL_DISABLE_PLUGINS"

KINDS: dict[str, type[Component]] = {
    "critic": Critic,
    "refiner": Refiner,
    "selector": Selector,
    "engine": Engine,
    "splitter": Splitter,
    "trainer": Trainer,
}

_OTHER_KINDS: dict[str, type[Benchmark] | type[Path]] = {"benchmark": Benchmark, "recipe": Path}

ALL_KINDS = (*KINDS, *_OTHER_KINDS)

COMPONENT_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""What the contract wants a component to be called."""

_MOST = 10_000
"""So many items of a hook are looked at: a generator may have no end."""
_LONGEST_NAME = 100

_HEADS = ("generator", "critic")

_FIELDS: dict[str, tuple[type[Any] | Callable[[object], bool], str]] = {
    "description": (str, "a text"),
    "data": (str, "a text"),
    "yaml": (Path, "a Path"),
    "local_data": (lambda value: value is None or callable(value), "a function or None"),
    "student": (lambda value: value is None or isinstance(value, Path), "a Path or None"),
    "first_bad_step": (lambda value: value is None or callable(value), "a function or None"),
    "steps": (str, "a text"),
    "needs": (str, "a text"),
    "max_gen_toks": (
        lambda value: value is None or (type(value) is int and value > 0),
        "a whole number above 0 or None",
    ),
}
"""What a benchmark's fields must be."""


class BrokenPlugin(PluginError):
    """A plugin that cannot be imported, or offers what does not fit. `warning` is what is said where it is left out."""

    def __init__(self, fault: str, entry_point: str) -> None:
        super().__init__(f"{fault} To go on without it: {DISABLE}={entry_point}")
        self.warning = f"{fault} It is left out; to block it without a warning: {DISABLE}={entry_point}"


def offers(
    entry_point: str, module: object, distribution: str
) -> Iterator[tuple[str, str, type[Component] | Benchmark | Path]]:
    """(kind, name, item) of all that one plugin's hooks return; BrokenPlugin where some of it does not fit."""
    who = f"Plugin {entry_point!r} of {distribution}"
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    with at_start(entry_point, f"{who} does not fit the hooks"):
        manager.register(module, entry_point)
        manager.check_pending()
    for kind in ALL_KINDS:
        hook = getattr(manager.hook, f"refine_eval_{kind}s")
        with at_start(entry_point, f"{who} failed in its {kind} hook"):
            returned = hook()
            # pluggy leaves out what is None.
            offered = [item for items in returned for item in islice(iter(items), _MOST + 1)]
            missing = len(returned) < len(hook.get_hookimpls())
        if missing or len(offered) > _MOST:
            fault = "None, which is no list; an empty one offers nothing." if missing else f"more than {_MOST:,} items."
            raise BrokenPlugin(f"{who} returned from its {kind} hook {fault}", entry_point)
        for item in offered:
            with at_start(entry_point, f"{who} cannot be used"):
                name = _checked(item, kind, who, entry_point)
            yield kind, name, item


def _checked(item: Any, kind: str, who: str, entry_point: str) -> str:
    """The item's name; BrokenPlugin, or what the item's own code raises, where it is not what its hook is for."""
    if kind in _OTHER_KINDS:
        fits, wanted = isinstance(item, _OTHER_KINDS[kind]), f"{_OTHER_KINDS[kind].__name__} objects"
    else:
        fits = isinstance(item, type) and issubclass(item, KINDS[kind])
        wanted = f"{KINDS[kind].__name__} subclasses"
    name = getattr(item, "stem" if kind == "recipe" else "name", None)
    if not fits or not isinstance(name, str) or not name:
        fault = f"{who} returned {shown(item)} from its {kind} hook; it must return {wanted} with a name."
        raise BrokenPlugin(fault, entry_point)
    what = f"{who} cannot be used: its {kind} {shown(name)}"
    wrong = _fault_of_name(name, kind)
    if kind in KINDS:
        wrong = wrong or _fault_of_component(item)
    elif kind == "benchmark":
        wrong = wrong or _fault_of_fields(item)
    if wrong:
        raise BrokenPlugin(f"{what} {wrong}.", entry_point)
    return name


def _fault_of_name(name: str, kind: str) -> str | None:
    """A file's name may have spaces; what is typed and becomes an option may not."""
    if strip_control(name) != name or "\n" in name or "\t" in name:
        return "has control characters in its name"
    if len(name) > _LONGEST_NAME:
        return f"has a name of more than {_LONGEST_NAME} characters"
    if kind in KINDS and (any(c.isspace() for c in name) or name.startswith("-") or "," in name):
        return "has spaces, commas or a leading hyphen in its name"
    return None


def _fault_of_component(kind: type[Component]) -> str | None:
    """What is wrong with a class, if anything is; an Options that cannot be used raises an error of its own."""
    if inspect.isabstract(kind):
        return f"is an abstract class, which lacks {', '.join(sorted(getattr(kind, '__abstractmethods__', ())))}"
    if click_options(kind) and issubclass(kind, Splitter):
        return "has Options, which no command can set: a splitter has none"
    if issubclass(kind, Trainer):
        if kind.head not in _HEADS:
            return f"has the head {shown(kind.head)}; it must be {' or '.join(map(repr, _HEADS))}"
        if not isinstance(kind.reads, tuple) or not all(isinstance(stage, str) for stage in kind.reads):
            return f"reads {shown(kind.reads)}; it must be a tuple of stages' names"
    return None


def _fault_of_fields(benchmark: Benchmark) -> str | None:
    for name, (wanted, in_words) in _FIELDS.items():
        value = getattr(benchmark, name)
        if not (isinstance(value, wanted) if isinstance(wanted, type) else wanted(value)):
            return f"has {shown(value)} as its {name}, which must be {in_words}"
    return None


@contextmanager
def at_start(entry_point: str, what: str) -> Iterator[None]:
    """A plugin's own code at start-up: what escapes is a BrokenPlugin, what it prints does not get into `--json`."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except BrokenPlugin:
        raise
    except BaseException as error:  # an import may even call sys.exit()
        if type(error) is KeyboardInterrupt:
            raise
        moved = moved_import(error)
        if isinstance(error, pluggy.PluginValidationError):
            reason = shortened(str(error), LONGEST_FAULT).rstrip(".")
        else:
            reason = f"it {moved}" if moved else said(error)
        raise BrokenPlugin(f"{what}: {reason}.", entry_point) from error
