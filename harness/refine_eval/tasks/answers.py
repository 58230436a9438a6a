"""Answers as votes compare them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from refine_eval.data import AnswerGroup

_NO_ANSWER = "[invalid]"  # lm-eval's regex filter's fallback
_BOX = "\\boxed{"
_A_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?")


def normal_answer(answer: str) -> str | None:
    """An extracted answer as votes compare it: None for none, numbers without signs of money and thousands."""
    if answer == _NO_ANSWER:
        return None
    text = re.sub(r"[,$]", "", answer).strip().rstrip(".")
    number = _number(text)
    if number is None or not text.strip("-."):
        return text.lower() or None
    sign, whole, decimals = number[1], number[2].lstrip("0"), (number[3] or "").rstrip("0")
    value = f"{whole or '0'}.{decimals}" if decimals else whole or "0"
    return value if value == "0" else sign + value


def is_number(value: str) -> bool:
    """Whether a normal answer is a number in digits."""
    return bool(value.strip("-.")) and _number(value) is not None


def stated_answer(text: str) -> str | None:
    """The answer that a text states where no task says how: in its last box, after "####", else its last number."""
    begin = text.rfind(_BOX)
    if begin >= 0:
        depth, at = 1, begin + len(_BOX)
        while at < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        found: str | None = text[begin + len(_BOX) : at - (not depth)]
    elif "####" in text:
        found = text.rpartition("####")[2].strip().partition("\n")[0]
    else:
        found = next(iter(_A_NUMBER.findall(text)[-1:]), None)
    return None if found is None else normal_answer(found)


def _number(text: str) -> re.Match[str] | None:
    """Sign, whole part and decimals; on text, and without lazy groups: a model may write a million digits."""
    return re.fullmatch(r"(-?)(\d*)(?:\.(\d*))?", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer that a task finds in a text.

    `value` is what makes two answers equal; `spelling` is what the task's metric compares with the gold answer, which
    may tell "29" from "29.00"; `plain` says that the spelling is the value itself, as gold answers are spelt.
    """

    value: str
    spelling: str
    plain: bool


def grouped(found: Sequence[Found | None], classes: Sequence[int]) -> list[AnswerGroup]:
    """Solutions with equal answers, by the class of each one's answer (not looked at where there is none).

    Groups come in the order of their first members. To be handed in is the member whose spelling is plain, of several
    one with the spelling that most of the group have, of those the first.
    """
    members: dict[int, list[int]] = {}
    for index, answer in enumerate(found):
        if answer is not None:
            members.setdefault(classes[index], []).append(index)
    return [AnswerGroup(members=tuple(each), best_spelt=_best_spelt(found, each)) for each in members.values()]


def _best_spelt(found: Sequence[Found | None], members: Sequence[int]) -> int:
    answers = {index: answer for index in members if (answer := found[index]) is not None}
    count = Counter(answer.spelling for answer in answers.values())
    return max(answers, key=lambda index: (answers[index].plain, count[answers[index].spelling], -index))
