"""Values out of plugins as plain ones: numbers of numpy and torch are numbers, their arrays lists; nothing else is."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

from refine_eval.terminal import encodable, one_line, shown, strip_control

_LONGEST_REASON = 300

LONGEST_FEEDBACK = 20_000
"""Characters of a critique in words that are kept: more no refiner's prompt could hold."""

LARGEST = 2**63 - 1
"""The largest whole number that the store and the records hold."""


def _scalar(value: object) -> object:
    """numpy's and torch's numbers as Python's; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def real(value: object) -> float | None:
    """A finite number as a float; None for anything else, a truth too."""
    if type(value) is not float:
        value = _scalar(value)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return None
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if math.isfinite(value) else None


def whole(value: object) -> int | None:
    """A whole number as an int; None for anything else, a truth too."""
    if type(value) is int:
        return value
    value = _scalar(value)
    return int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else None


def number(value: object) -> float | None:
    """A number as an int where it is whole by its type, else as a float; None for anything else."""
    found = whole(value)
    return real(value) if found is None else found


def reason(value: object) -> str | None:
    """Why something is left out, as one short line that every file and terminal can take; None for what says none."""
    if not isinstance(value, str):
        return None
    return one_line(encodable(value[:10_000]))[:_LONGEST_REASON] or None


def feedback_of(text: str) -> str | None:
    """A critique in words as files, terminals and prompts can take it: no control characters, bounded; None for none.

    Where it is cut its last line says so.
    """
    kept = strip_control(encodable(str(text[:LONGEST_FEEDBACK]))).strip()
    if len(text) > LONGEST_FEEDBACK:
        kept = f"{kept}\n[cut: {LONGEST_FEEDBACK:,} of {len(text):,} characters]"
    return kept or None


def listed(value: object) -> Sequence[Any] | None:
    """A list, a tuple, or an array of one dimension; None for anything else."""
    return value if isinstance(value, list | tuple) else of_array(value)


def of_array(value: object) -> list[Any] | None:
    """An array of one dimension as a list; None for anything else."""
    if getattr(value, "ndim", None) == 1 and hasattr(value, "tolist"):
        found = value.tolist()
        return found if isinstance(found, list) else None
    return None


def plain_text(text: Any) -> str:
    """A text of a plugin's own kind as a plain one that records can hold."""
    return encodable(str(text))


def short(value: object) -> str:
    """A value in a sentence: of a list how long it is."""
    return f"a list of {len(value)}" if isinstance(value, list) else shown(value)
