"""Whether two sides are equal: in which units, and rounded or not.

There are three answers: yes, no, and None where the text allows a reading that would make the equation hold but does
not say so. A factor of 100 needs a side that is itself a percentage or in cents; rounding needs a quotient that was
computed, or a word that says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from refine_eval import arithmetic
from refine_eval_refiners.notation import words
from refine_eval_refiners.sides import CENTS, SCALES, Side, measures

Token = arithmetic.Token

_ROUNDED_DECIMALS = 4
_MAX_DECIMALS = 6  # More are floating point's noise: "22 * 0.15 = 3.3000000000000003".
_HUNDRED = (Fraction(100),)
_TOLERANCE = Fraction(1, 20)  # Of "about": what is further off is wrong.
_CONVERSIONS = (12, 16, 24, 60, 1000, 3600)  # Between units of measurement.
_MAX_ROUNDED = 8  # Numbers of a side whose own rounding is followed.

_LEFT_OVER = words("remainder remaining remain remains left leftover leftovers rest extra over")
_DOLLARS = words("dollar dollars buck bucks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the words of a line say about its numbers."""

    rounded: bool
    up: bool
    down: bool
    about: bool
    hinted: bool
    remainder: bool
    scales: frozenset[int]

    @classmethod
    def of(cls, text: str) -> Said:
        """Reads a line, of which only the beginning counts where it is very long."""
        text = text[: arithmetic.MAX_CHARACTERS].lower()
        spoken = frozenset(re.findall(r"[a-z']+", text))
        whole = not spoken.isdisjoint(_WHOLE)
        rounds = bool(re.search(r"\b(?:round(?:s|ed|ing)?|truncat\w*|ceil\w*|floor\(|nearest)\b", text))
        up = bool(
            re.search(r"\bround\w*(?: \w+){0,3} up|\bceil|\bup to the (?:next|nearest)|\bnext (?:whole|full)", text)
        )
        down = bool(re.search(r"\bround\w*(?: \w+){0,3} down|\bfloor\(|\btruncat|\bdown to the (?:next|nearest)", text))
        return cls(
            rounded=rounds or whole,
            up=up or (whole and not down),
            down=down or (whole and not up),
            about="≈" in text or "~" in text or "\\approx" in text or not spoken.isdisjoint(_ABOUT),
            hinted=bool(re.search(r"\bat (?:least|most)\b", text)) or not spoken.isdisjoint(_HINTS),
            scales=frozenset(SCALES[word] for word in spoken if word in SCALES),
            remainder=not spoken.isdisjoint(words("remainder mod modulo modulus")),
        )


_WHOLE = words("whole full complete completely fully integer")
_ABOUT = words("about approximately approx roughly around nearly almost estimate estimated estimates estimation")
_HINTS = words("cannot can't minimum maximum partial fraction fractional fractions part whole")


def verdict(left: Side, right: Side, said: Said, *, about: bool, goes_on: bool) -> bool | None:
    """Whether the sides are equal; None where no reading is certain. `goes_on`: another equals sign follows."""
    if _unclear(left.tokens) or _unclear(right.tokens):
        return None
    about = about or right.about
    found: bool | None = False
    for end in _ends(right):
        for certain, values, stated in _readings(left, right, end):
            holds = _equal(values, stated, _Place(left, right, end, said, about))
            if holds and certain and not right.may_go_on and (end == len(right.tokens) or goes_on):
                return True
            if holds or holds is None:
                found = None
    doubtful = left.may_change or right.may_change or right.may_go_on
    if found is False and (doubtful or len(measures((left, right))) > 1):
        return None
    return found


def _ends(side: Side) -> Iterator[int]:
    """Where a right side may end: at its end, or before an operator ("3+4=7+1=8" states 7 and goes on)."""
    yield len(side.tokens)
    for end in range(1, min(len(side.tokens), 12)):
        token = side.tokens[end]
        if token.kind == "operator" and (token.text not in "/^" or token.end - token.start > len("**")):
            yield end


