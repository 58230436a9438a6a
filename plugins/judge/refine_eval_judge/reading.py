"""Verdicts out of what a judge says: from how likely its next tokens are, or tolerantly from text; None for none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from refine_eval import Generation

YES_NO = ("Yes", "No")
SCORES = tuple(map(str, range(1, 11)))

_MOST_MISSING = 0.05
"""How much of what the choices have together may be missing of a truncated list, at most."""

_RIGHT, _WRONG = ("yes", "correct", "right", "true"), ("no", "incorrect", "wrong", "false")
_NO_ERROR = r"no\s(?:\w{1,20}\s)?(?:error|fault|flaw|issue|mistake|problem)s?\b"
_WORD = rf"(?!{_NO_ERROR})(?:{'|'.join((*_RIGHT, *_WRONG))})"
_NAMED = re.compile(rf"\bverdict\b[\W_]{{0,20}}(?:is[\W_]{{1,20}})?({_WORD})\b", re.IGNORECASE)
_FIRST = re.compile(rf"[\W_]{{0,20}}({_WORD})\b", re.IGNORECASE)
_NOT = r"(?:not|never|\w{2,6}n['\u2019]t)\s{1,3}(?:\w{1,20}\s{1,3}){0,2}"
_ANY = re.compile(rf"\b({_NOT})?({_WORD})\b", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s{0,5}\{\s{0,5}(-?\d{1,6})\s{0,5}\}")
_INDEX = re.compile(
    r"(?:\b(?:answer|index|paragraph)\b[^\d\n-]{0,40}|\A[^\w-]{0,20})(-?\d{1,6})\W{0,10}\Z", re.IGNORECASE
)
_SCORE = re.compile(
    r"(?:\b(?:score|rating)\b[^\d\n-]{0,20}|\A[\W_]{0,20})(10|[1-9])(?![\d.,]*\d)|\b(10|[1-9]) ?/ ?10\b", re.I
)


def chances(found: Generation) -> list[float] | None:
    """The choices' probabilities, with 1 as their sum; None where too much of them may be missing."""
    logprobs = found.logprobs or ()
    known = [0.0 if logprob is None else math.exp(logprob) for logprob in logprobs]
    missing = logprobs.count(None)
    unknown = missing * math.exp(found.logprob_bound) if missing and found.logprob_bound is not None else 0.0
    total = math.fsum(known)
    if total <= 0 or unknown > _MOST_MISSING * (total + unknown):
        return None
    return [each / total for each in known]


def expected(chances: Sequence[float]) -> float:
    """The expectation of a score from 1 to 10, as a share of the way from 1 to 10."""
    return math.fsum(chance * number for number, chance in enumerate(chances)) / (len(chances) - 1)


def own_words(text: str, solution: str) -> str:
    """What a judge wrote without the lines that it only repeats of the solution."""
    repeated = {line.strip() for line in solution.splitlines() if line.strip()}
    return "\n".join(line for line in text.splitlines() if line.strip() not in repeated)


def verdict_in(text: str) -> float | None:
    """1 for right, 0 for wrong: what is called a verdict last, else the first word, else what all agree on."""
    if named := _NAMED.findall(text):
        return _meaning(named[-1])
    if first := _FIRST.match(text):
        return _meaning(first[1])
    said = {_meaning(word) if not denied else 1 - _meaning(word) for denied, word in _ANY.findall(text)}
    return said.pop() if len(said) == 1 else None


def _meaning(word: str) -> float:
    return float(word.lower() in _RIGHT)


def score_in(text: str) -> float | None:
    """The last that is called a score, is out of 10 or begins the text, as a share of the way from 1 to 10."""
    found = _SCORE.findall(text)
    return (int("".join(found[-1])) - 1) / 9 if found else None


def first_error_in(text: str, steps: int) -> int | None:
    """The number of the first wrong step, from 0; -1 for none: what is in a box last, else what the text ends with."""
    found = _BOXED.findall(text) or _INDEX.findall(text)
    at = int(found[-1]) if found else None
    return at if at is not None and -1 <= at < steps else None


def without_verdict(text: str) -> str:
    """A critique in words without its last line, where that is the verdict."""
    body, _, last = text.rstrip().rpartition("\n")
    return body if body.strip() and _NAMED.search(last) else text
