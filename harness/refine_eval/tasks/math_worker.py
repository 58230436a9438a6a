"""A process that asks math-verify: one JSON request a line, one answer a line. Run as a file, with nothing of ours.

Its parent sets the time limit and ends the process where that is passed: math-verify's own limit is a signal, which
works on the main thread alone and does not reach into C code.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

_MEMORY = 4 << 30
"""Bytes of address space: an expression that needs more is one that has no end."""


def main() -> None:
    """Answers until its input ends.

    `["parse", a]`: whether `a` is a formula; `["same", a, b]`: whether both are equal; `["find", text]`: the answer
    that math-verify finds in a text, null for none.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    from math_verify import parse, verify
    from sympy import Equality, Expr, Symbol

    @functools.lru_cache(maxsize=100_000)
    def parsed(answer: str) -> Any:
        return parse(f"\\boxed{{{answer}}}", parsing_timeout=None)

    @functools.lru_cache(maxsize=100_000)
    def value(answer: str) -> complex | None:
        """The number that an answer is, or gives a name (x = 3); None where it is none, or a percentage.

        math-verify reads percentages in two ways.
        """
        found = (parsed(answer) or [None])[0]
        if isinstance(found, Equality) and isinstance(found.lhs, Symbol):
            found = found.rhs
        if not isinstance(found, Expr) or found.free_symbols or "%" in answer:
            return None
        try:
            return complex(found.evalf())
        except (TypeError, ValueError, OverflowError):
            return None

    def same(a: str, b: str) -> bool:
        x, y = value(a), value(b)
        # math-verify takes milliseconds to tell numbers apart, and rounds to six digits.
        if x is not None and y is not None and abs(x - y) > 1e-3 * max(1.0, abs(x), abs(y)):
            return False
        # One is the gold answer to math-verify, and it is not symmetric.
        return any(verify(parsed(one), parsed(other), timeout_seconds=None) for one, other in ((a, b), (b, a)))

    def is_formula(answer: str) -> bool:
        value(answer)  # where this has no end, no comparison has
        return bool(parsed(answer))

    def found(text: str) -> str | None:
        return next((each for each in parse(text, parsing_timeout=None) if isinstance(each, str)), None)

    asked: dict[str, Callable[..., Any]] = {"parse": is_formula, "same": same, "find": found}
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        what, *given = json.loads(line)
        try:
            said = asked[what](*given)
        except (Exception, RecursionError, MemoryError):  # of anybody's expression: not a formula, not equal
            said = None
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
