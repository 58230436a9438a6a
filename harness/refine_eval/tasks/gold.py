"""Gold answers that the task's own filter and metric cannot read: no text can be right there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_SECONDS = 2.0
"""So long gold answers are tried before a run starts; of larger tasks the first ones."""

_FORMS = (
    "{}",
    "#### {}",
    "The answer is {}.",
    "\\boxed{{{}}}",
    "$\\boxed{{{}}}$",
    "${}$",
    "Final Answer: The final answer is ${}$. I hope it is correct.",
    "({})",
    "Answer: {}",
)
"""How tasks of lm-eval expect an answer to be written."""


def unreadable(
    golds: Iterable[tuple[str, Any, dict[str, Any]]], is_right: Callable[[dict[str, Any], str], bool]
) -> tuple[int, list[str]]:
    """How many gold answers were tried, and the ids of those that are graded wrong in every usual form.

    `golds` are problem id, gold answer (a text, or several that are all right) and document.
    """
    start, tried, bad = time.monotonic(), 0, []
    for problem_id, gold, doc in golds:
        if time.monotonic() - start > _SECONDS:
            break
        tried += 1
        if not any(is_right(doc, text) for text in _texts(gold, doc)):
            bad.append(problem_id)
    return tried, bad


def _texts(gold: Any, doc: Mapping[str, Any]) -> Iterator[str]:
    """Texts of which one should be right: the gold answer as it stands first, which nearly always is."""
    answers = [str(each).strip() for each in (gold if isinstance(gold, list | tuple) else [gold])]
    yield from answers
    short = [part for answer in answers for part in (answer, answer.rpartition("####")[2].strip(), *_boxed(answer))]
    given = doc.get("answer", doc.get("Answer"))
    if isinstance(given, str | int | float):
        short.append(str(given).strip())
    for answer in dict.fromkeys(filter(None, short)):
        for form in _FORMS:
            yield form.format(answer)


def _boxed(answer: str) -> list[str]:
    return re.findall(r"\\boxed\{(.*)\}", answer)[-1:]