# Readings: a side's value in its own units, in common units (cents as hundredths, a dozen as 12), or as percents.


@dataclass(frozen=True, slots=True)
class _Stated:
    """A right side's value and, where it is one number, how many decimals it is written with."""

    value: Fraction
    decimals: int | None


@dataclass(frozen=True, slots=True)
class _Place:
    left: Side
    right: Side
    end: int
    said: Said
    about: bool

    @property
    def quotient(self) -> bool:
        """Whether a quotient was computed on the left."""
        return any(token.text == "/" for token in self.left.tokens)


def _readings(left: Side, right: Side, end: int) -> Iterator[tuple[bool, Fraction, _Stated]]:
    """Pairs of a left and a right value that the text allows, and whether it does so for certain."""
    tokens, units = right.tokens[:end], right.units[:end]
    in_dollars = any("$" in token.text for token in (*left.tokens, *tokens)) or not _DOLLARS.isdisjoint(
        [*left.spoken, *right.spoken]
    )
    cents = not CENTS.isdisjoint([*left.spoken, *(word for unit in units for word in unit)])
    scaled_left, scaled_right = _scales(left.units), _scales(units)
    stated = _stated(tokens)
    stated_common = _stated(_in_common_units(tokens, units))
    for certain, written in ((True, left.tokens), *_ungrouped(left), *_after_share(left)):
        value, percentage = _value(written)
        if value is None:
            continue
        if stated:
            # "$2 * 100 = 200 cents" converts; "60 cents * 5 = $300" does not.
            factors = [token for token, unit in zip(left.tokens, left.units, strict=True) if CENTS.isdisjoint(unit)]
            if not (cents and in_dollars) or _holds_number(factors, {Fraction(100), Fraction(1, 100)}):
                named = not scaled_left or bool(scaled_right) or _holds_number(left.tokens, scaled_left)
                yield certain and named, value, stated
            # "15 / 90 * 100% = 16.67", "20% + 30% = 50".
            percentage = percentage or [token.text for token in left.tokens[-2:]] == ["*", "100%"]
            if percentage and not _has_percent(tokens):
                yield certain, value * 100, stated
            if _has_percent(tokens) and not percentage and stated.decimals is not None:
                bare = not any("%" in token.text for token in left.tokens)
                counted = abs(value) >= 1 and (
                    _holds_number(left.tokens, _HUNDRED) or all(t.text != "/" for t in left.tokens)
                )
                yield certain and bare and counted, value, _Stated(stated.value * 100, stated.decimals - 2)
        if stated_common and (cents or scaled_left or scaled_right) and written is left.tokens:
            common, _ = _value(_in_common_units(left.tokens, left.units))
            if common is not None:
                yield certain, common, stated_common


def _ungrouped(side: Side) -> Iterator[tuple[bool, Sequence[Token]]]:
    """The tokens without the brackets that were put in: "28 / 1/4" read from left to right."""
    tokens = [token for token in side.tokens if token.start < token.end or token.kind == "operator"]
    if len(tokens) < len(side.tokens):
        yield True, tokens


def _after_share(side: Side) -> Iterator[tuple[bool, Sequence[Token]]]:
    """What follows a share, for which nothing is certain: "10% of the 4 + 6 = 10 eggs"."""
    for index, token in enumerate(side.tokens):
        if token.text == "of" and any(each.kind == "operator" for each in side.tokens[index + 1 :]):
            yield False, side.tokens[index + 1 :]


def _scales(units: Sequence[Sequence[str]]) -> set[Fraction]:
    return {Fraction(SCALES[word]) for unit in units for word in unit[:2] if word in SCALES}


def _holds_number(tokens: Sequence[Token], numbers: Collection[Fraction]) -> bool:
    return any(token.kind == "number" and _number(token) in numbers for token in tokens)


