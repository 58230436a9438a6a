"""Finds plugins: walks the entry points, collects classes by name, blocks and reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from refine_eval.errors import PluginError, RefineEvalError, suggestion
from refine_eval.plugin import hookspecs
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Component, Critic, Engine, Refiner, Selector, Trainer
from refine_eval.plugin.moved import moved_import
from refine_eval.plugin.options import option_fields
from refine_eval.terminal import strip_control

C = TypeVar("C", bound=Component)

ENTRY_POINTS = "refine_eval"
DISABLE = "REFINE_EVAL_DISABLE_PLUGINS"

_LONGEST = 300
"""How much of a plugin's own words goes into a sentence."""

KINDS: dict[str, type[Component]] = {
    "critic": Critic,
    "refiner": Refiner,
    "selector": Selector,
    "engine": Engine,
    "trainer": Trainer,
}

_OTHER_KINDS: dict[str, type[Benchmark] | type[Path]] = {"benchmark": Benchmark, "recipe": Path}

ALL_KINDS = (*KINDS, *_OTHER_KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A component class, a benchmark or the file of a recipe, and who brought it."""

    kind: str
    name: str
    item: type[Component] | Benchmark | Path
    distribution: str
    version: str

    @property
    def description(self) -> str:
        """One line on what it is; of a recipe its file, which says more."""
        if isinstance(self.item, Benchmark):
            return self.item.description
        if isinstance(self.item, Path):
            return str(self.item)
        return next(iter((self.item.__doc__ or "").strip().splitlines()), "")


class BrokenPlugin(PluginError):
    """A plugin that cannot be imported, or offers what does not fit. `warning` is what is said where it is left out."""

    def __init__(self, fault: str, entry_point: str) -> None:
        super().__init__(f"{fault} To go on without it: {DISABLE}={entry_point}")
        self.warning = f"{fault} It is left out; to block it without a warning: {DISABLE}={entry_point}"


class Registry:
    """All components, benchmarks and recipes by kind and name.

    Plugins whose entry point is named in REFINE_EVAL_DISABLE_PLUGINS (comma-separated) are not loaded.
    """

    def __init__(self, plugins: Iterable[tuple[str, ModuleType | object, str, str]] = ()) -> None:
        """`plugins`: (entry point name, module or object with hook implementations, distribution, version)."""
        self._items: dict[tuple[str, str], Registered] = {}
        self._left_out: list[PluginError] = []
        self._contested: dict[tuple[str, str], PluginError] = {}
        for plugin in plugins:
            self.add(*plugin)

    def add(self, name: str, module: ModuleType | object, distribution: str, version: str) -> None:
        """Takes in all that a plugin offers; PluginError, and nothing is taken in, where some of it does not fit.

        A name that two plugins offer belongs to neither.
        """
        offered: dict[tuple[str, str], Registered] = {}
        contested: dict[tuple[str, str], PluginError] = {}
        for kind, item in _offered(name, module, distribution):
            called = item.stem if isinstance(item, Path) else item.name
            new = Registered(kind=kind, name=called, item=item, distribution=distribution, version=version)
            old = self._items.get((kind, called)) or offered.get((kind, called))
            if old is not None:
                contested[kind, called] = PluginError(
                    f"Two plugins offer the {kind} {called!r}: {old.distribution} {old.version} and "
                    f"{distribution} {version}; uninstall one, or name its entry point in {DISABLE}."
                )
            elif (kind, called) in self._contested:
                contested[kind, called] = self._contested[kind, called]
            offered[kind, called] = new
        self._contested |= contested
        for key in contested:
            self._items.pop(key, None)
        for error in contested.values():
            raise error
        self._items |= offered

    def leave_out(self, error: PluginError) -> None:
        """Remembers why a plugin is left out: it is said to whoever asks for a name that nobody has."""
        self._left_out.append(error)

    def all(self, kind: str | None = None) -> list[Registered]:
        """Everything registered, or all of one kind, sorted by kind and name."""
        found = [item for item in self._items.values() if kind in (None, item.kind)]
        return sorted(found, key=lambda item: (ALL_KINDS.index(item.kind), item.name))

    def named(self, name: str) -> list[Registered]:
        """All that goes by this name, of any kind; PluginError where nothing does."""
        found = [item for item in self.all() if item.name == name]
        if not found:
            contested = next((error for (_, taken), error in self._contested.items() if taken == name), None)
            raise contested or self._unknown("plugin", name, self.all())
        return found

    def component(self, kind: str, name: str) -> type[Component]:
        """The component class of this kind and name; PluginError with the nearest name where there is none."""
        found = self._items.get((kind, name))
        if found is None:
            raise self._contested.get((kind, name)) or self._unknown(kind, name, self.all(kind))
        assert isinstance(found.item, type)
        return found.item

    def _unknown(self, kind: str, name: str, known: Iterable[Registered]) -> PluginError:
        near = suggestion(name, {item.name for item in known})
        if not self._left_out:
            return PluginError(f"No {kind} is called {name!r}.{near} See: refine-eval plugins list")
        faults = " ".join(map(str, self._left_out))
        return PluginError(f"No {kind} is called {name!r}.{near} It may be of a plugin that is broken. {faults}")

    def named_component(self, kind: type[C], name: str) -> type[C]:
        """The subclass of `kind` with this name; PluginError with the nearest name where there is none."""
        found = self.component(kind.kind, name)
        assert issubclass(found, kind)
        return found

    def benchmarks(self) -> dict[str, Benchmark]:
        """Benchmarks by name."""
        return {b.item.name: b.item for b in self.all("benchmark") if isinstance(b.item, Benchmark)}

    def recipes(self) -> dict[str, Path]:
        """Files of recipes by name."""
        return {found.name: found.item for found in self.all("recipe") if isinstance(found.item, Path)}


def _offered(name: str, module: object, distribution: str) -> Iterator[tuple[str, type[Component] | Benchmark | Path]]:
    """What one plugin's hooks return, checked."""
    who = f"Plugin {name!r} of {distribution}"
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    with _blamed(name, f"{who} does not fit the hooks"):
        manager.register(module, name)
        manager.check_pending()
    for kind in ALL_KINDS:
        with _blamed(name, f"{who} failed in its {kind} hook"):
            offered = [item for items in getattr(manager.hook, f"refine_eval_{kind}s")() for item in items]
        for item in offered:
            with _blamed(name, f"{who} cannot be used"):
                _check(item, kind, who, name)
            yield kind, item


def _check(item: Any, kind: str, who: str, entry_point: str) -> None:
    """BrokenPlugin, or what the item's own code raises, where it is not what its hook is for."""
    if kind in _OTHER_KINDS:
        fits, wanted = isinstance(item, _OTHER_KINDS[kind]), f"{_OTHER_KINDS[kind].__name__} objects"
    else:
        fits = isinstance(item, type) and issubclass(item, KINDS[kind])
        wanted = f"{KINDS[kind].__name__} subclasses"
    name = getattr(item, "name", None)
    if not fits or not isinstance(name, str) or not name:
        fault = f"{who} returned {_said(item)} from its {kind} hook; it must return {wanted} with a name."
        raise BrokenPlugin(fault, entry_point)
    if kind in KINDS:
        option_fields(item)


@contextmanager
def _blamed(entry_point: str, what: str) -> Iterator[None]:
    """A plugin's own code at start-up: what escapes is a BrokenPlugin, what it prints does not get into `--json`."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (KeyboardInterrupt, BrokenPlugin):
        raise
    except BaseException as error:  # an import may even call sys.exit()
        moved = moved_import(error)
        raise BrokenPlugin(f"{what}: {f'it {moved}' if moved else _said(error)}.", entry_point) from error


def _said(thing: object) -> str:
    """An error's message or anything else of a plugin's, as a part of a sentence: in one line that is not too long."""
    sentence = isinstance(thing, RefineEvalError | pluggy.PluginValidationError)
    try:
        text = " ".join((str(thing) if sentence else repr(thing)).split()).rstrip(".")
    except Exception:
        text = type(thing).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _entry_points(found: Registry) -> Iterator[tuple[EntryPoint, Distribution]]:
    """The entry points of all plugins; distributions whose own cannot be read are left out of `found`."""
    seen = set()
    for distribution in distributions():
        try:
            points = [point for point in distribution.entry_points if point.group == ENTRY_POINTS]
        except Exception as error:
            name, version = _origin(distribution)
            fault = f"The entry points of {name} {version} cannot be read, so no plugin of it is found: {_said(error)}."
            _leave_out(found, PluginError(f"{fault} Install it again, or uninstall it."))
            continue
        for point in points:
            if (point.name, point.value) not in seen:
                seen.add((point.name, point.value))
                yield point, distribution


def _origin(distribution: Distribution) -> tuple[str, str]:
    """Name and version of a distribution. Its metadata may be missing or garbage; its modules can be sound then."""
    try:
        found = (distribution.metadata["Name"], distribution.metadata["Version"])
    except Exception:
        found = ("", "")
    name, version = (" ".join(str(text or "").split()) for text in found)
    folder = getattr(distribution, "_path", None)  # where metadata that say nothing lie
    return name or (folder.name if isinstance(folder, Path) else "a distribution without a name"), version or "?"


def _leave_out(found: Registry, error: PluginError) -> None:
    warning = error.warning if isinstance(error, BrokenPlugin) else str(error)
    print(f"Warning: {strip_control(warning)}", file=sys.stderr)
    found.leave_out(error)


@cache
def registry() -> Registry:
    """The registry of all installed plugins, read once a process.

    A broken plugin is left out with a warning on stderr. It is an error where a component is asked for that nobody
    else has, and where the plugin calls sys.exit: that would end the command without a word.
    """
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
    found = Registry()
    for point, distribution in _entry_points(found):
        if point.name in disabled:
            continue
        owner, version = _origin(distribution)
        try:
            with _blamed(point.name, f"Plugin {point.name!r} of {owner} {version} cannot be imported"):
                module = point.load()
            found.add(point.name, module, owner, version)
        except PluginError as error:
            if isinstance(error.__cause__, SystemExit):  # it means that nothing should go on with it
                raise
            _leave_out(found, error)
    return found
