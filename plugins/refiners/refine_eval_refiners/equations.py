"""Finds and checks the equations in a line of a solution.

Made for text that a language model wrote: whatever the text, nothing here raises, hangs or grows without bound.
An equation that cannot be read with certainty is left out rather than called wrong: a critic that cries wolf
spoils right drafts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from refine_eval import arithmetic

Token = arithmetic.Token

_MAX_DECIMALS = 6  # More are floating point's noise: "22 * 0.15 = 3.3000000000000003".


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """Two sides as they stand in the text, and whether they are equal, rounding allowed."""

    left: str
    right: str
    holds: bool


def find_equations(step: str) -> list[Equation]:
    """Every equation in a line of a solution that can be read with certainty, in order.

    `find_equations("She has 16 - 3 = 13 eggs")` is one that holds. Read are + - * / x × ÷ ^, brackets, $ and
    thousands commas, percent, "20% of 50", units after numbers, chains ("3+4=7+1=8": both parts hold),
    GSM8K's calculator marks (<<9*2=18>>), simple LaTeX. Left out are unknowns, sums over mixed percent, sides
    that depend on words ("half of 8 + 2 = 6"), and what holds no operation ("x = 5").
    """
    step = step[: arithmetic.MAX_CHARACTERS]
    found = [equation for mark in _MARK.findall(step) for equation in _in_text(mark)]
    for equation in _in_text(_MARK.sub("", step)):
        if equation not in found:
            found.append(equation)
    return found


# Tokens.

_MARK = re.compile(r"<<([^<>]*)>>")
_LATEX = [
    (re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\text\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "*"),
    (re.compile(r"\\div(?![a-z])"), "/"),
    (re.compile(r"\\[()\[\],;!]"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SCALES = {
    word: Fraction(scale)
    for word, scale in {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}.items()
}

_SHARES = _words(
    "half third thirds fourth fourths fifth fifths sixth sixths quarter quarters eighth eighths tenth tenths percent"
)
# Right before a side, these words make it a part of something larger.
_CHANGING = _SHARES | _words(
    "twice thrice double doubled triple quadruple than root square squared cubed average mean times plus minus"
)
_LABELLED = _words("day days week weeks month months year years step level grade chapter stage round")
_NO_UNITS = _words("and or so is are was because since then if when therefore which that but thus hence")
_MEASURES = _words(
    "second minute hour day week month year inch inche foot feet yard mile ounce pound ton gram kilogram kg cm meter "
    "metre km kilometer mm cup pint quart gallon liter litre ml cent dollar penny pennie nickel dime quarter dozen "
    "pair"
)
_LEFT_OVER = _words("remainder remaining remain remains left leftover leftovers r rest extra over")


def _tidied(text: str) -> list[Token]:
    """The tokens of free text, with markup dropped and the multiplications that it implies put in."""
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    tokens: list[Token] = []
    raw = list(arithmetic.tokenize(text))
    for index, token in enumerate(raw):
        before = tokens[-1] if tokens else None
        after = raw[index + 1] if index + 1 < len(raw) else None
        if token.text in ("*", "^", "×") and (before is None or before.kind in ("other", "equals")):
            continue  # Markdown's ** and bullets.
        if text[token.start : token.end] in ("x", "X"):
            factor = before is not None and before.kind in ("number", "close", "word")
            times = factor and after is not None and after.kind in ("number", "open")
            token = token if times else Token("word", "x", token.start, token.end)
        if token.kind == "open" and before and before.kind in ("number", "close") and before.end == token.start:
            tokens.append(Token("operator", "*", token.start, token.start))
        if token.kind == "word" and token.text.lower() == "of" and before and _is_share(tokens):
            skip_the = after is not None and after.text.lower() in ("the", "her", "his", "their")
            target = raw[index + 1 + skip_the] if index + 1 + skip_the < len(raw) else None
            if target and target.kind in ("number", "open"):
                token = Token("operator", "of", token.start, token.end)
                if skip_the:
                    raw[index + 1] = Token("drop", "", token.end, token.end)
        if token.kind != "drop":
            tokens.append(token)
    return tokens


def _is_share(tokens: Sequence[Token]) -> bool:
    """Whether the tokens end in "20%" or "3/4"."""
    if tokens[-1].kind != "number":
        return False
    return "%" in tokens[-1].text or (len(tokens) > 2 and tokens[-2].text == "/" and tokens[-3].kind == "number")


def _fractions_grouped(tokens: Sequence[Token]) -> list[Token]:
    """Brackets put around "1/4" in "3 / 1/4" and "3/ 1/4": written tightly after a division with a space."""
    grouped = list(tokens)
    for index in range(len(tokens) - 4, -1, -1):
        divide, over, slash, under = grouped[index : index + 4]
        if (
            (divide.text, over.kind, slash.text, under.kind) == ("/", "number", "/", "number")
            and divide.end < over.start
            and over.end == slash.start
            and slash.end == under.start
        ):
            grouped.insert(index + 4, Token("close", ")", under.end, under.end))
            grouped.insert(index + 1, Token("open", "(", over.start, over.start))
    return grouped


# Sides: the runs of tokens to the left and right of an equals sign.


@dataclass(frozen=True, slots=True)
class _Side:
    tokens: tuple[Token, ...]
    units: tuple[str, ...]
    after: tuple[str, ...] = ()

    @property
    def operations(self) -> int:
        return sum(token.kind == "operator" for token in self.tokens[1:])

    def __str__(self) -> str:
        return " ".join(token.text for token in self.tokens)


def _in_text(text: str) -> Iterator[Equation]:
    segments: list[list[Token]] = [[]]
    for token in _fractions_grouped(_tidied(text)):
        if token.kind == "equals":
            segments.append([])
        else:
            segments[-1].append(token)
    for index in range(len(segments) - 1):
        left = _left_side(segments[index], chained=index > 0)
        right = _right_side(segments[index + 1])
        if left is not None and right is not None and (left.operations or right.operations):
            holds = _compare(left, right, text)
            if holds is not None:
                yield Equation(left=str(left), right=str(right), holds=holds)


def _run(tokens: Sequence[Token], start: int) -> tuple[list[Token], list[str], int, bool]:
    """The longest run of an expression from `start`: tokens, units, where it stops, whether an operand ends it."""
    run: list[Token] = []
    units: list[str] = []
    index, depth, operand = start, 0, False
    while index < len(tokens) and len(run) <= arithmetic.MAX_TOKENS:
        token = tokens[index]
        if not operand and token.kind == "number":
            operand = True
        elif not operand and token.kind == "open":
            depth += 1
        elif not operand and token.text == "-" and (not run or run[-1].text != "-"):
            pass
        elif operand and token.kind == "operator":
            operand = False
        elif operand and token.kind == "close" and depth:
            depth -= 1
        elif operand and token.kind == "word":
            words = index
            while index < len(tokens) and tokens[index].kind == "word":
                index += 1
            spoken = [word.text.lower() for word in tokens[words:index]]
            follows = tokens[index].kind if index < len(tokens) else "end"
            is_unit = len(spoken) <= (3 if follows == "operator" else 2) and not _NO_UNITS.intersection(spoken)
            if not is_unit or not (follows in ("operator", "end") or (follows == "close" and depth)):
                return run, units, words, operand
            # In "5A" and "2 y" a letter is an unknown; in "2 a day" it is not.
            touches = tokens[words].start == tokens[words - 1].end
            unknown = len(spoken[0]) == 1 and (touches or tokens[words].text != "a")
            units.extend(["?"] if unknown else spoken)
            continue
        else:
            break
        run.append(token)
        index += 1
    return run, units, index, operand


def _left_side(segment: Sequence[Token], chained: bool) -> _Side | None:
    """The run that ends where the segment does; None where there is none, or where it may be a part of more."""
    start = 0
    while start < len(segment):
        if segment[start].kind not in ("number", "open") and not _is_sign(segment, start):
            start += 1
            continue
        run, units, stop, operand = _run(segment, start)
        opened = _unclosed(run)
        if stop < len(segment) or not operand:
            start = max(stop, start + 1)
        elif opened is not None:
            if opened and run[opened - 1].kind == "operator":
                return None
            # "(3 + 4 = 7)": the side begins after the bracket.
            start = segment.index(run[opened]) + 1
        else:
            bare = len(run) == 1 and (start > 0 or units or not chained)
            part = bare or _unreadable(run, units) or _changed_before(segment, start)
            return None if part else _Side(tuple(run), tuple(units))
    return None


def _right_side(segment: Sequence[Token]) -> _Side | None:
    """The run at the start of the segment, cut back to a whole expression; None where it is not certain."""
    start = 1 if segment and segment[0].text in ("~", "≈") else 0
    run, units, stop, operand = _run(segment, start)
    while run and (not operand or _unclosed(run) is not None):
        run = run[:-1]
        operand = bool(run) and run[-1].kind in ("number", "close")
    if not run or _unreadable(run, units):
        return None
    after = segment[stop : stop + 8]
    if after:
        follows = after[1] if len(after) > 1 else None
        joined = follows is not None and follows.kind == "number" and follows.start == after[0].end
        mixed = after[0].text.lower() == "and" and follows is not None and follows.kind in ("number", "open")
        unknown = any(token.kind == "word" and len(token.text) == 1 and token.text not in "aI" for token in after[:2])
        if after[0].kind in ("number", "open") or (after[0].text in ":.," and joined) or mixed or unknown:
            return None  # "1 1/2", "10:30", "5 and 2/3", "24/y".
    words = [token.text.lower() for token in segment[start:] if token.kind in ("word", "other")]
    return _Side(tuple(run), tuple(words[:1] if stop == len(run) + start else units[:1] or words[:1]), tuple(words))


def _unreadable(run: Sequence[Token], units: Sequence[str]) -> bool:
    """Whether a side holds unknowns ("2 y"), a share of something unnamed ("1/3 of Sam's") or clock times."""
    clock = any(token.kind == "number" and re.match(r"0\d", token.text) for token in run)
    return clock or "of" in units[:1] or any(len(unit) == 1 and unit != "a" for unit in units)


def _is_sign(segment: Sequence[Token], index: int) -> bool:
    """Whether a minus sign stands right before its number and does not subtract."""
    token = segment[index]
    if token.text != "-" or index + 1 >= len(segment) or segment[index + 1].start != token.end:
        return False
    return index == 0 or segment[index - 1].kind in ("other", "open")


def _unclosed(run: Sequence[Token]) -> int | None:
    """The index of the innermost bracket that the run leaves open; None where all are closed."""
    opened = []
    for index, token in enumerate(run):
        if token.kind == "open":
            opened.append(index)
        elif token.kind == "close":
            opened.pop()
    return opened[-1] if opened else None


def _changed_before(segment: Sequence[Token], start: int) -> bool:
    """Whether what stands before a side may change its value."""
    if start == 0:
        return False
    before, earlier = segment[start - 1], segment[start - 2] if start > 1 else None
    if before.kind in ("operator", "number", "close"):
        # "- 3 + 4 = 7" at the start of a line is a bullet.
        return not (before.text == "-" and earlier is None)
    if before.kind == "open":
        return False
    if before.kind == "other":
        if earlier is None or earlier.kind not in ("number", "operator"):
            return False
        # "10:30", "13,2000", "14, 400"
        touches = before.end == segment[start].start
        return earlier.kind == "operator" or (
            before.text in ",:./\\" and (touches or (before.text == "," and len(segment[start].text) == 3))
        )
    word = before.text.lower()
    if earlier is not None and (
        (word == "of" and (earlier.kind in ("number", "close") or earlier.text.lower() in _SHARES))
        or (word == "and" and earlier.kind == "number")
    ):
        return True
    if word in _CHANGING or (len(word) == 1 and word not in "ai"):
        return True
    if word in _LABELLED and (earlier is None or earlier.text.lower() not in ("every", "each", "per", "a", "one")):
        return True
    back = start - 1
    while back > 0 and start - back < 4 and segment[back].kind == "word":
        back -= 1
    if word in ("of", "in") and segment[back].kind == "number":
        return True  # "8 packs of 5 bags * $4 = $160"
    # "7 + Sam (1) + 2 = 10"
    return segment[back].kind == "operator" and (segment[back].text != "-" or segment[back - 1].kind == "number")


# Values.


def _compare(left: _Side, right: _Side, text: str) -> bool | None:
    """Whether the sides are equal under a reading that the text allows; None: no reading is certain."""
    try:
        values = {arithmetic.value_of(arithmetic.Parser(tokens).whole())[0] for tokens in _left_readings(left)}
    except arithmetic.Unclear:
        return None
    except ValueError:
        return False
    words = frozenset(re.findall(r"[a-z]+", text.lower()))
    scales = {scale for word, scale in _SCALES.items() if word in words}
    if "%" in text or "percent" in words or "cents" in words or "¢" in text:
        scales |= {Fraction(100), Fraction(1, 100)}
    floored = not _LEFT_OVER.isdisjoint(right.after)
    for reading in _right_readings(right):
        try:
            stated = arithmetic.value_of(arithmetic.Parser(reading).whole())[0]
        except ValueError:
            continue
        decimals = max(_decimals(token.text) for token in reading if token.kind == "number")
        for value in values:
            if floored and value // 1 == stated:
                return True
            if any(_rounds_to(scaled, stated, decimals) for scaled in [value, *(value * scale for scale in scales)]):
                return True
    measures = {unit.rstrip("s") for unit in (*left.units, *right.units)} & _MEASURES
    return None if len(measures) > 1 else False


def _left_readings(side: _Side) -> Iterator[Sequence[Token]]:
    """All of the side; without the brackets put in; and what follows a share: "10% of the 4 + 6 = 10 eggs"."""
    yield side.tokens
    if any(token.start == token.end for token in side.tokens):
        yield [token for token in side.tokens if token.start < token.end or token.kind == "operator"]
    for index, token in enumerate(side.tokens):
        if token.text == "of":
            yield side.tokens[index + 1 :]


def _right_readings(side: _Side) -> Iterator[Sequence[Token]]:
    """All of the side, and its beginnings: a chain states a value and goes on ("3+4=7+1=8")."""
    yield side.tokens
    for end in range(1, min(len(side.tokens), 12)):
        if side.tokens[end].kind == "operator":
            yield side.tokens[:end]


def _decimals(number: str) -> int:
    return len(number.partition(".")[2].rstrip("% "))


def _rounds_to(value: Fraction, stated: Fraction, decimals: int) -> bool:
    """Whether `stated`, which has so many decimals, is the value, rounded or (decimals only) cut off."""
    unit = Fraction(1, 10 ** min(decimals, _MAX_DECIMALS))
    error = abs(value - stated)
    return error * 2 <= unit or (decimals > 0 and error < unit and abs(stated) < abs(value))
