"""Finds plugins: walks the entry points, collects classes by name, blocks and reports."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.metadata import version as installed
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from refine_eval.errors import PluginError, suggestion
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.boundary import remember_origin, said
from refine_eval.plugin.components import Component
from refine_eval.plugin.hooks import ALL_KINDS, DISABLE, KINDS, BrokenPlugin, at_start, offers
from refine_eval.terminal import advice_wanted, shortened, shown, strip_control

__all__ = ["ALL_KINDS", "DISABLE", "KINDS", "BrokenPlugin", "Registered", "Registry", "registry"]

C = TypeVar("C", bound=Component)

ENTRY_POINTS = "refine_eval"
_REFINE_EVAL = re.compile(r"refine[-_.]eval(?![-_.\w])", re.IGNORECASE)
"""The requirement of a package that is one of refine-eval itself."""


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
        docstring = self.item.__doc__
        return next(iter(docstring.strip().splitlines()), "") if isinstance(docstring, str) else ""


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
        for kind, called, item in offers(name, module, distribution):
            new = Registered(kind=kind, name=called, item=item, distribution=distribution, version=version)
            old = self._items.get((kind, called)) or offered.get((kind, called))
            if old is not None:
                contested[kind, called] = _twice(old, new, name)
            elif (kind, called) in self._contested:
                contested[kind, called] = self._contested[kind, called]
            offered[kind, called] = new
        self._contested |= contested
        for key in contested:
            self._items.pop(key, None)
        for error in contested.values():
            raise error
        self._items |= offered
        for each in offered.values():
            if not isinstance(each.item, Path):
                remember_origin(each.item, distribution, version)

    @property
    def broken(self) -> tuple[PluginError, ...]:
        """Why plugins are left out, an error each, and why names belong to nobody."""
        return (*self._left_out, *(error for error in self._contested.values() if error not in self._left_out))

    @property
    def left_out(self) -> str:
        """Why plugins are left out, as sentences; empty where none is."""
        return " ".join(map(str, self._left_out))

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
            return PluginError(f"No {kind} is called {shown(name)}.{near} See: refine-eval plugins list")
        return PluginError(
            f"No {kind} is called {shown(name)}.{near} It may be of a plugin that is broken. {self.left_out}"
        )

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


def _twice(old: Registered, new: Registered, entry_point: str) -> PluginError:
    what = f"the {new.kind} {shown(new.name)}"
    if (old.distribution, old.version) == (new.distribution, new.version):
        return BrokenPlugin(f"Plugin {entry_point!r} of {new.distribution} offers {what} twice.", entry_point)
    return PluginError(
        f"Two plugins offer {what}: {old.distribution} {old.version} and {new.distribution} {new.version}; uninstall "
        f"one, or name its entry point in {DISABLE}."
    )


@dataclass(frozen=True, slots=True)
class _Owner:
    """A distribution that brings plugins. Its metadata are parsed here once, not for each of its entry points."""

    name: str
    version: str
    unmet: str | None
    """The versions of refine-eval that it is for, where this is none of them."""


def _entry_points(found: Registry) -> Iterator[tuple[EntryPoint, _Owner]]:
    """The entry points of all plugins; distributions whose own cannot be read are left out of `found`."""
    seen = set()
    for distribution in _distributions(found):
        try:
            points = [point for point in distribution.entry_points if point.group == ENTRY_POINTS]
        except Exception as error:
            name, version = _origin(distribution)
            fault = f"The entry points of {name} {version} cannot be read, so no plugin of it is found: {said(error)}."
            _leave_out(found, PluginError(f"{fault} Install it again, or uninstall it."))
            continue
        if not points:  # most that is installed
            continue
        owner = _Owner(*_origin(distribution), _unmet_need(distribution))
        for point in points:
            if (point.name, point.value) not in seen:
                seen.add((point.name, point.value))
                yield point, owner


def _distributions(found: Registry) -> Iterator[Distribution]:
    """All that is installed; where the search itself fails, as for a folder that cannot be read, what it had found."""
    try:
        yield from distributions()
    except Exception as error:
        _leave_out(
            found,
            PluginError(
                f"Some installed packages cannot be looked at, so no plugin of theirs is found: {said(error)}."
            ),
        )


def _origin(distribution: Distribution) -> tuple[str, str]:
    """Name and version of a distribution. Its metadata may be missing or garbage; its modules can be sound then."""
    try:
        metadata = distribution.metadata
        found = (metadata["Name"], metadata["Version"])
    except Exception:
        found = ("", "")
    name, version = (shortened(str(text or ""), 100) for text in found)
    folder = getattr(distribution, "_path", None)  # where metadata that say nothing lie
    return name or (folder.name if isinstance(folder, Path) else "a distribution without a name"), version or "?"


def _unmet_need(distribution: Distribution) -> str | None:
    """The versions of refine-eval that a plugin's package says it is for, where this is none of them."""
    try:
        needs = [text for text in distribution.requires or () if _REFINE_EVAL.match(text)]
        return next(_unmet(needs, installed("refine-eval") if needs else ""), None)
    except Exception:  # metadata that cannot be read say nothing of the modules, and a source tree has no version
        return None


def _unmet(needs: Sequence[str], have: str) -> Iterator[str]:
    if not needs:
        return
    from packaging.requirements import Requirement

    for need in map(Requirement, needs):
        applies = need.marker is None or need.marker.evaluate({"extra": ""})
        if applies and not need.specifier.contains(have, prereleases=True):
            yield str(need.specifier)


def _leave_out(found: Registry, error: PluginError) -> None:
    found.leave_out(error)
    if advice_wanted():
        warning = error.warning if isinstance(error, BrokenPlugin) else str(error)
        print(f"Warning: {strip_control(warning)}", file=sys.stderr)


@cache
def registry() -> Registry:
    """The registry of all installed plugins, read once a process.

    A broken plugin is left out with a warning on stderr, where advice is wanted. It is an error where a component is
    asked for that nobody else has, and where the plugin calls sys.exit: that would end the command without a word.
    """
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
    found = Registry()
    for point, owner in _entry_points(found):
        if point.name in disabled:
            continue
        who = f"Plugin {point.name!r} of {owner.name} {owner.version}"
        try:
            if owner.unmet is not None:
                fault = f"{who} is made for refine-eval {owner.unmet}, and this is {installed('refine-eval')}"
                raise BrokenPlugin(f"{fault}: install a version of {owner.name} that fits.", point.name)
            with at_start(point.name, f"{who} cannot be imported"):
                module = point.load()
            found.add(point.name, module, owner.name, owner.version)
        except PluginError as error:
            if isinstance(error.__cause__, SystemExit):  # it means that nothing should go on with it
                raise
            _leave_out(found, error)
    return found
