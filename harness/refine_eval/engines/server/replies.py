"""What comes of a request to a server: a reply of some status, or one of three ways to get none."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_WAIT_S = 120.0
"""A server that asks to be left alone for longer is asked again no later than any other busy one."""


class UnreachableError(Exception):
    """The connection failed in every attempt."""


class TooSlowError(Exception):
    """No attempt brought a whole answer in time."""


class UnusableError(Exception):
    """The server did what another attempt would not change: `did`, in the present tense, and what to do about it."""

    def __init__(self, did: str, advice: str) -> None:
        super().__init__(did, advice)
        self.did, self.advice = did, advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer of any status.

    `wait` is for how many seconds the server asks to be left alone (None: it does not), `passing` whether the same
    request may succeed later.
    """

    status: int
    body: bytes
    wait: float | None
    passing: bool
