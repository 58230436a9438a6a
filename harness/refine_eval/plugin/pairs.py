"""Values as text: `name=value,name=value`, and what a value says on a command line."""

from __future__ import annotations

from typing import Any

from refine_eval.errors import UsageError
from refine_eval.terminal import shown


def parse_pairs(text: str) -> dict[str, str]:
    """lm-eval's `k=v,k=v` as a dict; UsageError for a part without "=" and for a name given twice.

    `k=` is the empty text: None to an option that may be None, refused by one that is a number.
    """
    pairs = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"Options are given as name=value,name=value; {shown(part)} is not of that form.")
        if key.strip() in pairs:
            raise UsageError(f"{key.strip()!r} is given twice in {shown(text)}; remove one.")
        pairs[key.strip()] = value.strip()
    return pairs


def scalar(text: str) -> str | int | float | bool | None:
    """The value that lm-eval would read from a command line's text: "4" is 4, "true" is True, "none" is None."""
    lower = text.lower()
    if lower in ("true", "false"):
        return lower == "true"
    if lower == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def as_text(value: Any) -> str:
    """A YAML value inside a word of the command line: `true` in lower case, a list as `a+b`."""
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
