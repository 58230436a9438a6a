"""Where a text is cut into steps: offsets, and the steps between them."""

from collections.abc import Sequence
from itertools import pairwise

LINES = "lines"
"""The splitter of tasks that name none; all else knows it as None."""


def line_ends(text: str) -> tuple[int, ...]:
    """Where each line that `formats.split_steps` finds ends, in order; a blank line belongs to the line before it.

    Blank lines at the beginning belong to the first step. The last end is that of the text.
    """
    ends, at, begun = [], 0, False
    for line in text.splitlines(keepends=True):
        if begun and line.strip():
            ends.append(at)
        begun = begun or bool(line.strip())
        at += len(line)
    return (*ends, at) if begun else ()


def steps_at(text: str, cuts: Sequence[int]) -> tuple[str, ...]:
    """The steps between these offsets of a text, without white space at their ends."""
    return tuple(text[begin:end].strip() for begin, end in pairwise(cuts))


def are_cuts(cuts: Sequence[int], text: str) -> bool:
    """Whether these offsets cut a text up to its end into pieces with something in each; none at all cut nothing."""
    if not cuts:
        return True
    in_order = cuts[0] >= 0 and cuts[-1] == len(text) and all(begin < end for begin, end in pairwise(cuts))
    return in_order and len(cuts) > 1 and all(steps_at(text, cuts))
