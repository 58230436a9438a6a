"""One spelling for the many ways to write arithmetic: LaTeX, Unicode, Markdown.

`plain` turns a line into text that the tokenizer of `refine_eval.arithmetic` reads. What has no plain spelling becomes
`UNREADABLE`, so that nothing is taken for a number that stands alone. Each pass is linear in the text's length.
"""

from __future__ import annotations

import re

UNREADABLE = "\ufffd"
"""Stands for a sign or command whose value is not known."""


def words(text: str) -> frozenset[str]:
    """A set of words, from a text that lists them."""
    return frozenset(text.split())


def plain(text: str) -> str:
    """The text with operators, thousands, powers, fractions and emphasis in one spelling.

    `plain(r"\\(2{,}500 \\times 3²\\)")` is ` 2,500 * 3^(2) `; `2¾` becomes `(2+3/4)`.
    """
    for pattern, replacement in _BEFORE_LATEX:
        text = pattern.sub(replacement, text)
    if "\\" in text or "{" in text or "}" in text:
        text = _without_latex(text)
    text = text.translate(_SIGNS)
    for pattern, replacement in _AFTER_LATEX:
        text = pattern.sub(replacement, text)
    text = _SUPERSCRIPT.sub(_power, text)
    return _FRACTION.sub(_fraction, text)


# Unicode.


def _spellings(*groups: tuple[str, str]) -> dict[int, str]:
    return {ord(sign): plain_sign for signs, plain_sign in groups for sign in signs}


