"""Options and settings: each is a field of a dataclass that says its help, type, range and choices in one place.

    threshold: float = option(0.5, "A step that scores below is held to be wrong.", min=0, max=1)
    engine: Literal["transformers", "vllm"] = option("transformers", "What runs the critic.")

From a component's Options such fields become command-line options (`--sorm-threshold`), `k=v` pairs, YAML keys and
entries of run records; from a settings dataclass the options of a command. Types: str, int, float, bool, Literal of
texts, each also `| None`, tuple[str, ...] (on the command line `a+b+c`) and dict[str, str] (`name=value,name=value`);
a setting may be a Path of a folder too. The same sentence refuses a value wherever it comes from.
"""

from __future__ import annotations

import functools
import numbers
import os
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from refine_eval.errors import UsageError, suggestion
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.terminal import encodable, shown

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_NOUNS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list a+b+c",
    dict: "a list name=value,name=value",
    Path: "a path",
}
_MOST = {int: 2**63 - 1, float: sys.float_info.max}
"""What has a range has an end: beyond these libraries fail, each in its own way."""
_WORDS = ("help", "min", "max", "above", "rest", "place_of", "flags", "shown", "metavar", "bare")


def option(
    default: Any = MISSING,
    help: str = "",
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    rest: bool = False,
    place_of: str | None = None,
    flags: tuple[str, ...] = (),
    shown: str | None = None,
    metavar: str | None = None,
    bare: str | None = None,
    recent: bool = False,
) -> Any:
    """A dataclass field with its help, and where it has them its bounds: `min`, `max`, or `above` for an open one.

    `rest`: this dict takes every name that is no field, for engines that pass options on to somebody else's.
    `place_of`: it says only where the model is, where the option of that name says which one; a run whose model has
    moved is the same run then. `recent`: records have it only where it is not the default, so that those from before
    there was such an option stay the same. For a setting alone: its `flags` where they are not `--name`; `shown`, what
    its help says of the default where that is not the value (in it `{}` stands for the value); `metavar`, what help
    calls the value; `bare`, the value of an option that is typed without one.
    """
    metadata = {
        "help": help,
        "min": min,
        "max": max,
        "above": above,
        "rest": rest,
        "place_of": place_of,
        "flags": flags,
        "shown": shown,
        "metavar": metavar,
        "bare": bare,
        "recent": recent,
    }
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionField:
    """One field of an Options or settings dataclass.

    `kind` is its plain type: str, int, float, bool, tuple, dict, Path, or NoneType for a type that is not supported. A
    field of Literal type is a str with `choices`. `default` is MISSING where a value has to be given.
    """

    name: str
    kind: type
    optional: bool
    default: Any
    help: str = ""
    choices: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    above: float | None = None
    rest: bool = False
    place_of: str | None = None
    flags: tuple[str, ...] = ()
    shown: str | None = None
    metavar: str | None = None
    bare: str | None = None

    @property
    def limits(self) -> str:
        """The range in words: "from 0 to 1", "of at least 1", "above 0"; empty where there is none."""
        if self.min is not None and self.max is not None:
            return f"from {self.min} to {self.max}"
        low = f"of at least {self.min}" if self.min is not None else f"above {self.above}"
        low = "" if self.min is None and self.above is None else low
        if self.max is None:
            return low
        return f"{low} and at most {self.max}" if low else f"of at most {self.max}"

    @property
    def wanted(self) -> str:
        """What a value must be, as part of a sentence: "a number from 0 to 1", "adamw or muon"."""
        if self.choices:
            *others, last = self.choices
            return f"{', '.join(others)} or {last}" if others else last
        return f"{_NOUNS[self.kind]} {self.limits}".rstrip()

    def flag(self, component: type[Any]) -> str:
        """A component's option on the command line: "--sorm-threshold"."""
        return f"--{component.name}-{self.name.replace('_', '-')}"

    @property
    def typed(self) -> str:
        """A setting on the command line: "--batch-size"."""
        return self.flags[0] if self.flags else f"--{self.name.replace('_', '-')}"

    def read(self, value: Any, what: str) -> Any:
        """`value`, which may be text, as the field's type; UsageError that calls it `what` if it does not fit."""
        try:
            found = self._coerced(value)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            raise self._refused(value, what) from None
        self.check(found, what)
        return found

    def check(self, value: Any, what: str) -> None:
        """UsageError that calls it `what` if a value is not of the type, outside the range, or none of the choices."""
        if not self._fits(value):
            raise self._refused(value, what)

    def _refused(self, value: Any, what: str) -> UsageError:
        if fault := _fault_of_text(value):
            return UsageError(f"{what} has {fault}.")
        near = suggestion(str(value), self.choices) if self.choices else ""
        return UsageError(f"{what} must be {self.wanted}{self._end(value)}, not {shown(value)}.{near}")

    def _end(self, value: Any) -> str:
        """The bound that every whole number has, where a value is beyond it and the range does not say it."""
        if self.kind is not int or self.max is not None:
            return ""
        try:
            beyond = value == value // 1 and abs(value) > _MOST[int] if not isinstance(value, str) else _is_huge(value)
        except (TypeError, ValueError, OverflowError):
            beyond = False
        return f" {'and' if self.limits else 'of'} at most {_MOST[int]:,}" if beyond else ""

    def _fits(self, value: Any) -> bool:
        if value is None:
            return self.optional
        if self.choices:
            return value in self.choices
        if _fault_of_text(value):
            return False
        if self.kind in (int, float):
            kind = numbers.Integral if self.kind is int else numbers.Real
            return isinstance(value, kind) and not isinstance(value, bool) and self._within(value)
        if self.kind is tuple:
            return isinstance(value, tuple | list) and all(isinstance(item, str) for item in value)
        if self.kind is Path:
            return isinstance(value, str | os.PathLike)
        return isinstance(value, Mapping if self.kind is dict else self.kind)

    def _within(self, value: Any) -> bool:
        if not self.limits and self.kind is float:
            return bool(value == value)  # no range, and still a number
        most = _MOST[self.kind]
        above = self.above is None or value > self.above
        low = -most if self.min is None else self.min
        return above and bool(low <= value <= (most if self.max is None else self.max))

    def _coerced(self, value: Any) -> Any:
        if value is None or (self.optional and isinstance(value, str) and value.lower() in ("none", "")):
            return None
        if self.kind is tuple:
            return tuple(value.split("+")) if isinstance(value, str) else tuple(str(item) for item in value)
        if self.kind is dict:
            pairs = parse_pairs(value) if isinstance(value, str) else value
            return {str(key): str(item) for key, item in pairs.items()}
        if self.kind is bool:
            return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
        if self.kind in (int, float) and isinstance(value, bool):
            raise ValueError("a truth value")
        if self.kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError("not a whole number")
        return self.kind(value) + 0 if self.kind is float else self.kind(value)  # + 0: -0.0 is 0.0


