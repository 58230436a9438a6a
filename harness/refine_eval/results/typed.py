"""Values of others' JSON and YAML, taken by type and range: what does not fit is a Fault, which says so in words.

Behind `field` all is typed; nothing of a record goes further unchecked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from refine_eval.terminal import shown

T = TypeVar("T")


class Fault(ValueError):
    """What is wrong with a value of a file, as part of a sentence."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a value has to be, in words, and whether one is that."""

    words: str
    fits: Callable[[Any], bool]

    def check(self, value: Any, name: str) -> T:
        """The value, or a Fault that names it."""
        if not self.fits(value):
            raise Fault(f"{name!r} is {shown(value)} and not {self.words}")
        found: T = value
        return found

    def or_none(self) -> Kind[T | None]:
        """The same kind, or null."""
        return Kind(f"{self.words} or null", lambda value: value is None or self.fits(value))


def _is_text(value: Any) -> bool:
    """Half a surrogate pair is no text: no page could show it."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _are_texts(keys: Iterable[Any]) -> bool:
    """All at once: records are millions of objects."""
    try:
        return _is_text("".join(keys))
    except TypeError:
        return False


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_amount(value: Any) -> bool:
    return _is_count(value) or (type(value) is float and 0 <= value < math.inf)


TEXT: Kind[str] = Kind("a text", _is_text)
NAME: Kind[str] = Kind("a name", lambda value: _is_text(value) and bool(value.strip()))
FLAG: Kind[bool] = Kind("true or false", lambda value: type(value) is bool)
COUNT: Kind[int] = Kind("a whole number from 0", _is_count)
AMOUNT: Kind[float] = Kind("a number from 0", _is_amount)
SHARE: Kind[float] = Kind("a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1)
OBJECT: Kind[Mapping[str, Any]] = Kind("an object", lambda value: type(value) is dict and _are_texts(value))
LIST: Kind[list[Any]] = Kind("a list", lambda value: type(value) is list)


def field(row: Mapping[str, Any], name: str, kind: Kind[T]) -> T:
    """The value of a key; Fault where it is missing or of another kind."""
    if name not in row:
        raise Fault(f"it has no {name!r}")
    return kind.check(row[name], name)
