"""The number in a chat model's answer: in its last box, or the last of the text where no box is whole."""

import re
from collections.abc import Iterable, Sequence

NO_ANSWER = "[invalid]"
"""What lm-eval's own filters leave of a text without an answer."""

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*(\{)|\\[{}\\]|[{}]")
_NUMBER = re.compile(r"-?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
_FRACTION = re.compile(r"(-?)(?:\\[dt]?frac\{(\d+)\}\{(\d+)\}|(\d+)/(\d+))")
_WORDS = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{[^{}]*\}")
_LONGEST = 200
"""Characters of a box in which a number is looked for; digits of a number that is compared by value."""


def last_box(text: str) -> str | None:
    r"""What stands in the last \boxed{} that is whole; of nested ones the outermost. None for none."""
    open_braces: list[int | None] = []
    found: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        if match[1]:
            open_braces.append(match.end())
        elif match[0] == "{":
            open_braces.append(None)
        elif match[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None:
                found = (start, match.start())
    return None if found is None else text[found[0] : found[1]]


def boxed_number(text: str) -> str | None:
    r"""The number in the last box: `1{,}200 \text{ jars}` is 1200. Its text where it has none; None for none."""
    box = last_box(text)
    if box is None or not box.strip():
        return None
    if len(box) > _LONGEST:
        return box.strip()
    plain = _WORDS.sub(" ", re.sub(r"\{,\}|\\[!,;]|\\(?=\$)", "", box)).rpartition("=")[2].strip(" $")
    fraction = _FRACTION.fullmatch(plain)
    if fraction:
        sign, *parts = (part for part in fraction.groups() if part is not None)
        return _quotient(sign, *parts) or plain
    number = _NUMBER.search(plain) or _NUMBER.search(box)
    return _plain(number[0]) if number else box.strip()


def number_in(text: str) -> str | None:
    """The number in the last box, or the last number of a text without one; None for none."""
    found = boxed_number(text)
    if found is not None:
        return found
    numbers = _NUMBER.findall(text)
    return _plain(numbers[-1]) if numbers else None


def boxed(texts: Iterable[Sequence[str]], _: object) -> list[list[str]]:
    """A filter of lm-eval: `boxed_number` of each text."""
    return [[boxed_number(text) or NO_ANSWER for text in some] for some in texts]


def boxed_or_last_number(texts: Iterable[Sequence[str]], _: object) -> list[list[str]]:
    """A filter of lm-eval: `number_in` each text."""
    return [[number_in(text) or NO_ANSWER for text in some] for some in texts]


def _plain(number: str) -> str:
    """A number as gold answers are spelt: $1,200.00 as 1200."""
    digits = number.replace("$", "").replace(",", "")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _quotient(sign: str, above: str, below: str) -> str | None:
    """A fraction as a whole number; None where it is none."""
    if not int(below) or int(above) % int(below):
        return None
    return f"{sign}{int(above) // int(below)}"
