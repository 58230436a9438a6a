"""Arithmetic without eval: expressions as trees, read from text and computed exactly.

Bounded on purpose, for texts that a language model wrote: what is too long, too deep or too large is a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARACTERS = 4_000
"""A longer text is not read."""

MAX_TOKENS = 200
"""A longer expression is not parsed."""

_MAX_DIGITS = 40
_MAX_DEPTH = 30
_MAX_BITS = 2_048


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written; `percent` where a % sign follows it."""

    value: Fraction
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """Two expressions and one of `+ - * / ^` between them."""

    operator: str
    left: Expression
    right: Expression


Expression = Number | Operation


def parse(text: str) -> Expression:
    """The expression that `text` is, as a tree: `parse("( 3.0 + 4 ) * 2")`. ValueError where it is none."""
    found = list(tokenize(text[: MAX_CHARACTERS + 1]))
    if len(text) > MAX_CHARACTERS or len(found) > MAX_TOKENS or any(t.kind not in _MATHS for t in found):
        raise ValueError(f"not arithmetic: {text[:80]!r}")
    return Parser(found).whole()


def evaluate(expression: Expression) -> Fraction:
    """The exact value. ValueError where there is none: division by zero, a huge number."""
    return value_of(expression)[0]


# Of Greek there is none: in arithmetic its letters stand for numbers.
_LETTERS = "A-Za-zÀ-ÖØ-öø-ʯЀ-ԯ\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
_TOKEN = re.compile(
    r"(?P<number>(?:[$£€¥₹₩₽]\s?)?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|(?<!\d)\.\d+)(?P<percent>\s?%)?)"
    r"|(?P<per>(?:/|(?<=\d)-)[A-Za-z]+)"
    r"|(?P<equals>=+)"
    r"|(?P<operator>\*\*|[-+*/^×÷−–—·]|\b(?:times|plus|minus|multiplied by|divided by)\b|(?<![A-Za-z])[xX](?![A-Za-z]))"
    r"|(?P<bracket>[()\[\]])"
    rf"|(?P<word>[{_LETTERS}](?:[{_LETTERS}'’]|-(?=[{_LETTERS}]))*)"
    r"|(?P<other>\S)"
)
_OPERATORS = {
    "**": "^", "×": "*", "·": "*", "x": "*", "X": "*", "times": "*", "multiplied by": "*",
    "÷": "/", "divided by": "/", "−": "-", "–": "-", "—": "-", "plus": "+", "minus": "-",
}  # fmt: skip
_MATHS = {"number", "operator", "open", "close"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text: its kind (number, operator, open, close, equals, word, other), and where it stands."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def value(self) -> Fraction:
        """A number's, without currency or percent sign. ValueError where it is too long."""
        digits = re.sub(r"[$£€¥₹₩₽,%\s]", "", self.text)
        if len(digits) > _MAX_DIGITS:
            raise Unclear("a number that is too long")
        return Fraction(digits)


def tokenize(text: str) -> Iterator[Token]:
    """The tokens of any text, with operators in one spelling (× and x as *)."""
    for match in _TOKEN.finditer(text):
        kind, found = str(match.lastgroup), match.group().strip()
        if match["number"]:
            kind = "number"
        elif kind == "bracket":
            kind = "open" if found in "([" else "close"
        elif kind == "operator":
            found = _OPERATORS.get(found.lower(), found)
        elif kind == "per":
            kind, found = "word", found[1:]
        yield Token(kind, found, match.start(), match.end())


class Unclear(ValueError):
    """The expression has more than one reading, or is longer or deeper than what is read."""


def value_of(expression: Expression) -> tuple[Fraction, bool]:
    """The value, and whether it is a percentage (50% is 1/2 and a percentage)."""
    if isinstance(expression, Number):
        return (expression.value / 100 if expression.percent else expression.value), expression.percent
    (left, left_percent), (right, right_percent) = value_of(expression.left), value_of(expression.right)
    if expression.operator in "+-":
        if left_percent != right_percent:
            raise Unclear("a percentage and a number cannot be added")
        value = left + right if expression.operator == "+" else left - right
        return _bounded(value), left_percent
    if expression.operator == "*":
        return _bounded(left * right), False
    if expression.operator == "/":
        if right == 0:
            raise ValueError("division by zero")
        return _bounded(left / right), False
    if right.denominator != 1 or abs(right) > 64 or (left == 0 and right < 0):
        raise ValueError("a power that is not computed")
    return _bounded(left ** int(right)), False


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise ValueError("a number that is too large")
    return value


class Parser:
    """Recursive descent over tokens: sums of products of powers of numbers and brackets."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        """The expression that all tokens together are; ValueError where they are none."""
        if len(self._tokens) > MAX_TOKENS:
            raise Unclear("an expression that is too long")
        expression = self._binary(0)
        if self._next < len(self._tokens):
            raise ValueError(f"unexpected {self._tokens[self._next].text!r}")
        return expression

    def _peek(self) -> str:
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def _binary(self, level: int) -> Expression:
        if level == 2:
            return self._power()
        left = self._binary(level + 1)
        while self._peek() in (("+", "-"), ("*", "/", "of"))[level]:
            operator = self._peek().replace("of", "*")
            self._next += 1
            left = Operation(operator, left, self._binary(level + 1))
        return left

    def _power(self) -> Expression:
        if self._peek() == "-":
            self._next += 1
            return Operation("*", Number(Fraction(-1)), self._deeper(self._power))
        base = self._operand()
        if self._peek() == "^":
            self._next += 1
            return Operation("^", base, self._deeper(self._power))
        return base

    def _operand(self) -> Expression:
        if self._next >= len(self._tokens):
            raise ValueError("the expression ends too early")
        token = self._tokens[self._next]
        self._next += 1
        if token.kind == "open":
            inner = self._deeper(lambda: self._binary(0))
            if self._next >= len(self._tokens) or self._tokens[self._next].kind != "close":
                raise ValueError("a bracket is not closed")
            self._next += 1
            return inner
        if token.kind != "number":
            raise ValueError(f"unexpected {token.text!r}")
        return Number(token.value, "%" in token.text)

    def _deeper(self, rule: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unclear("brackets nested too deep")
        expression = rule()
        self._depth -= 1
        return expression
