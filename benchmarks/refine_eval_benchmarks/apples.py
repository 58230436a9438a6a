"""The bundled world "apples": word problems about one running quantity, every step checkable by program.

A problem names a start value and two to six things that happen to it; the question comes last. A solution
is GSM8K's style: one equation a line, each starting from the result before, then the answer:

    Tom has 23 apples. He buys 5 more. He now has 3 times as many. How many apples now?
    23+5=28
    28*3=84
    #### 84

Values stay in 4..149. Divisions are exact and come first only: later in the chain a student learns to read
the divisor ahead and snaps to a multiple of it, so that wrong steps end in right answers.
"""

import random
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

SIZES = {"train": 24_000, "practice": 8_000, "validation": 1_000, "test": 1_000}
"""Problems a split has when no limit is given.

`train` holds the lessons with gold solutions. `practice` is for sampling from a student, whose samples teach
critics and refiners; its problems are as long as those of `validation` and `test`, longer than the lessons, from
whose short ones a small student learns to copy numbers in a third of the time.
"""

SEED = "apples-2"
"""Part of every split's seed; a change makes another benchmark."""

LARGEST = 149
"""Of all numbers: with those up to 99 a student of a tenth of a million parameters makes hardly a mistake."""

_LESSONS = (2, 3, 3, 4, 4, 5, 5, 6)
_EXERCISES = (2, 3, 4, 5, 5, 6, 6, 6)
_BOYS = ("Tom", "Ben", "Sam", "Leo", "Max", "Jack")
_GIRLS = ("Anna", "Mia", "Eva", "Lily", "Rosa", "Jane")
_THINGS = (
    "apples",
    "pears",
    "plums",
    "nuts",
    "eggs",
    "coins",
    "stones",
    "shells",
    "cards",
    "stamps",
    "pens",
    "books",
)
_MORE = ("{He} buys {n} more.", "{He} finds {n} more.", "{He} wins {n} more.", "{He} gets {n} more.")
_LESS = ("{He} loses {n}.", "{He} sells {n}.", "{He} drops {n}.", "{He} gives away {n}.")
_TIMES = ("{He} now has {n} times as many.",)
_PARTS = ("{He} keeps one of {n} equal parts.",)
_QUESTION = "How many {things} now?"

_BUCKETS = ("test", "validation", "train", "train", "test", "practice", "train", "train")

_EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
_LONGEST_STEP = 1_000  # of the task's own a few characters; a model may write a number that Python refuses to read


def _chain(rng: random.Random, counts: Sequence[int]) -> list[tuple[int, str, int, int]]:
    """The equations of one problem as (left, operator, right, result)."""
    count = rng.choice(counts)
    steps: list[tuple[int, str, int, int]] = []
    if rng.random() < 0.25:
        divisor = rng.randint(3, 8)
        value = divisor * rng.randint(max(4, -(-12 // divisor)), LARGEST // divisor)
        steps.append((value, "/", divisor, value // divisor))
        value //= divisor
    else:
        value = rng.randint(12, 120)
    while len(steps) < count:
        if value <= LARGEST // 2 and rng.random() < 0.3:
            operator, right = "*", rng.randint(2, min(7, LARGEST // value))
            result = value * right
        elif rng.random() < 0.5 and value <= LARGEST - 3:
            operator, right = "+", rng.randint(3, min(90, LARGEST - value))
            result = value + right
        elif value >= 7:
            operator, right = "-", rng.randint(3, min(90, value - 4))
            result = value - right
        else:
            continue
        steps.append((value, operator, right, result))
        value = result
    return steps


def _problem(rng: random.Random, counts: Sequence[int]) -> tuple[str, str]:
    """Question and answer of one problem."""
    steps = _chain(rng, counts)
    boy = rng.random() < 0.5
    name = rng.choice(_BOYS if boy else _GIRLS)
    he = "He" if boy else "She"
    things = rng.choice(_THINGS)
    clauses = {"+": _MORE, "-": _LESS, "*": _TIMES, "/": _PARTS}
    story = [f"{name} has {steps[0][0]} {things}."]
    for _, operator, right, _ in steps:
        story.append(rng.choice(clauses[operator]).format(He=he, n=right))
    story.append(_QUESTION.format(things=things))
    lines = [f"{left}{operator}{right}={result}" for left, operator, right, result in steps]
    return " ".join(story), "\n".join([*lines, f"#### {steps[-1][3]}"])


def split_of(question: str) -> str:
    """The only split that may hold this text: a hash of it decides, so no text can be in two splits."""
    return _BUCKETS[zlib.crc32(question.encode()) % len(_BUCKETS)]


def stream(split: str) -> Iterator[dict[str, str]]:
    """The problems of a split in their fixed order, without end and without repeated texts.

    Each is `{"id", "question", "answer"}`; `answer` is lines of equations and a last line `#### c`.
    """
    rng = random.Random(f"{SEED}-{split}")
    counts = _LESSONS if split == "train" else _EXERCISES
    seen: set[str] = set()
    while True:
        question, answer = _problem(rng, counts)
        if split_of(question) == split and question not in seen:
            seen.add(question)
            yield {"id": f"apples-{split}-{len(seen) - 1}", "question": question, "answer": answer}


def generate(split: str, limit: int | None = None) -> list[dict[str, str]]:
    """The first `limit` problems of a split, or as many as `SIZES` says; the same ones on every machine."""
    if split not in SIZES:
        raise ValueError(f"apples has no split {split!r}; it has {', '.join(SIZES)}")
    return list(islice(stream(split), SIZES[split] if limit is None else limit))


def _normal(step: str) -> str:
    """A step in its one writing: without spaces, the operands of + and * in order of size."""
    text = "".join(step.split())
    if len(text) > _LONGEST_STEP:
        return text
    match = _EQUATION.fullmatch(text)
    if match and match[2] in "+*":
        small, large = sorted((int(match[1]), int(match[3])))
        return f"{small}{match[2]}{large}={int(match[4])}"
    return text


def first_bad_step(answer: str, steps: Sequence[str]) -> int | None:
    """Exact truth: the index (from 0) of the first wrong step, None if the whole solution is right.

    The world has one chain of results a problem, so each step is compared with the gold `answer`'s step in
    its place; spaces and the order of the operands of + and * do not matter. A missing or an extra step
    counts as wrong where it happens. A solution that stops before its "####" line with all of its steps
    right gives `len(steps)`: the first step that is not there.
    """
    gold = [line for line in answer.splitlines() if line.strip()]
    for index, step in enumerate(steps):
        if index >= len(gold) or _normal(step) != _normal(gold[index]):
            return index
    return len(steps) if len(steps) < len(gold) else None
