"""Finds plugins: walks the entry points, collects classes by name, blocks and reports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pluggy

from refine_eval.errors import PluginError, nearest
from refine_eval.plugin import hookspecs
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Component, Critic, Engine, Refiner, Selector, Trainer

C = TypeVar("C", bound=Component)

ENTRY_POINTS = "refine_eval"
DISABLE = "REFINE_EVAL_DISABLE_PLUGINS"

KINDS: dict[str, type[Component]] = {
    "critic": Critic,
    "refiner": Refiner,
    "selector": Selector,
    "engine": Engine,
    "trainer": Trainer,
}

_OTHER_KINDS: dict[str, type[Benchmark] | type[Path]] = {"benchmark": Benchmark, "recipe": Path}


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
        """One line on what it is."""
        if isinstance(self.item, Benchmark):
            return self.item.description
        if isinstance(self.item, Path):
            return f"the recipe {self.item}"
        return (self.item.__doc__ or "").strip().splitlines()[0] if self.item.__doc__ else ""


class Registry:
    """All components, benchmarks and recipes by kind and name. Two plugins offering one name is an error.

    Plugins whose entry point is named in REFINE_EVAL_DISABLE_PLUGINS (comma-separated) are not loaded.
    """

    def __init__(self, plugins: Iterable[tuple[str, ModuleType | object, str, str]]) -> None:
        """`plugins`: (entry point name, module or object with hook implementations, distribution, version)."""
        self._items: dict[tuple[str, str], Registered] = {}
        for name, module, distribution, version in plugins:
            for kind, item in _offered(name, module, distribution):
                called = item.stem if isinstance(item, Path) else item.name
                self._add(Registered(kind=kind, name=called, item=item, distribution=distribution, version=version))

    def _add(self, new: Registered) -> None:
        old = self._items.setdefault((new.kind, new.name), new)
        if old is not new:
            raise PluginError(
                f"Two plugins offer the {new.kind} {new.name!r}: {old.distribution} {old.version} and "
                f"{new.distribution} {new.version}; uninstall one, or name its entry point in {DISABLE}."
            )

    def all(self, kind: str | None = None) -> list[Registered]:
        """Everything registered, or all of one kind, sorted by kind and name."""
        order = [*KINDS, *_OTHER_KINDS]
        found = [item for item in self._items.values() if kind in (None, item.kind)]
        return sorted(found, key=lambda item: (order.index(item.kind), item.name))

    def named(self, name: str) -> list[Registered]:
        """All that goes by this name, of any kind; PluginError where nothing does."""
        found = [item for item in self.all() if item.name == name and item.kind in KINDS]
        if not found:
            known = {item.name for item in self.all() if item.kind in KINDS}
            raise PluginError(f"No plugin is called {name!r}.{nearest(name, known)} See: refine-eval plugins list")
        return found

    def component(self, kind: str, name: str) -> type[Component]:
        """The component class of this kind and name; PluginError with the nearest name where there is none."""
        found = self._items.get((kind, name))
        if found is None:
            known = [item.name for item in self.all(kind)]
            raise PluginError(f"No {kind} is called {name!r}.{nearest(name, known)} See: refine-eval plugins list")
        assert isinstance(found.item, type)
        return found.item

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
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(
            f"Plugin {name!r} of {distribution} does not fit the hooks: {error} {_block(name)}"
        ) from error
    for kind in (*KINDS, *_OTHER_KINDS):
        try:
            offered = [item for items in getattr(manager.hook, f"refine_eval_{kind}s")() for item in items]
        except Exception as error:
            raise PluginError(
                f"Plugin {name!r} of {distribution} failed in its {kind} hook: {error!r}. {_block(name)}"
            ) from error
        for item in offered:
            if kind in _OTHER_KINDS:
                fits, wanted = isinstance(item, _OTHER_KINDS[kind]), f"{_OTHER_KINDS[kind].__name__} objects"
            else:
                fits = isinstance(item, type) and issubclass(item, KINDS[kind])
                wanted = f"{KINDS[kind].__name__} subclasses"
            if not fits or not getattr(item, "name", ""):
                raise PluginError(
                    f"Plugin {name!r} of {distribution} returned {item!r} from its {kind} hook; "
                    f"it must return {wanted} with a name. {_block(name)}"
                )
            yield kind, item


def _block(name: str) -> str:
    return f"To go on without it: {DISABLE}={name}"


def _entry_points() -> Iterator[tuple[EntryPoint, Distribution]]:
    seen = set()
    for distribution in distributions():
        for point in distribution.entry_points:
            if point.group == ENTRY_POINTS and (point.name, point.value) not in seen:
                seen.add((point.name, point.value))
                yield point, distribution


@cache
def registry() -> Registry:
    """The registry of all installed plugins, read once a process."""
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
    plugins = []
    for point, distribution in _entry_points():
        if point.name in disabled:
            continue
        owner, version = distribution.metadata["Name"], distribution.version
        try:
            module = point.load()
        except Exception as error:
            raise PluginError(
                f"Plugin {point.name!r} of {owner} {version} cannot be imported: {error!r}. {_block(point.name)}"
            ) from error
        plugins.append((point.name, module, owner, version))
    return Registry(plugins)
