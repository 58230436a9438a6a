"""What keeps grading quick: a bound on texts, and lm-eval's patterns and filters without what makes them slow."""

from __future__ import annotations

import functools
import re
import sys
import types
import unicodedata
from collections.abc import Sequence
from typing import Any

MAX_CHARACTERS = 1_000_000
"""A longer text is not read: it has no answer and is wrong. No model writes one on purpose."""

_REST = re.compile(r"[\w #:,\n\t-]+")  # stands for itself in a pattern


def is_read(text: str) -> bool:
    """Whether a text is short enough to be graded; then it is graded exactly as lm-eval does it."""
    return len(text) <= MAX_CHARACTERS


def anchored(pattern: str) -> str:
    """A pattern that takes the same out of every text, in linear time: `(?s).*#### ` as `(?s)\\A.*#### `.

    What begins with "anything at all" matches from the beginning of a text or nowhere; without the anchor a text in
    which it does not match is searched from each of its characters to its end (ten minutes for a million digits).
    """
    if pattern.startswith("(?s).*") and _REST.fullmatch(pattern[6:]):
        return rf"(?s)\A{pattern[4:]}"
    return pattern


def anchor_metrics(task: Any) -> None:
    """Anchors the patterns that an lm-eval task's metrics take out of answers."""
    for options in getattr(task, "_metric_fn_kwargs", {}).values():
        patterns = options.get("regexes_to_ignore")
        if isinstance(patterns, Sequence) and not isinstance(patterns, str):
            options["regexes_to_ignore"] = [anchored(p) if isinstance(p, str) else p for p in patterns]


@functools.cache
def list_punctuation_once() -> None:
    """lm-eval's multi_choice_regex looks through all of Unicode for punctuation at every text: a fifth of a second."""
    from lm_eval.filters.extraction import MultiChoiceRegexFilter

    apply = MultiChoiceRegexFilter.apply
    known = {**apply.__globals__, "dict": type("dict", (dict,), {"fromkeys": lambda _: _punctuation()})}
    MultiChoiceRegexFilter.apply = types.FunctionType(
        apply.__code__, known, apply.__name__, apply.__defaults__, apply.__closure__
    )


@functools.cache
def _punctuation() -> dict[int, None]:
    return {code: None for code in range(sys.maxunicode) if unicodedata.category(chr(code)).startswith("P")}


def unread_note(texts: int) -> str:
    """What is said where texts were not read."""
    return (
        f"Note: {texts:,} text{'s' if texts > 1 else ''} of more than {MAX_CHARACTERS:,} characters "
        f"{'were' if texts > 1 else 'was'} not read: no answer, counted as wrong."
    )
