"""The splitters that come with refine-eval."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from refine_eval.cuts import line_ends
from refine_eval.plugin.components import Splitter
from refine_eval.splitters.blocks import outside

# Those of lines begin with the end of the line before: that is found at once, "^" is looked for at every character.
_BLANK = re.compile(r"\n[ \t\r]*+\n(?:[ \t\r]*\n)*")
_LIST_ITEM = re.compile(r"\n[ \t]*+(?:[-*+\u2022]|\d{1,3}[.)])[ \t]")
_HEADING = re.compile(r"\n[ ]{0,3}(?:#{1,6}[ \t]+)?(?:\*\*|__)?step[ \t]+\d+(?!\w*[a-z])", re.IGNORECASE)
_NUMBER = re.compile(r"\n[ ]{0,3}(?:#{1,6}[ \t]+)?(?:\*\*|__)?\d{1,3}[.)](?=\s|\*\*|__)")
_SENTENCE = re.compile(r"""[.!?]["')\]*_]*+(\s++)(?=["'(\[*_]*+[^\W_a-z]|[\\$#`|-])""")
_ABBREVIATIONS = frozenset(["mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "approx", "resp", "fig", "eq", "no"])
_ABBREVIATIONS |= {"cf", "i.e", "e.g"}


class LinesSplitter(Splitter):
    """A step is a line: GSM8K's form, which the trained critics and refiners read."""

    name = "lines"

    def split(self, batch: Sequence[str]) -> list[list[str]]:
        """Each line with its end; formulas and code are cut, too."""
        return [_pieces(text, line_ends(text)) for text in batch]


class _BlockSplitter(Splitter):
    """Cuts texts where `cuts` says, but not inside of formulas, code and tables."""

    def split(self, batch: Sequence[str]) -> list[list[str]]:
        """The pieces of each text."""
        return [_pieces(text, outside(sorted(self.cuts(text)), text)) for text in batch]

    def cuts(self, text: str) -> Iterable[int]:
        """Where steps begin."""
        raise NotImplementedError


class ParagraphsSplitter(_BlockSplitter):
    """A step is a paragraph: what stands between blank lines."""

    name = "paragraphs"

    def cuts(self, text: str) -> Iterable[int]:
        """The ends of blank lines."""
        return _paragraphs(text)


class NumberedSplitter(_BlockSplitter):
    """A step begins with "Step 3", "**Step 3**", "## Step 3" or "3."; a text without such numbers is cut in paragraphs.

    Where there are steps by name, numbers alone are lists within them.
    """

    name = "numbered"

    def cuts(self, text: str) -> Iterable[int]:
        """The beginnings of numbered lines."""
        for pattern in (_HEADING, _NUMBER):
            if found := [match.start() for match in pattern.finditer(f"\n{text}")]:
                return found
        return _paragraphs(text)


class SentencesSplitter(_BlockSplitter):
    """A step is a sentence, an item of a list, or what else stands between blank lines."""

    name = "sentences"

    def cuts(self, text: str) -> Iterable[int]:
        """The ends of sentences and paragraphs, and the beginnings of lists' items."""
        found = {match.start() + 1 for match in _LIST_ITEM.finditer(text)}
        found.update(_paragraphs(text))
        for match in _SENTENCE.finditer(text):
            if not _ends_no_sentence(text, match.start()):
                # The next line keeps its indentation.
                found.add(text.rfind("\n", match.start(1), match.end()) + 1 or match.end())
        return found


def _ends_no_sentence(text: str, stop: int) -> bool:
    """Whether the stop at this place belongs to an abbreviation, or to the number of a list's item."""
    words = text[max(0, stop - 12) : stop].split()
    word = words[-1].strip("([*_#\"'") if words else ""
    if word.isdecimal() and len(word) <= 3:
        before = text[max(0, stop - 40) : stop]
        of_line = before.rpartition("\n")[2]
        return (len(of_line) < len(before) or stop <= 40) and not of_line.strip(" \t#*_0123456789")
    return word.lower() in _ABBREVIATIONS


def _paragraphs(text: str) -> list[int]:
    return [match.end() for match in _BLANK.finditer(text)]


def _pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """The text cut at these places, without empty pieces."""
    places = [0, *cuts, len(text)]
    return [text[begin:end] for begin, end in pairwise(places) if begin < end]