_VULGAR = {
    "½": "1⁄2", "⅓": "1⁄3", "⅔": "2⁄3", "¼": "1⁄4", "¾": "3⁄4", "⅕": "1⁄5", "⅖": "2⁄5", "⅗": "3⁄5", "⅘": "4⁄5",
    "⅙": "1⁄6", "⅚": "5⁄6", "⅐": "1⁄7", "⅛": "1⁄8", "⅜": "3⁄8", "⅝": "5⁄8", "⅞": "7⁄8", "⅑": "1⁄9", "⅒": "1⁄10",
}  # fmt: skip
_SIGNS = _spellings(
    ("×⋅•∗∙·✕✖⨯⨉╳⁎＊‧・⋆·●", "*"),
    ("÷∕➗／", "/"),
    ("−–—‒―﹣－‐‑➖", "-"),
    ("＋➕﹢", "+"),
    ("＝﹦⩵", "="),
    ("≃≅≒≐∼～", "≈"),
    ("⇒⟹⟶⟾➔➜➡", "→"),
    ("％﹪", "%"),
    ("（❨", "("),
    ("）❩", ")"),
    ("［", "["),
    ("］", "]"),
    ("，", ","),
    ("．", "."),
    ("：", ":"),
    ("＄", "$"),
    ("\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    ("\ufe0f\u200b\u200c\u200d\u2060\ufeff\u2061\u2062", ""),
) | {ord(sign): f" {fraction}" for sign, fraction in _VULGAR.items()}
_SIGNS |= {ord("０") + digit: str(digit) for digit in range(10)}

_CURRENCIES = "$£€¥₹₩₽₪₫₱฿₦₴₺"
_BEFORE_LATEX = [
    # "2{,}500", "2\,500" and "2 500" with a space that does not break.
    (re.compile(r"(?<=\d)\{([,.])\}(?=\d)"), r"\1"),
    (re.compile(r"(?<=\d)(?:\\[,;:! ]|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))"), ","),
]
_AFTER_LATEX = [
    (re.compile(r"(?<![-=])[-=]+>"), "→"),
    (re.compile(r"&(?=\s?[=+*-])"), ""),
    # Markdown's emphasis: "**3 + 4 = 7**", "= *7*", "__7__".
    (re.compile(r"(?<!\S)\*\*(?=\S)|(?<=\S)\*\*(?=[\s.,;:!?)\"']|$)|__"), ""),
    (re.compile(r"(?<!\S)\*([^*\s]{1,40})\*(?![\w*])"), r"\1"),
    # "$-5", "US$5", "USD 5", "5 €", and the signs around LaTeX formulas.
    (re.compile(rf"([{_CURRENCIES}])\s?-(?=\s?[\d.])"), r"-\1"),
    (re.compile(rf"\b(?:US|CA|AU|NZ|HK|R|A|C|S)(?=\$\s?\d)|\b(?:USD|EUR|GBP)\s?(?=[{_CURRENCIES}\d])"), ""),
    (re.compile(rf"(?<=[\d)%°])\s?[{_CURRENCIES}](?!\s?[\d.])"), " "),
    (re.compile(r"\$(?!\s?\.?\d)"), " "),
    (re.compile(r"¢"), " cents "),
    # "16.66...%"
    (re.compile(r"(?<=\d)\s?(?:\.{2,6}|…)\s?(?=%)"), ""),
    # "3e5"; degrees; the square of a unit, as in "cm^2".
    (re.compile(r"(?<![\w.,])(\d{1,20}(?:\.\d{1,20})?)[eE]([+-]?\d{1,2})(?![\w.])"), r"(\1*10^(\2))"),
    (re.compile(r"\s?\^?\s?\(?°\)?"), " degrees "),
    (re.compile(r"(?<=[A-Za-z])\s?(?:\^\s?(?:\(\s?-?\d\s?\)|-?\d)|[⁻²³]+)"), ""),
]

_SUPERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUBS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPT = re.compile(r"([\d)\]]?)([⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+)(?:⁄([₀-₉]+))?")


def _power(found: re.Match[str]) -> str:
    base, raised, lowered = found.groups()
    written = raised.translate(_SUPERS)
    if lowered:
        return f"{base} {written}⁄{lowered.translate(_SUBS)}"
    return f"{base}^({written})" if base else UNREADABLE


# "2 3⁄4" (made from "2¾", "2\frac{3}{4}"), "3⁄4", and "2 3/4" as people type it.
_FRACTION = re.compile(
    r"(?<![\d.,/⁄^])(?:[$£€]?(?P<whole>\d{1,9})\s{0,2} )?(?P<over>\d{1,9})⁄(?P<under>\d{1,9})(?![\d⁄/.])"
    r"|(?<![\d.,/⁄^])(?P<typed_whole>\d{1,6}) (?P<typed_over>\d{1,3})/(?P<typed_under>\d{1,3})(?![\d./⁄])"
)


def _fraction(found: re.Match[str]) -> str:
    typed = found["typed_whole"]
    if typed is not None:
        over, under = found["typed_over"], found["typed_under"]
        return f"({typed}+{over}/{under})" if int(over) < int(under) else found.group()
    part = f"{found['over']}/{found['under']}"
    if found["whole"] is None:
        return f" ({part})"
    return f"({found['whole']}+{part})"


# LaTeX.

_COMMANDS = {
    name: spelling
    for names, spelling in (
        ("times cdot ast star bullet", "*"),
        ("div", "/"),
        ("approx simeq sim cong thickapprox doteq", "≈"),
        ("to rightarrow Rightarrow longrightarrow Longrightarrow implies therefore iff", " → "),
        ("le leq leqslant", "≤"),
        ("ge geq geqslant", "≥"),
        ("lt", "<"),
        ("gt", ">"),
        ("ne neq", "≠"),
        ("pm", "±"),
        ("circ degree", "°"),
        ("ldots dots cdots", "…"),
        ("lbrack", "["),
        ("rbrack", "]"),
        ("left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle limits", ""),
        ("quad qquad enspace thinspace hfill newline par item", " "),
    )
    for name in names.split()
}
_GROUPED = words(
    "text mathrm textbf mathbf textit mathit mathsf mbox boxed fbox emph textrm textsf texttt underline bm boldsymbol "
    "operatorname hbox"
)
_DROPPED = words("begin end hspace vspace label tag color")
_FRACTIONS = words("frac dfrac tfrac cfrac sfrac nicefrac")
_LATEX = re.compile(r"\\[A-Za-z]+\*?|\\.|[{}]|[^\\{}]+|\\")


class _Group:
    """An open brace: the command that it belongs to, and the text inside so far."""

    __slots__ = ("command", "parts")

    def __init__(self, command: str) -> None:
        self.command = command
        self.parts: list[str] = []


def _without_latex(text: str) -> str:
    """The text with LaTeX commands in plain spelling; braces are brackets unless they belong to a command."""
    groups = [_Group("")]
    command = ""
    for piece in _LATEX.findall(text):
        if piece == "{":
            groups.append(_Group(command))
            command = ""
        elif piece == "}":
            if len(groups) == 1:
                groups[-1].parts.append(UNREADABLE)
                continue
            closed = groups.pop()
            inner = "".join(closed.parts)
            if closed.command == "frac":
                command = f"over {inner}"
            else:
                groups[-1].parts.append(_grouped(closed.command, inner))
        elif piece.startswith("\\"):
            name = piece[1:].rstrip("*")
            if name in _FRACTIONS:
                command = "frac"
            elif name in _GROUPED or name in _DROPPED:
                command = "text" if name in _GROUPED else "drop"
            else:
                groups[-1].parts.append(_spelling(name))
        elif command and not piece.isspace():
            # "\frac12" takes its two digits from the text; other commands without braces are not read.
            short = re.match(r"\s*(\d)\s*(\d)(?!\d)", piece) if command == "frac" else None
            groups[-1].parts.append(f" {short[1]}⁄{short[2]}{piece[short.end() :]}" if short else UNREADABLE + piece)
            command = ""
        elif not command:
            groups[-1].parts.append(piece)
    while len(groups) > 1:  # Braces that nobody closes.
        closed = groups.pop()
        groups[-1].parts += [UNREADABLE, *closed.parts]
    return "".join(groups[0].parts)


def _grouped(command: str, inner: str) -> str:
    if command.startswith("over "):
        over = command.removeprefix("over ")
        if over.strip().isdecimal() and inner.strip().isdecimal():
            return f" {over.strip()}⁄{inner.strip()}"
        return f"(({over})/({inner}))"
    if command == "text":
        return f" {inner} "
    return "" if command == "drop" else f"({inner})"


def _spelling(name: str) -> str:
    if name in _COMMANDS:
        return _COMMANDS[name]
    if name == "\\":
        return " → "  # A new line.
    if name and name in "$%#_&":
        return name if name != "&" else " "
    return " " if not name or name in "()[],;:! " else UNREADABLE
