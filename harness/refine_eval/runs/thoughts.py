"""Thoughts: what a reasoning model writes before its answer, told apart from the text that is graded."""

from __future__ import annotations

from dataclasses import dataclass

from refine_eval.data import Thinking

_BEGINNINGS = {"assistantfinal": "analysis"}
"""How thoughts begin whose end is no closing tag: gpt-oss's channels, as its tokenizer decodes them."""


@dataclass(frozen=True, slots=True)
class Parted:
    """What was written: `thought + text`. `ended`: whether the text is more than a thought that never ended."""

    thought: str | None
    text: str
    ended: bool = True


def parted(written: str, thinking: Thinking | None, starts: bool = True) -> Parted:
    """A text in two, as lm-eval's postprocess_generated_text has it: after the last end token, left-stripped.

    A text without that token is all text, as it is to lm-eval. It is known to be a thought that never ended where it
    begins one, or where the model begins all of its texts within one; `starts` is False for texts that are not the
    model's from their beginning.
    """
    if thinking is None:
        return Parted(None, written)
    _, token, after = written.rpartition(thinking.end)
    text = after.lstrip()
    if token:
        return Parted(written[: len(written) - len(text)], text)
    begins = text.startswith(_beginning(thinking.end)) or (thinking.at_once and starts)
    return Parted(None, text, not begins)


def _beginning(end: str) -> str:
    """What a thought begins with that ends so: "<think>" for "</think>"."""
    return _BEGINNINGS.get(end) or (end.replace("</", "<", 1) if end.startswith("</") else end)
