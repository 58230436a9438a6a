"""Others' texts on a Markdown page: they stay text, and make no heading, table, link or HTML of it."""

from __future__ import annotations

import re

from refine_eval.terminal import one_line, strip_control

_INLINE = re.compile(r"[\\`*\[\]|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|<(?=[A-Za-z/!?])|^(?=[#>]|[+-]\s)")
_ENTITIES = re.compile(r"&(?=#?\w+;)|(?<=\w):(?=//)|(?<=www)\.", re.IGNORECASE)


def inline(text: str) -> str:
    """A text as part of a line: of a heading, a paragraph or a table's cell. Web addresses in it are no links."""
    line = one_line(text)
    without_links = _ENTITIES.sub(lambda found: f"&#{ord(found[0])};", line)
    return _INLINE.sub(lambda found: "\\" + found[0], without_links)


def code_block(text: str) -> str:
    """A text as an indented block, in which nothing is read as Markdown; it stands between empty lines."""
    lines = re.split(r"\r\n?|\n", strip_control(text))
    return "\n".join(f"    {line}" for line in lines) + "\n"


def code(text: str) -> str:
    """A text as a code span inside a line."""
    line = one_line(text)
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    padding = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"
