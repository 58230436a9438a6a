"""SVAMP's problems and its training split (MAWPS and ASDiv-A) as questions and step-by-step solutions.

A solution has one line an operation and ends with "#### N":

    1500 * 8 = 12000
    25000 - 12000 = 13000
    #### 13000

Questions keep the words of the data; only spacing, the joint between body and question, and capitals at the
beginning of training sentences are put right, and 0.1666... in them is 1/6 again.

Of the 3,138 training rows 8 are dropped because their equation does not give their answer; none asks the question
of a test problem (such rows would be dropped too), 410 repeat a question of another training row and are kept.
Two test problems, chal-555 and chal-680, have an equation that is none or gives another answer: their solution is
the answer alone. tests/benchmarks/test_benchmarks.py counts all of these.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction

from refine_eval import arithmetic

_DECIMALS = 4

_SPACING: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"``|''"), '"'),
    (re.compile(r'" ([^"]*?) "'), r'"\1"'),
    (re.compile(r"(?:^|(?<= ))' ((?:[^' ]+ ){1,4})'(?!\w)"), lambda quoted: f"'{quoted[1].strip()}'"),
    (re.compile(r" (n't|['’] ?(?:s|ve|re|ll|d|m)\b)"), lambda ending: ending[1].replace(" ", "")),
    (re.compile(r" ([’'])(?= )"), r"\1"),
    (re.compile(r"(?<=[A-Za-z])(?: - |- )(?=[A-Za-z])"), "-"),
    (re.compile(r"\$ (?=[\d.])"), "$"),
    (re.compile(r" +(?=[.,;:?!%)])"), ""),
    (re.compile(r"(?<=\() +"), ""),
    (re.compile(r"\.\.+"), "."),
    (re.compile(r"\s+"), " "),
]


def spaced(text: str) -> str:
    """Tokenised text with its spaces put right: `"Tom 's t - shirt costs $ 3 ."` -> `"Tom's t-shirt costs $3."`."""
    for pattern, replacement in _SPACING:
        text = pattern.sub(replacement, text)
    return text.strip()


def joined(body: str, question: str) -> str:
    """Body and question as one text.

    Where the body ends without a full stop, an "If" sentence goes on ("If Tom has 3 apples, how many ...?");
    anything else ends there.
    """
    body, question = spaced(body), spaced(question)
    if not body or body[-1] in ".?!":
        return f"{body} {question}".strip()
    if re.split(r"[.?!]\s+", body)[-1].startswith("If "):
        return f"{body}, {question[:1].lower()}{question[1:]}"
    return f"{body}. {question}"


def test_document(record: Mapping[str, object]) -> dict[str, str]:
    """A record of SVAMP.json (or of its copy on the hub) as a document. ValueError or KeyError where it is none."""
    answer = Fraction(str(record["Answer"]))
    solution = _lines(arithmetic.parse(str(record["Equation"])), answer)
    if solution is None:
        # The data's answer counts, whatever its equation says.
        solution = f"#### {_decimal(answer)}"
    body, asked = record["Body"], record["Question"]
    if not isinstance(body, str) or not isinstance(asked, str):
        raise ValueError("Body and Question must be texts")
    question = joined(body, asked)
    return {"id": str(record["ID"]), "question": question, "answer": solution}


def training_document(row: Mapping[str, str]) -> dict[str, str] | None:
    """A row of train_mawps_asdiv-a.csv as a document; None where its equation does not give its answer."""
    numbers = [_snapped(number) for number in row["Numbers"].split()]
    solution = _lines(_prefix(row["Equation"].split(), numbers), Fraction(row["Answer"]))
    if solution is None:
        return None
    text = re.sub(r"number(\d+)", lambda match: _in_words(numbers[int(match[1])]), row["Question"])
    # Half of the rows are in lower case throughout.
    text = re.sub(r"(^| [.?!] )([a-z])", lambda match: match[1] + match[2].upper(), text)
    return {"question": spaced(text), "answer": solution}


def normal(question: str) -> str:
    """A question for comparison: letters and digits only."""
    return " ".join(re.findall(r"[a-z]+|\d+(?:\.\d+)?", question.lower()))


def without_overlap(training: Iterable[dict[str, str]], test: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The training documents whose question is not the question of a test document."""
    asked = {normal(document["question"]) for document in test}
    return [document for document in training if normal(document["question"]) not in asked]


