"""The two sides of an equals sign in running text: where each begins and ends, and whether all of it can be read.

The rule: where anything before the left side or after the right side cannot be read, there is no side. A sign that is
not known, an unknown ("2 y"), words that change a value ("half of", "mod", "squared") all make a side unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from refine_eval import arithmetic
from refine_eval_refiners.notation import UNREADABLE, words

Token = arithmetic.Token

SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "k": 10**3, "million": 10**6, "billion": 10**9}
SCALES |= {f"{word}s": scale for word, scale in SCALES.items() if word != "k"}
CENTS = words("cent cents penny pennies")

_SHARES = words(
    "half halves third thirds fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths "
    "tenth tenths quarter quarters percent"
)
_FUNCTIONS = words(
    "root sqrt square squared cube cubed cubic power factorial average mean median log ln lg exp sin cos tan mod "
    "modulo modulus remainder choose max min gcd lcm abs absolute negative opposite reciprocal inverse ceil ceiling "
    "floor over"
)
# Right before a side, these words make it a part of something larger.
_CHANGING = (_SHARES | _FUNCTIONS | words("twice thrice double doubled triple tripled quadruple quadrupled")) - words(
    "remainder over square"
) | words("than times plus minus less")
# Right after a number, these do.
_ALTERING = words("halves thirds fourths fifths sixths sevenths eighths ninths tenths") | _FUNCTIONS - words(
    "remainder average square cubic min max over floor negative opposite"
)
# "The square of 3 + 4 = 49"; "an average of 3 + 5 = 4" is read only where it holds as it stands.
_AVERAGES = words("average mean median remainder")
_OF = (_SHARES | _FUNCTIONS) - _AVERAGES
_LABELLED = words("day days week weeks month months year years step level grade chapter stage round")
_NOT_ONE_OF_MANY = words("every each per a one")
# Between a number and a side, these make one of both: "subtract 5 from 3 + 4 = 2".
_JOINING = words("of in from by into with to off against over mod modulo choose less percent on")
_NO_UNITS = words("and or so is are was because since then if when therefore which that but thus hence")
_HYPHENED = ["number", "-", "number", "/", "number"]  # "2-3/4" may be a mixed number.
_MEASURES = words(
    "second sec minute min hour hr day week month year inch inche foot feet ft yard yd mile ounce oz pound lb ton gram "
    "kilogram kg cm mm meter metre km kilometer kilometre cup pint quart gallon liter litre ml cent dollar penny "
    "pennie nickel dime quarter dozen pair"
)
_ABOUT = words("about approximately approx roughly around nearly almost ~")
_ITEMS = (["number", "close"], ["word", "close"], ["open", "number", "close"], ["open", "word", "close"])
# Signs that end a phrase, open one, or stand between two.
_PUNCTUATION = frozenset(",.:;!?\"'“”‘’«»`…→≈~#*&<>≤≥≠()[]_|@")
_JOINTS = frozenset(":.,/\\'’_|@")


@dataclass(frozen=True, slots=True)
class Side:
    """An expression: its tokens, for each the words that follow it as its unit, and the words that follow the whole."""

    tokens: tuple[Token, ...]
    units: tuple[tuple[str, ...], ...]
    after: tuple[Token, ...] = ()
    about: bool = False
    may_change: bool = False
    """Where it is not equal, that may be for the words beside it: "7!", "the average of 3 + 5"."""
    may_go_on: bool = False
    """What follows may belong to it, equal or not: "20 - the rest"."""

    @property
    def operations(self) -> int:
        """How many operators stand between its numbers."""
        return sum(token.kind == "operator" for token in self.tokens[1:])

    @property
    def spoken(self) -> list[str]:
        """The words of all its units."""
        return [word for unit in self.units for word in unit]

    def __str__(self) -> str:
        return " ".join(token.text for token in self.tokens)


def measures(sides: Iterable[Side]) -> frozenset[str]:
    """The units of measurement that stand in the sides, in the singular."""
    return frozenset(word.rstrip("s") for side in sides for word in side.spoken) & _MEASURES


@dataclass(slots=True)
class _Run:
    """The longest run of an expression: its tokens, their units, where it stops, whether an operand ends it."""

    tokens: list[Token]
    places: list[int]
    units: list[tuple[str, ...]]
    stop: int
    operand: bool

    def cut(self) -> None:
        """Takes off the last token."""
        self.tokens.pop()
        self.units.pop()
        self.stop = self.places.pop()
        self.operand = bool(self.tokens) and self.tokens[-1].kind in ("number", "close")


def _run(tokens: Sequence[Token], start: int) -> _Run:
    run = _Run([], [], [], start, False)
    index, depth = start, 0
    while index < len(tokens) and len(run.tokens) <= arithmetic.MAX_TOKENS:
        token = tokens[index]
        if not run.operand and token.kind == "number":
            run.operand = True
        elif not run.operand and token.kind == "open":
            depth += 1
        elif not run.operand and token.text == "-" and (not run.tokens or run.tokens[-1].text != "-"):
            pass
        elif run.operand and token.kind == "operator":
            run.operand = False
        elif run.operand and token.kind == "close" and depth:
            depth -= 1
        elif run.operand and token.kind == "word":
            end = index
            while end < len(tokens) and tokens[end].kind == "word":
                end += 1
            unit = _unit(tokens, index, end, depth)
            if unit is None:
                break
            run.units[-1] = unit
            index = end
            continue
        else:
            break
        run.tokens.append(token)
        run.places.append(index)
        run.units.append(())
        index += 1
    run.stop = index
    return run


def _unit(tokens: Sequence[Token], start: int, end: int, depth: int) -> tuple[str, ...] | None:
    """The words from start to end as the unit of the number before them; None where they are more than a unit."""
    spoken = [token.text.lower() for token in tokens[start:end]]
    follows = tokens[end].kind if end < len(tokens) else "end"
    if len(spoken) > (3 if follows == "operator" else 2) or _NO_UNITS.intersection(spoken):
        return None
    if follows not in ("operator", "end") and not (follows == "close" and depth):
        return None
    if _is_unknown(tokens[start - 1], tokens[start]):
        return ("?",)
    return tuple(spoken)


def _is_unknown(number: Token, word: Token) -> bool:
    """Whether a word after a number stands for another number: "5A", "2 y", "1Tom"; not "2 a day" or "$5k"."""
    touches = word.start == number.end and word.text == word.text.strip()
    if len(word.text) == 1:
        return not (word.text == "a" and not touches) and not (word.text in "kK" and touches and "$" in number.text)
    return touches and word.text[0].isupper()


def left_side(segment: Sequence[Token], chained: bool) -> Side | None:
    """The run that ends where the segment does; None where there is none, or where it may be a part of more."""
    start = 0
    while start < len(segment):
        if segment[start].kind not in ("number", "open") and not _is_sign(segment, start, chained):
            start += 1
            continue
        run = _run(segment, start)
        opened = _unclosed(run.tokens)
        if run.stop < len(segment) or not run.operand:
            start = max(run.stop, start + 1)
        elif opened is not None:
            if opened and run.tokens[opened - 1].kind == "operator":
                return None
            # "(3 + 4 = 7)": the side begins after the bracket.
            start = run.places[opened] + 1
        else:
            bare = len(run.tokens) == 1 and (start > 0 or any(run.units) or not chained)
            if bare or _unreadable(run) or _changed_before(segment, start):
                return None
            return Side(tuple(run.tokens), tuple(run.units), may_change=_may_change(segment[:start]))
    return None


def right_side(segment: Sequence[Token]) -> Side | None:
    """The run at the start of the segment, cut back to a whole expression; None where it is not certain."""
    start = 0
    while start < len(segment) and segment[start].text.lower() in _ABOUT:
        start += 1
    run = _run(segment, start)
    cut: list[Token] = []
    while run.tokens and (not run.operand or _unclosed(run.tokens) is not None):
        cut.insert(0, run.tokens[-1])
        run.cut()
    if not run.tokens or _unreadable(run):
        return None
    after = segment[run.stop :]
    if any(token.kind == "number" for token in cut) or _continues(after):
        return None
    unit = [token.text.lower() for token in _leading_words(after)[:3]]
    if _altered(unit):
        return None
    if unit and not run.units[-1]:
        run.units[-1] = tuple(unit[:2])
    shouted = bool(after) and after[0].text == "!"
    mixed = [token.text if token.kind == "operator" else token.kind for token in run.tokens] == _HYPHENED
    mixed = mixed and all(a.end == b.start for a, b in pairwise(run.tokens))
    return Side(
        tuple(run.tokens),
        tuple(run.units),
        tuple(after),
        about=start > 0,
        may_change=shouted or mixed,
        may_go_on=_may_go_on(after),
    )


def _leading_words(tokens: Sequence[Token]) -> list[Token]:
    end = next((index for index, token in enumerate(tokens[:8]) if token.kind != "word"), min(len(tokens), 8))
    return list(tokens[:end])


def _altered(unit: Sequence[str]) -> bool:
    return bool(unit) and (unit[0] in _ALTERING or (unit[0] == "to" and "power" in unit))


def _continues(after: Sequence[Token]) -> bool:
    """Whether what follows a right side belongs to its value: "1 1/2", "10:30", "5 and 2/3", "24/y", "7 mod 2"."""
    if not after:
        return False
    first, second = after[0], after[1] if len(after) > 1 else None
    if first.kind in ("number", "open") and not (first.kind == "open" and _aside(after)):
        return True
    if first.kind == "other":
        joined = second is not None and second.kind in ("number", "open") and second.start == first.end
        if first.text not in _PUNCTUATION or (first.text in _JOINTS and joined):
            return True
    if first.text == ":" and second is not None and second.kind == "number" and second.start - first.end > 0:
        return True  # "3 : 4"
    if first.text.lower() == "and" and second is not None:
        third = after[2].text.lower() if len(after) > 2 else ""
        sums = len(after) > 2 and after[2].kind == "operator" and after[2].text != "/"
        if (second.kind in ("number", "open") and not sums) or second.text.lower() in _SHARES or third in _SHARES:
            return True
    if first.text.lower() == "point" and second is not None and second.kind == "number":
        return True  # "3 point 5"
    if any(token.kind == "word" and len(token.text) == 1 and token.text not in "aIk" for token in after[:2]):
        return True
    return _compound(after)


def _aside(after: Sequence[Token]) -> bool:
    """Whether a bracket after a side is a remark ("3 buses (rounded up)") and not a factor."""
    return len(after) > 1 and after[1].kind == "word" and len(after[1].text) > 1


def _compound(after: Sequence[Token]) -> bool:
    """Whether a second measure follows: "5 feet 6 inches", "2 hours and 30 minutes"."""
    if after[0].text.lower().rstrip("s") not in _MEASURES:
        return False
    rest = [token for token in after[1:5] if token.text.lower() != "and" and token.text != ","]
    return len(rest) > 1 and rest[0].kind == "number" and rest[1].text.lower().rstrip("s") in _MEASURES


def _may_go_on(after: Sequence[Token]) -> bool:
    """Whether a right side may not end where it seems to: "20 - cost", "3 halves"."""
    if not after:
        return False
    first = after[0]
    if first.kind != "operator":
        return first.kind == "word" and first.text.lower() in _SHARES - words("quarter quarters")
    # "60 miles / hour" and "12 times" are no operators.
    a_word = len(after) > 1 and after[1].kind == "word" and len(after[1].text) > 1
    return not (first.text == "/" and a_word) and first.end - first.start < len("times")


def _unreadable(run: _Run) -> bool:
    """Whether a side holds unknowns ("2 y"), a share of something unnamed ("1/3 of Sam's") or clock times."""
    if any(token.kind == "number" and re.match(r"[^\d.]*0\d", token.text) for token in run.tokens):
        return True
    for unit in run.units:
        if unit and (unit[0] == "?" or _altered(unit) or any(len(word) == 1 and word not in "ak" for word in unit)):
            return True
    return "of" in next(iter([unit for unit in run.units if unit]), ())[:1]


def _is_sign(segment: Sequence[Token], index: int, chained: bool) -> bool:
    """Whether a minus sign stands right before its number and does not subtract."""
    token = segment[index]
    if token.text != "-" or index + 1 >= len(segment):
        return False
    if chained and index == 0:
        return True
    return segment[index + 1].start == token.end and (index == 0 or segment[index - 1].kind in ("other", "open"))


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
    side, before, earlier = segment[start], segment[start - 1], segment[start - 2] if start > 1 else None
    if before.kind in ("operator", "number", "close"):
        # "- 3 + 4 = 7", "1) 3 + 4 = 7" and "(a) 3 + 4 = 7" at the start of a line are items of a list.
        item = before.kind == "close" and before.end < side.start and [t.kind for t in segment[:start]] in _ITEMS
        return not (item or (before.text == "-" and earlier is None))
    if before.kind == "open":
        return earlier is not None and earlier.kind == "word" and earlier.end == before.start
    if before.kind == "other":
        return _sign_changes(before, earlier, side)
    if side.kind == "open" and before.end == side.start:
        return True  # "max(3 + 4)"
    return _words_change(segment, start)


def _may_change(before: Sequence[Token]) -> bool:
    return len(before) > 1 and before[-1].text.lower() == "of" and before[-2].text.lower() in _AVERAGES


def _sign_changes(before: Token, earlier: Token | None, side: Token) -> bool:
    """Whether a sign before a side is not known, or joins it to what stands before: "10:30", "13,2000", "14, 400"."""
    if before.text not in _PUNCTUATION:
        # An arrow, a tick or an emoji at the start of a line is a bullet.
        bullet = earlier is None and before.end < side.start and before.text not in "√∛∜∑∏∫±∓¬⌊⌈|‖" + UNREADABLE
        return not bullet
    if before.text == "|" and before.end == side.start:
        return True
    if earlier is None or earlier.kind not in ("number", "operator", "close"):
        return False
    if earlier.kind == "operator":
        return True
    touches = before.end == side.start
    if before.text == ":" and before.start > earlier.end:
        return True  # "12 : 4", where "Day 2: 4 + 3" is a heading.
    return before.text in _JOINTS and (touches or (before.text == "," and len(side.text) == 3))


def _words_change(segment: Sequence[Token], start: int) -> bool:
    """Whether the words before a side change its value: "half of", "8 packs of", "10 mod", "7 + Sam"."""
    back = start - 1
    while back > 0 and start - back < 4 and segment[back].kind == "word":
        back -= 1
    spoken = [token.text.lower() for token in segment[back:start] if token.kind == "word"]
    earlier, word = segment[start - 2] if start > 1 else None, spoken[-1]
    if word in _CHANGING or word.rpartition("-")[2] in _SHARES or (len(word) == 1 and word not in "ai"):
        return True
    if word == "of" and len(spoken) > 1 and (spoken[-2] in _OF or spoken[-2].rpartition("-")[2] in _SHARES):
        return True
    if earlier is not None and earlier.kind in ("number", "close") and word in ("and", *_JOINING):
        # "3 + 4 = 7 and 5 * 2 = 10"
        return not (word == "and" and start == 2 and len(segment) > 3 and segment[3].text != "/")
    if word in _LABELLED and (earlier is None or earlier.text.lower() not in _NOT_ONE_OF_MANY):
        return True
    if word in ("of", "in") and segment[back].kind == "number":
        return True  # "8 packs of 5 bags * $4 = $160"
    # "7 + Sam (1) + 2 = 10"
    return segment[back].kind == "operator" and (
        segment[back].text != "-" or (back > 0 and segment[back - 1].kind == "number")
    )