def _is_huge(text: str) -> bool:
    """Whether a text is a number of so many digits that it is none of ours, or that Python reads none of them."""
    digits = text.strip().lstrip("+-")
    return digits.isdecimal() and len(digits.lstrip("0")) > len(str(_MOST[int]))


def _fault_of_text(value: Any) -> str | None:
    """What a text has, alone or in a list or mapping, that none of ours can have; a path may be of any bytes."""
    if isinstance(value, tuple | list):
        return next(filter(None, map(_fault_of_text, value)), None)
    if isinstance(value, Mapping):
        return next(filter(None, map(_fault_of_text, (*value, *value.values()))), None)
    if isinstance(value, str | os.PathLike) and "\0" in str(value):
        return "a NUL character, which no name or path can have"
    if isinstance(value, str) and encodable(value) != value:
        return "a character that is not UTF-8 text; type it again as UTF-8"
    return None


def fields_of(options: type[Any]) -> tuple[OptionField, ...]:
    """The fields of an Options or settings dataclass; one of an unsupported type has the kind NoneType."""
    return _fields_of(options)  # type: ignore[arg-type]  # to mypy, a type that may be any has no hash


@functools.cache
def _fields_of(options: type[Any]) -> tuple[OptionField, ...]:
    hints = typing.get_type_hints(options)
    found = []
    for each in fields(options):
        kind, optional, choices = _plain_type(hints[each.name])
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        words = {word: each.metadata[word] for word in _WORDS if word in each.metadata}
        found.append(
            OptionField(name=each.name, kind=kind, optional=optional, default=default, choices=choices, **words)
        )
    return tuple(found)


def declared(settings: type[Any]) -> dict[str, OptionField]:
    """The fields of a settings dataclass that a command has options for: those declared with `option`."""
    names = {each.name for each in fields(settings) if "help" in each.metadata}
    return {found.name: found for found in fields_of(settings) if found.name in names}


def said_options(options: Any) -> dict[str, Any]:
    """The values of an Options dataclass that a record has: all but the defaults of recent ones."""
    usual = {f.name: f.default for f in fields_of(type(options))}
    recent = {f.name for f in fields(options) if f.metadata.get("recent")}
    unsaid = {name for name in recent if getattr(options, name) == usual[name]}
    return {name: value for name, value in asdict(options).items() if name not in unsaid}


def check_settings(settings: Any) -> None:
    """UsageError for a value of a settings dataclass that does not fit; for its `__post_init__`."""
    for name, setting in declared(type(settings)).items():
        setting.check(getattr(settings, name), setting.typed)


def check_options(options: Any) -> None:
    """UsageError for a value of an Options dataclass that does not fit; every component checks the options it gets."""
    for found in fields_of(type(options)) if is_dataclass(options) else ():
        if found.kind is not type(None):
            found.check(getattr(options, found.name), f"{type(options).__name__}.{found.name}")


def _plain_type(hint: Any) -> tuple[type, bool, tuple[str, ...]]:
    """(plain type, whether None is allowed too, choices)"""
    arguments, origin = typing.get_args(hint), typing.get_origin(hint)
    if isinstance(hint, types.UnionType) or origin is typing.Union:
        rest = [argument for argument in arguments if argument is not type(None)]
        kind, _, choices = _plain_type(rest[0]) if len(rest) == 1 else (type(None), True, ())
        return kind, True, choices
    if origin is Literal and all(isinstance(argument, str) for argument in arguments):
        return str, False, arguments
    if origin is tuple and arguments == (str, ...):
        return tuple, False, ()
    if origin is Mapping or (origin is dict and arguments == (str, str)):
        return dict, False, ()
    return (hint if hint in (str, int, float, bool, Path) else type(None)), False, ()
