"""What `refine-eval doctor` says of one thing, and how much longer it waits for one that does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from refine_eval.errors import RefineEvalError, first_line

State = Literal["ok", "off", "broken"]
WORKS: State = "ok"
OFF: State = "off"
"""Not there, or only in part, and not everybody needs it."""
BROKEN: State = "broken"
"""Runs need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: the `part` it is of, its state, what was found and, where it does not work, what to
    do about it in one sentence."""

    part: str
    name: str
    state: State
    says: str
    todo: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What looks at a part, and the seconds that it may take."""

    part: str
    look: Callable[[], Iterator[Finding]]
    within_s: float


def examine(examinations: Sequence[Examination]) -> list[Finding]:
    """All findings, in order; each part is looked at in a thread, and one that takes too long is broken."""
    found: list[list[Finding]] = [[] for _ in examinations]
    threads = [
        # A thread that hangs must not keep the process alive.
        threading.Thread(target=_look, args=(each, into), daemon=True)
        for each, into in zip(examinations, found, strict=True)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for each, thread, into in zip(examinations, threads, found, strict=True):
        thread.join(max(0.0, start + each.within_s - time.monotonic()))
        if thread.is_alive():
            after = f" after {into[-1].name}" if into else ""
            into.append(
                Finding(
                    part=each.part,
                    name="time",
                    state=BROKEN,
                    says=f"no answer within {each.within_s:g} s{after}",
                    todo="See whether a disk or the network hangs, or try again when the machine is less busy.",
                )
            )
    return [finding for into in found for finding in list(into)]


def _look(each: Examination, into: list[Finding]) -> None:
    try:
        for finding in each.look():
            into.append(finding)
    except Exception as error:
        todo = "Report this, with what `refine-eval doctor --json` prints."
        said = str(error) if isinstance(error, RefineEvalError) else f"{type(error).__name__}: {first_line(error)}"
        into.append(Finding(part=each.part, name="error", state=BROKEN, says=said, todo=todo))
