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
from typing import Any

_MEMORY = 4 << 30
"""Bytes of address space: an expression that needs more is one that has no end."""


def main() -> None:
    """Answers until its input ends: `["parse", a]`, whether a is a formula; `["same", a, b]`, whether both are one."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    from math_verify import parse, verify

    @functools.lru_cache(maxsize=100_000)
    def parsed(answer: str) -> Any:
        return parse(f"\\boxed{{{answer}}}", parsing_timeout=None)

    def same(a: str, b: str) -> bool:
        # One is the gold answer to math-verify, and it is not symmetric.
        return any(verify(parsed(x), parsed(y), timeout_seconds=None) for x, y in ((a, b), (b, a)))

    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        what, *given = json.loads(line)
        try:
            said = bool(parsed(*given)) if what == "parse" else same(*given)
        except (Exception, RecursionError, MemoryError):  # of anybody's expression: not a formula, not equal
            said = False
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
