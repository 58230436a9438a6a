"""Practice for models of the world "apples": plain equations, and gold solutions with one mistake in them.

Both come with labels by construction. Training critics on them is not part of GLoRe: it stands for what a
pre-trained language model knows before it is taught to judge.
"""

import random

from refine_eval_benchmarks.apples import _EQUATION, LARGEST

_APPLY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a // b}


def _equation(rng: random.Random) -> tuple[int, str, int, int]:
    """One equation with the numbers that the world's problems have."""
    kind = rng.choice("++--*/")
    if kind == "+":
        left = rng.randint(4, LARGEST - 3)
        right = rng.randint(3, min(90, LARGEST - left))
    elif kind == "-":
        left = rng.randint(7, LARGEST)
        right = rng.randint(3, min(90, left - 4))
    elif kind == "*":
        left = rng.randint(4, LARGEST // 2)
        right = rng.randint(2, min(7, LARGEST // left))
    else:
        right = rng.randint(3, 8)
        left = right * rng.randint(4, LARGEST // right)
    return left, kind, right, _APPLY[kind](left, right)


def _slip(rng: random.Random, result: int) -> int:
    """Another result, near the right one in the ways of arithmetic slips; from 1 to the largest."""
    while True:
        off = rng.choice((1, 2, 9, 10, 11, 0)) or rng.randint(1, 90)
        wrong = result + rng.choice((-1, 1)) * off
        if 1 <= wrong <= LARGEST:
            return wrong


def _misread(rng: random.Random, number: int) -> int:
    """The number with one digit read wrongly; at least 1."""
    digits = list(str(number))
    at = rng.randrange(len(digits))
    digits[at] = rng.choice([digit for digit in "0123456789" if digit != digits[at]])
    return max(1, int("".join(digits)))


def equations(rng: random.Random, count: int = 12, wrong: float = 0.0) -> tuple[list[str], list[str]]:
    """`count` unrelated equations as lines, a share `wrong` of them with another result, and the true lines."""
    lines, truth = [], []
    for _ in range(count):
        left, operator, right, result = _equation(rng)
        said = _slip(rng, result) if rng.random() < wrong else result
        lines.append(f"{left}{operator}{right}={said}")
        truth.append(f"{left}{operator}{right}={result}")
    return lines, truth


def corrupted(rng: random.Random, answer: str) -> tuple[list[str], list[int]]:
    """A gold answer with one wrong step, carried forward correctly, and the label of each prefix.

    Two of five mistakes are another clause's number or its whole operation, as when a clause is left out or read twice;
    15 % a misread digit, 10 % a mistaken operator, the others a wrong result. Later steps go on from it, so the answer
    is wrong too.
    Labels are 1 before the wrong step and 0 from it on, known by construction. Results stay in 1 to the largest.
    """
    parts = [match.groups() for match in map(_EQUATION.fullmatch, answer.splitlines()) if match]
    while True:
        at = rng.randrange(len(parts))
        lines, value = [], int(parts[0][0])
        for index, (_, operator, right_text, _) in enumerate(parts):
            right = int(right_text)
            if index == at:
                how = rng.random()
                if how < 0.2:
                    right = int(rng.choice(parts)[2])
                elif how < 0.4:
                    _, operator, other, _ = rng.choice(parts)
                    right = int(other)
                elif how < 0.55:
                    right = _misread(rng, right)
                elif how < 0.65:
                    operator = {"+": "-", "-": "+"}.get(operator, operator)
            if operator == "/" and value % right:
                break
            result = _APPLY[operator](value, right)
            if index == at and how >= 0.65 and 1 <= result <= LARGEST:
                result = _slip(rng, result)
            lines.append(f"{value}{operator}{right}={result}")
            value = result
            if not 1 <= value <= LARGEST:
                break
        else:
            gold = [line for line in answer.splitlines() if line]
            lines.append(f"#### {value}")
            if lines[at] != gold[at] and lines[-1] != gold[-1]:
                return lines, [int(index < at) for index in range(len(lines))]