def _number(token: Token) -> Fraction | None:
    try:
        return token.value
    except ValueError:
        return None


def _has_percent(tokens: Sequence[Token]) -> bool:
    return any("%" in token.text for token in tokens)


def _in_common_units(tokens: Sequence[Token], units: Sequence[Sequence[str]]) -> list[Token]:
    """The tokens with "75 cents" as (75/100) and "3 dozen" as (3*12)."""
    common: list[Token] = []
    for token, unit in zip(tokens, units, strict=True):
        factors = [f"*{SCALES[word]}" for word in unit[:2] if word in SCALES]
        factors += ["/100"] if not CENTS.isdisjoint(unit[:1]) else []
        if token.kind == "number" and factors:
            common += arithmetic.tokenize(f"({token.text}{''.join(factors)})")
        else:
            common.append(token)
    return common


def _value(tokens: Sequence[Token]) -> tuple[Fraction | None, bool]:
    """The value of an expression, and whether it is a percentage; None where it has none."""
    try:
        return arithmetic.value_of(arithmetic.Parser(tokens).whole())
    except ValueError:
        return None, False


def _unclear(tokens: Sequence[Token]) -> bool:
    """Whether an expression has no certain reading ("50 - 20%"); "5 / 0" has one, which equals nothing."""
    try:
        arithmetic.value_of(arithmetic.Parser(tokens).whole())
    except arithmetic.Unclear:
        return True
    except ValueError:
        return False
    return False


def _stated(tokens: Sequence[Token]) -> _Stated | None:
    value, _ = _value(tokens)
    if value is None:
        return None
    numbers = [token for token in tokens if token.kind == "number"]
    cents = [token.text for token in tokens[2:]] == ["/", "100", ")"]  # Made of "26 cents".
    if len(numbers) > 1 and not cents:
        return _Stated(value, None)
    percent = "%" in numbers[0].text
    return _Stated(value, _decimals(numbers[0].text) + 2 * (percent + cents))


def _decimals(number: str) -> int:
    return len(number.partition(".")[2].rstrip("% "))


# Rounding.


def _equal(value: Fraction, stated: _Stated, place: _Place) -> bool | None:
    """Whether a value was stated: exactly, or rounded where the text allows that; None where it may be."""
    error, said = abs(value - stated.value), place.said
    if error == 0:
        return True
    decimals = stated.decimals
    written = max((_decimals(token.text) for token in place.left.tokens if token.kind == "number"), default=0)
    if written >= _MAX_DECIMALS and error <= max(Fraction(1), abs(value)) / 10**_MAX_DECIMALS:
        return True
    if decimals is None:
        return _equal_sums(value, stated.value, place)
    unit = Fraction(10) ** -min(decimals, _MAX_DECIMALS)
    if place.quotient and decimals <= 0 and _names_rest(place.right):
        return _left_over(value, stated.value, place)
    nearest = error * 2 <= unit
    cut = decimals > 0 and error < unit and abs(stated.value) < abs(value)
    if decimals >= _MAX_DECIMALS and (nearest or cut):
        return True
    # A number with four decimals is itself a quotient that was rounded: "0.6936 * 100 = 69.4".
    if nearest and decimals >= 0 and written >= _ROUNDED_DECIMALS:
        return True
    if place.quotient or said.rounded or place.about:
        wrong_way = decimals <= 0 and (said.down if stated.value > value else said.up) and said.up != said.down
        if nearest or cut:
            return None if wrong_way else True
    if (place.quotient or said.rounded) and _said_so(value, stated.value, unit, said):
        return True
    if said.rounded or place.about:
        round_unit = _last_place(stated.value)
        if round_unit > unit and (error * 2 <= round_unit or _said_so(value, stated.value, round_unit, said)):
            return True
    if place.quotient and place.said.remainder and value.denominator != 1:
        return None  # "The remainder of 17 / 5 = 2"
    return None if _may_be(value, stated, unit, place) else False


