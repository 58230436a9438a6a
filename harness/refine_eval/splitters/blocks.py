r"""What is never cut inside: display formulas, code fences and Markdown tables. All in linear time.

Display formulas are `\[...\]`, `$$...$$` and the environments of amsmath; one that is never closed is none. A fence is
CommonMark's: three or more backticks or tildes at the beginning of a line; one that is never closed goes on to the end.
A table is a run of lines that begin with "|", or of lines with "|" in them of which the second is a delimiter row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Block = tuple[int, int]
"""Where a block begins and where it ends in a text."""

# It begins with one of four characters, which are found at once; what follows depends on which one it is.
_MARK = re.compile(
    r"[\\$`~](?:(?<=\\)[\[\]]|(?<=\$)\$|(?<=`)`{2,}|(?<=~)~{2,}"
    r"|(?<=\\)(?:begin|end)\{(?:equation|align|gather|multline|eqnarray|alignat|flalign)\*?\})"
)
_OPENINGS = ("$$", "\\[", "```", "~~~", "\\begin{")
_DELIMITERS = frozenset("|:- \t\r")


class _Mark(NamedTuple):
    """What may open a block (`opens`), close one (`closes`), or both; of formulas only those of one `kind` go together.

    A fence's kind is its backticks or tildes.
    """

    kind: str
    opens: bool
    closes: bool
    begin: int
    end: int

    @property
    def is_fence(self) -> bool:
        return self.kind[0] in "`~"


def outside(cuts: Sequence[int], text: str) -> list[int]:
    """The cuts that are not inside of a block; `cuts` are in order."""
    found, rest = [], iter(cuts)
    at = next(rest, None)
    for begin, end in blocks(text):
        while at is not None and at <= begin:
            found.append(at)
            at = next(rest, None)
        while at is not None and at < end:
            at = next(rest, None)
    return found if at is None else [*found, at, *rest]


def blocks(text: str) -> list[Block]:
    """The blocks of a text by their beginnings."""
    found: list[Block] = []
    if any(opening in text for opening in _OPENINGS):  # most texts have none
        found += _marked(text, [mark for match in _MARK.finditer(text) if (mark := _mark(text, match))])
    return sorted([*found, *_tables(text)]) if "|" in text else found


def _mark(text: str, match: re.Match[str]) -> _Mark | None:
    """None for what only looks like a mark."""
    what, (begin, end) = match[0], match.span()
    if what[0] in "`~":
        line = text.rfind("\n", max(0, begin - 4), begin) + 1
        if text[line:begin].strip(" ") or begin - line > 3 or (not line and begin > 3):
            return None
        stop = text.find("\n", end)
        stop = len(text) if stop < 0 else stop
        info = text[end:stop]
        # "```x```" in one line is code within a sentence.
        return None if "`" in info and what[0] == "`" else _Mark(what, True, not info.strip(), line, stop)
    if begin and text[begin - 1] == "\\":  # "\\[2pt]" is a line's end with a space after it
        return None
    if what == "$$":
        return _Mark(what, True, True, begin, end)
    if len(what) == 2:
        return _Mark("\\[", what == "\\[", what == "\\]", begin, end)
    opens = what.startswith("\\begin")
    return _Mark(what[what.index("{") :], opens, not opens, begin, end)


def _marked(text: str, marks: Sequence[_Mark]) -> Iterator[Block]:
    """Formulas and fences."""
    closing = _closing(marks)
    index = 0
    while index < len(marks):
        closed = _fence_end(marks, index) if marks[index].is_fence else closing[index]
        if closed > index:
            yield marks[index].begin, marks[closed].end if closed < len(marks) else len(text)
        index = max(closed, index) + 1


def _closing(marks: Sequence[_Mark]) -> list[int]:
    """For each mark that opens a formula which one closes it; for all others 0."""
    found, next_of = [0] * len(marks), dict[str, int]()
    for index in range(len(marks) - 1, -1, -1):
        mark = marks[index]
        if mark.opens:
            found[index] = next_of.get(mark.kind, 0)
        if mark.closes:
            next_of[mark.kind] = index
    return found


def _fence_end(marks: Sequence[_Mark], index: int) -> int:
    """The mark that closes a fence; `len(marks)` where none does."""
    fence = marks[index].kind
    for other in range(index + 1, len(marks)):
        if marks[other].closes and marks[other].kind.startswith(fence):
            return other
    return len(marks)


def _tables(text: str) -> Iterator[Block]:
    """Runs of lines with "|" that are tables."""
    begin = end = rows = 0
    is_table = False
    pipe = text.find("|")
    while pipe >= 0:
        line = max(text.rfind("\n", end, pipe) + 1, end)
        if line > end or not rows:
            if is_table:
                yield begin, end
            begin, rows, is_table = line, 0, not text[line:pipe].strip()
        stop = text.find("\n", pipe) + 1 or len(text)
        row = text[line:stop].rstrip("\n")
        is_table = is_table or (rows == 1 and "-" in row and _DELIMITERS.issuperset(row))
        rows, end = rows + 1, stop
        pipe = text.find("|", stop)
    if is_table:
        yield begin, end
