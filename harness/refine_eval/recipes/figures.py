"""`assume`: the figures from which a recipe's cost is estimated before anything is measured."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from refine_eval.errors import UsageError, suggestion

_MOST = 10**15
"""Products of figures are times and tokens that can be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All may be left out; what then cannot be estimated is shown as "?"."""

    questions: float | None = None
    """Questions of a split, for `collect` without a limit."""
    problems: float | None = None
    """Test problems of a task, for `run` without a limit."""
    question_tokens: float | None = None
    """Tokens of a question with its prompt."""
    solution_tokens: float | None = None
    """Tokens of a solution."""
    steps_per_solution: float | None = None
    """Steps of a solution."""
    wrong_share: float | None = None
    """Share of samples that are wrong, in [0, 1]."""
    generated_tokens_per_second: float | None = None
    """What the student writes, all its replicas together."""
    trained_tokens_per_second: float | None = None
    """What training reads, all devices together."""


def read_figures(path: Path, found: Mapping[Any, Any]) -> Figures:
    """The figures of a recipe; UsageError, with the place, for what is none."""
    known = [field.name for field in fields(Figures)]
    for name, value in found.items():
        if name not in known:
            raise UsageError(
                f"{path}: `assume` has no figure {name!r}.{suggestion(str(name), known)} It has: {', '.join(known)}"
            )
        most = 1 if name == "wrong_share" else _MOST
        if value is not None and (type(value) not in (int, float) or not 0 < value <= most):
            wanted = "a share above 0, at most 1" if name == "wrong_share" else f"a number above 0, at most {_MOST}"
            raise UsageError(f"{path}: `assume` {name} is {reprlib.repr(value)}, and must be {wanted}.")
    return Figures(**found)