def _snapped(text: str) -> Fraction:
    """A number of the csv; 0.1666... and 0.6667 were 1/6 and 2/3 in the problem."""
    value = Fraction(text)
    near = value.limit_denominator(12)
    return near if len(text.partition(".")[2]) >= 4 and abs(value - near) < Fraction(1, 10_000) else value


def _prefix(tokens: Iterable[str], numbers: list[Fraction]) -> arithmetic.Expression:
    """`- number0 * number1 5.0` as a tree."""
    stack: list[arithmetic.Expression] = []
    for token in reversed(list(tokens)):
        if token in ("+", "-", "*", "/"):
            if len(stack) < 2:
                raise ValueError("an equation that is not in prefix notation")
            stack.append(arithmetic.Operation(token, stack.pop(), stack.pop()))
        elif token.startswith("number"):
            stack.append(arithmetic.Number(numbers[int(token.removeprefix("number"))]))
        else:
            stack.append(arithmetic.Number(Fraction(token)))
    if len(stack) != 1:
        raise ValueError("an equation that is not in prefix notation")
    return stack[0]


def _lines(expression: arithmetic.Expression, answer: Fraction) -> str | None:
    """The solution; None where the expression does not give the answer, as exactly as the answer is written."""
    value = arithmetic.evaluate(expression)
    if abs(value - answer) * 2 * 10 ** _decimals(answer) > 1:
        return None
    final = _decimal(answer)
    lines = list(_operations(expression))
    if lines and "/" in lines[-1].rpartition(" = ")[2]:
        lines.append(f"{value.numerator} / {value.denominator} = {final}")
    elif lines:
        # Written as exactly as the answer: "2.99 / 12 = 0.25".
        lines[-1] = f"{lines[-1].rpartition(' = ')[0]} = {final}"
    return "\n".join([*lines, f"#### {final}"])


def _operations(expression: arithmetic.Expression) -> Iterator[str]:
    """One line an operation, innermost first."""
    if isinstance(expression, arithmetic.Number):
        return
    yield from _operations(expression.left)
    yield from _operations(expression.right)
    fractions = _has_fractions(expression)
    left, right = (_written(arithmetic.evaluate(side), fractions) for side in (expression.left, expression.right))
    if "/" in left and expression.operator in "*/":
        left = f"({left})"
    if right.startswith("-") or ("/" in right and expression.operator in "*/"):
        right = f"({right})"
    yield f"{left} {expression.operator} {right} = {_written(arithmetic.evaluate(expression), fractions)}"


def _has_fractions(expression: arithmetic.Expression) -> bool:
    """Whether a number in it is one that the problem wrote as a fraction (1/3)."""
    if isinstance(expression, arithmetic.Number):
        return not _terminates(expression.value)
    return _has_fractions(expression.left) or _has_fractions(expression.right)


def _terminates(value: Fraction) -> bool:
    return (value * 10**12).denominator == 1


def _decimals(value: Fraction) -> int:
    """How many decimals it takes to write the value; 6 for more."""
    return next((digits for digits in range(6) if (value * 10**digits).denominator == 1), 6)


def _decimal(value: Fraction) -> str:
    """`51`, `2.5`, `0.8333`: no decimals without need, four at most."""
    text = f"{float(round(value, _DECIMALS)):.{_DECIMALS}f}"
    return text.rstrip("0").rstrip(".")


def _written(value: Fraction, fractions: bool) -> str:
    """A number in a line: a decimal, or a fraction where the problem has fractions and decimals go on for ever."""
    return f"{value.numerator}/{value.denominator}" if fractions and not _terminates(value) else _decimal(value)


def _in_words(value: Fraction) -> str:
    """A number in a question: `25000`, `2.5`, `1/6`, `2 1/3`."""
    if _terminates(value):
        return _decimal(value)
    whole, rest = divmod(value, 1)
    return f"{whole} {rest}" if whole else str(rest)
