"""Splitters that each break the contract in one way, to prove that its checks can fail. Not installed anywhere."""

import re
from collections.abc import Sequence

from refine_eval.plugin.components import Splitter


class SoundSplitter(Splitter):
    """Keeps the whole contract; the others change one thing."""

    name = "sound-splitter"

    def split(self, batch: Sequence[str]) -> list[list[str]]:
        return [self.one(text) for text in batch]

    def one(self, text: str) -> list[str]:
        return text.splitlines(keepends=True)


class StripsSteps(SoundSplitter):
    """Loses the white space between steps."""

    name = "strips-steps"

    def one(self, text: str) -> list[str]:
        return text.splitlines()


class TurnsRound(SoundSplitter):
    """Gives the pieces in another order."""

    name = "turns-round"

    def one(self, text: str) -> list[str]:
        return super().one(text)[::-1]


class NeverCuts(SoundSplitter):
    """Takes every text for one step."""

    name = "never-cuts"

    def one(self, text: str) -> list[str]:
        return [text]


class FailsOnEmptyText(SoundSplitter):
    """Expects a first line."""

    name = "fails-on-empty-text"

    def one(self, text: str) -> list[str]:
        first, *rest = super().one(text)
        return [first, *rest]


class FailsOnEscapeCodes(SoundSplitter):
    """Cannot take a terminal's escapes."""

    name = "fails-on-escape-codes"

    def one(self, text: str) -> list[str]:
        if "\x1b" in text:
            raise ValueError("unprintable")
        return super().one(text)


class Backtracks(SoundSplitter):
    """Looks from each formula's beginning for its end, to the end of the text."""

    name = "backtracks"

    def one(self, text: str) -> list[str]:
        re.search(r"\$\$[^#]*#!", text[:50_000])
        return super().one(text)