def _equal_sums(value: Fraction, stated: Fraction, place: _Place) -> bool | None:
    """Equal within the rounding of the numbers that the right side is made of? Never for certain."""
    tokens = place.right.tokens[: place.end]
    error = abs(value - stated)
    if place.about and error <= abs(value) * _TOLERANCE:
        return None
    return None if error <= _spread(place.left.tokens) + _spread(tokens) else False


def _said_so(value: Fraction, stated: Fraction, unit: Fraction, said: Said) -> bool:
    """Whether the line says that it rounds up or down, and this is what comes out."""
    return (said.up and 0 < stated - value < unit) or (said.down and 0 < value - stated < unit)


def _last_place(stated: Fraction) -> Fraction:
    """The place of a whole number's last digit that is not 0: 100 for 600."""
    unit = 1
    while stated and stated % (unit * 10) == 0 and unit < 10**9:
        unit *= 10
    return Fraction(unit)


def _names_rest(side: Side) -> bool:
    """Whether a side goes on with what is left over: "3 with 2 left"."""
    return any(token.text.lower() in _LEFT_OVER for token in side.after[:12])


def _left_over(value: Fraction, stated: Fraction, place: _Place) -> bool | None:
    """Whether a quotient was cut to a whole number, and the rest that is named is right."""
    named = [_number(token) for token in place.right.after[:12] if token.kind == "number"]
    nearest = abs(value - stated) * 2 <= 1
    if not named or value // 1 != stated:
        return value // 1 == stated or nearest
    tokens = place.left.tokens
    divisor = _number(tokens[2]) if len(tokens) == 3 and tokens[1].text == "/" else None
    return True if divisor and named[0] == (value - stated) * divisor else None


def _may_be(value: Fraction, stated: _Stated, unit: Fraction, place: _Place) -> bool:
    """Whether rounding or a unit that nobody mentions beside the numbers explains the difference."""
    error = abs(value - stated.value)
    if (place.about or place.said.about) and error <= abs(value) * _TOLERANCE:
        return True
    if place.quotient and place.said.hinted and error < unit:
        return True
    # "5 thousand dollars a day, so 5 * 3 = 15,000", and "10 / 100% * 5 = 0.5".
    if any(stated.value in (value * scale, value / scale) for scale in place.said.scales):
        return True
    # "20 * 50 = 1 kg"
    if measures((place.left, place.right)) and any(stated.value in (value * n, value / n) for n in _CONVERSIONS):
        return True
    if any(a.text == "/" and "%" in b.text for a, b in pairwise(place.left.tokens)):
        return stated.value in (value / 100, value * 100)
    # "33.33 * 3 = 100", "3.33 * 1.07 = 3.56": numbers that are themselves rounded, and cents that are. Sums are exact.
    if all(token.text in "+-" for token in place.left.tokens if token.kind == "operator"):
        return False
    decimals = stated.decimals or 0
    cut = abs(stated.value) < abs(value)
    own = (unit if cut else unit / 2) if decimals >= 2 else Fraction(0)
    return error <= min(own + _spread(place.left.tokens), abs(value) / 100)


def _spread(tokens: Sequence[Token]) -> Fraction:
    """How far the rounding of its numbers with two decimals or more may move a side."""
    rounded = [index for index, token in enumerate(tokens) if token.kind == "number" and _decimals(token.text) >= 2]
    value, _ = _value(tokens)
    if value is None:
        return Fraction(0)
    spread = Fraction(0)
    for index in rounded[:_MAX_ROUNDED]:
        token = tokens[index]
        digits = token.text.rstrip("% ")
        moved = Token("number", token.text.replace(digits, f"{digits}5"), token.start, token.end)
        other, _ = _value([*tokens[:index], moved, *tokens[index + 1 :]])
        spread += abs(other - value) if other is not None else 0
    return spread
