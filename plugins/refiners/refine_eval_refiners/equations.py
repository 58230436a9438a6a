"""Finds and checks the equations in a line of a solution.

Made for text that a language model wrote: whatever the text, nothing here raises, hangs or grows without bound.
An equation that cannot be read with certainty is left out rather than called wrong: a critic that cries wolf
spoils right drafts. `notation` gives the text one spelling, `sides` finds what stands left and right of an equals
sign, and `verdicts` compares their values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refine_eval import arithmetic
from refine_eval_refiners.notation import plain, words
from refine_eval_refiners.sides import left_side, right_side
from refine_eval_refiners.verdicts import Said, verdict

Token = arithmetic.Token

MAX_SOLUTION_CHARACTERS = 20_000
"""Of a longer solution nothing is read: no model writes one on purpose, and a critic must not take minutes for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """Two sides as they stand in the text, and whether they are equal, rounding allowed."""

    left: str
    right: str
    holds: bool


def find_equations(step: str) -> list[Equation]:
    """Every equation in a line of a solution that can be read with certainty, in order.

    `find_equations("She has 16 - 3 = 13 eggs")` is one that holds. Read are + - * / ^ in their many spellings,
    brackets, currencies and thousands, percent, "20% of 50", cents, dozens and thousands, mixed numbers, units after
    numbers, chains ("3+4=7+1=8": both parts hold), ≈, GSM8K's calculator marks (<<9*2=18>>), LaTeX. Left out are
    unknowns, sums over mixed percent, sides that depend on words ("half of 8 + 2 = 6") or that stand beside
    something that is not read ("√9 + 2 = 5"), what holds no operation ("x = 5"), and lines of more than 4,000
    characters.

    Sides are equal a hundred times off only where one of them is a percentage or in cents, and equal but for
    rounding only where a quotient was computed or the line says that it rounds.
    """
    if len(step) > arithmetic.MAX_CHARACTERS or not _EQUALS.search(step) or not _DIGIT.search(step):
        return []
    said = Said.of(step)
    found = [equation for mark in _MARK.findall(step) for equation in _in_text(mark, said)]
    for equation in _in_text(_MARK.sub("", step), said):
        if equation not in found:
            found.append(equation)
    return found


_MARK = re.compile(r"<<([^<>]*)>>")
_EQUALS = re.compile(r"[=≈＝﹦⩵≃≅≒≐∼～]|\\(?:approx|simeq|sim|cong|thickapprox|doteq)")
_DIGIT = re.compile(r"[\d⅐-⅞¼-¾⁰-⁹²³¹]")
_THE = words("the her his their its our my")


def _in_text(text: str, said: Said) -> Iterator[Equation]:
    segments: list[list[Token]] = [[]]
    signs = []
    spelled = plain(text)
    if len(spelled) > arithmetic.MAX_CHARACTERS:
        return  # "½½½": longer in plain spelling.
    for token in _fractions_grouped(_tidied(spelled)):
        if token.kind == "equals" or token.text == "≈":
            # "= ≈ 7" is one sign.
            if segments[-1] or len(segments) == 1:
                segments.append([])
                signs.append(token.text)
            else:
                signs[-1] += token.text
        else:
            segments[-1].append(token)
    for index, sign in enumerate(signs):
        right = right_side(segments[index + 1])
        left = left_side(segments[index], chained=index > 0) if right else None
        if left and right and (left.operations or right.operations):
            holds = verdict(left, right, said, about="≈" in sign, goes_on=index + 1 < len(signs))
            if holds is not None:
                yield Equation(left=str(left), right=str(right), holds=holds)


# Tokens.


def _tidied(text: str) -> list[Token]:
    """The tokens of free text, with bullets dropped and the multiplications that it implies put in."""
    tokens: list[Token] = []
    raw = list(arithmetic.tokenize(text))
    for index, token in enumerate(raw):
        before = tokens[-1] if tokens else None
        after = raw[index + 1] if index + 1 < len(raw) else None
        if token.text in ("*", "^") and (before is None or before.kind in ("other", "equals")):
            continue  # Markdown's ** and bullets.
        if text[token.start : token.end] in ("x", "X"):
            factor = before is not None and before.kind in ("number", "close", "word")
            times = factor and after is not None and after.kind in ("number", "open")
            token = token if times else Token("word", "x", token.start, token.end)
        per_unit = token.text == "/" and before is not None and before.kind == "word" and _is_unit(after)
        if per_unit:
            continue  # "5 miles / hour"
        if token.kind == "open" and before and before.kind in ("number", "close") and before.end == token.start:
            tokens.append(Token("operator", "*", token.start, token.start))
        if token.kind == "word" and token.text.lower() == "of" and before and _is_share(tokens):
            skip_the = after is not None and after.text.lower() in _THE
            target = raw[index + 1 + skip_the] if index + 1 + skip_the < len(raw) else None
            if target and target.kind in ("number", "open"):
                token = Token("operator", "of", token.start, token.end)
                if skip_the:
                    raw[index + 1] = Token("drop", "", token.end, token.end)
        if token.kind == "word" and before and before.kind == "number" and _is_percent(token, after):
            tokens[-1] = Token("number", f"{before.text}%", before.start, token.end)
        elif token.kind != "drop":
            tokens.append(token)
    return tokens


def _is_unit(token: Token | None) -> bool:
    return token is not None and token.kind == "word" and len(token.text) > 1


def _is_percent(token: Token, after: Token | None) -> bool:
    """Whether a word is "percent" and not the start of "percent more"."""
    return token.text.lower() in ("percent", "percents", "pct") and (after is None or after.text.lower() != "points")


def _is_share(tokens: Sequence[Token]) -> bool:
    """Whether the tokens end in "20%", "3/4" or "(3/4)"."""
    last = tokens[-1]
    if last.kind == "close":
        kinds = [token.text if token.kind != "number" else "number" for token in tokens[-5:]]
        return kinds == ["(", "number", "/", "number", ")"]
    if last.kind != "number":
        return False
    return "%" in last.text or (len(tokens) > 2 and tokens[-2].text == "/" and tokens[-3].kind == "number")


def _fractions_grouped(tokens: Sequence[Token]) -> list[Token]:
    """Brackets put around "1/4" in "3 / 1/4" and "3/ 1/4": written tightly after a division with a space."""
    grouped: list[Token] = []
    closes = -1
    for index, token in enumerate(tokens):
        if (
            index > closes
            and index > 0
            and index + 2 < len(tokens)
            and [each.kind for each in tokens[index - 1 : index + 3]] == ["operator", "number", "operator", "number"]
            and tokens[index - 1].text == tokens[index + 1].text == "/"
            and tokens[index - 1].end < token.start
            and token.end == tokens[index + 1].start
            and tokens[index + 1].end == tokens[index + 2].start
        ):
            grouped.append(Token("open", "(", token.start, token.start))
            closes = index + 2
        grouped.append(token)
        if index == closes:
            grouped.append(Token("close", ")", token.end, token.end))
    return grouped
