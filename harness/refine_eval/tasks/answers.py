"""Answers as votes compare them."""

from __future__ import annotations

import re

_NO_ANSWER = "[invalid]"  # lm-eval's regex filter's fallback


def normal_answer(answer: str) -> str | None:
    """An extracted answer as votes compare it: None for none, numbers without signs of money and thousands."""
    if answer == _NO_ANSWER:
        return None
    text = re.sub(r"[,$]", "", answer).strip().rstrip(".")
    number = re.fullmatch(r"(-?)(\d*)(?:\.(\d*))?", text)  # on text: a model may write a million digits
    if number is None or not text.strip("-."):
        return text.lower() or None
    sign, whole, decimals = number[1], number[2].lstrip("0"), (number[3] or "").rstrip("0")
    value = f"{whole or '0'}.{decimals}" if decimals else whole or "0"
    return value if value == "0" else sign + value
