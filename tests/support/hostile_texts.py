"""Texts that make readers of model output slow: each is a kind of text, of any length."""

from __future__ import annotations

import time
from collections.abc import Callable

_UNITS = {
    "digits": "7",
    "zeros": "0",
    "points": ".",
    "commas": ",",
    "decimals": "0.",
    "thousands": "1,",
    "grouped thousands": "111,",
    "minus signs": "-",
    "dollars": "$",
    "spaces": " ",
    "newlines": "\n",
    "lines": "some line\n",
    "results": "1=1\n",
    "marks": "####\n",
    "answers": "#### 18\n",
    "hashes": "#",
    "brackets": "(",
    "square brackets": "[",
    "boxes": "\\boxed{",
    "fractions": "\\frac{1}{2}",
    "open annotations": "<<",
    "annotations": "<<1+1=2>>",
    "accents": "\u0301",
    "no width": "\u200b",
    "half characters": "\ud83d",
    "nothing": "\0",
    "equations": "1=",
    "equals signs": "=",
    "huge powers": "1e999999 ",
    "percent": "1 %",
    "stars": "*",
    "words": "The answer is ",
    "quotes": "' ",
}
"""What a text repeats."""

_AROUND = {
    "digits in brackets": ("(", "7", ")"),
    "zeros after a point": ("1.", "0", "1"),
    "zeros before a number": ("#### ", "0", "1"),
    "points after a mark": ("#### ", ".", ""),
    "brackets that close": ("", "()", ""),
    "spaces before a word": ("", " ", "x"),
    "dollars before an answer": ("#### ", "$", "18"),
}
"""What stands before, is repeated, and stands after."""

KINDS = (*_UNITS, *_AROUND)


def hostile_text(kind: str, length: int) -> str:
    """A text of the kind, of so many characters."""
    before, unit, after = _AROUND.get(kind) or ("", _UNITS[kind], "")
    room = length - len(before) - len(after)
    return before + (unit * (room // len(unit) + 1))[:room] + after


def seconds(work: Callable[[], object]) -> float:
    """The processor time that `work` takes: what else the machine does is not counted."""
    start = time.process_time()
    work()
    return time.process_time() - start
