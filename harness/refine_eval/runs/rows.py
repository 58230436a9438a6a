"""Rows of the store: what may be in one, and the checksum by which a row is known again. What is read is typed here.

A row is (key, value, ..., checksum). SQLite hands texts over as bytes (see `database`), so that one that is no longer
UTF-8 is a damaged row and not an error of a whole query. Rows of stores from before there were checksums have none; of
those only types and ranges are checked, and only in files that may hold such (see `database`).
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from refine_eval.data import FINISH_REASONS, Critique, Generation
from refine_eval.plugin.values import feedback_of
from refine_eval.results.typed import COUNT, SHARE
from refine_eval.terminal import encodable

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Table(Generic[T]):
    """A table of the store. `columns` stand between key and checksum, each with its SQL type.

    `added` columns follow them, of which rows of older stores know nothing: NULL, and not part of their checksums.
    `values` makes all of them of what is stored; `read` makes that of them again, and is None where they cannot be
    right.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    added: tuple[tuple[str, str], ...]
    values: Callable[[T], Row]
    read: Callable[[Row], T | None]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in the order of their values."""
        return tuple(name for name, _ in (*self.columns, *self.added))

    def row(self, key: bytes, item: T) -> Row | None:
        """The row to write; None where it could not be read again."""
        values = self.values(item)
        readable = tuple(value.encode() if isinstance(value, str) else value for value in values)
        return (key, *values, self._checksum(key, readable)) if self.read(readable) is not None else None

    def item(self, row: Row, unchecked: bool) -> T | None:
        """What a row holds; None where it was damaged, or lacks a checksum and may not be `unchecked`."""
        key, *values, checksum = row
        if not (checksum is None and unchecked) and checksum != self._checksum(key, values):
            return None
        return self.read(tuple(values))

    def _checksum(self, key: bytes, values: Sequence[Any]) -> bytes:
        known = len(self.columns)
        # A text says that it is one: a number of another column that was left out could look the same.
        later = [b"text:" + v if isinstance(v, bytes) else v for v in values[known:] if v is not None]
        return _checksum(key, [*values[:known], *later])


def _checksum(key: bytes, values: Sequence[Any]) -> bytes:
    parts = [value if isinstance(value, bytes) else repr(value).encode() for value in (key, *values)]
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).digest()


def _generation_values(generation: Generation) -> Row:
    text, seconds = encodable(generation.text), _number(generation.seconds)
    known = (None, None) if generation.prompt_tokens is None else (generation.prompt_tokens, generation.cached_tokens)
    found, bound = generation.logprobs, generation.logprob_bound
    choices = None if found is None else json.dumps([bound, *found])
    thought = None if generation.thought is None else encodable(generation.thought)
    return text, generation.tokens, generation.finish_reason, seconds, *known, choices, thought


def _read_generation(values: Row) -> Generation | None:
    text, tokens, reason, seconds, prompt, cached, choices, thought = values
    try:
        text, reason = text.decode(), sys.intern(reason.decode())
        thought = thought if thought is None else thought.decode()
        bound, *logprobs = [None] if choices is None else json.loads(choices)
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None
    if not all(each is None or (_is_finite(each) and each <= 0) for each in (bound, *logprobs)):
        return None
    if choices is not None and (not logprobs or (None in logprobs and bound is None)):
        return None
    if not (COUNT.fits(tokens) and _is_finite(seconds) and reason in FINISH_REASONS):
        return None
    if (prompt is None) != (cached is None) or not all(map(COUNT.or_none().fits, (prompt, cached))):
        return None
    if prompt is not None and not cached <= prompt > 0:
        return None
    return Generation(
        text=text,
        tokens=tokens,
        finish_reason=reason,
        seconds=seconds,
        prompt_tokens=prompt,
        cached_tokens=cached or 0,
        logprobs=None if choices is None else tuple(logprobs),
        logprob_bound=bound,
        thought=thought,
    )


def _critique_values(scored: tuple[Critique, float]) -> Row:
    critique, seconds = scored
    steps = json.dumps([_number(score) for score in critique.step_scores])
    words = None if critique.feedback is None else feedback_of(critique.feedback)
    verdicts = None if critique.verdicts == 1 else json.dumps([critique.unread, critique.verdicts])
    later = critique.read_tokens, words, verdicts
    return _number(critique.score), steps, critique.first_bad_step, _number(seconds), *later


def _read_critique(values: Row) -> tuple[Critique, float] | None:
    score, text, first, seconds, read, words, verdicts = values
    try:
        steps = json.loads(text)
        unread, of = (0, 1) if verdicts is None else json.loads(verdicts)
        feedback = None if words is None else feedback_of(words.decode())
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None
    if not (isinstance(steps, list) and all(map(SHARE.fits, (score, *steps))) and _is_finite(seconds)):
        return None
    if first is not None and not (COUNT.fits(first) and first < max(len(steps), 1)):
        return None
    if not (COUNT.or_none().fits(read) and COUNT.fits(unread) and COUNT.fits(of) and unread <= of):
        return None
    found = Critique(
        score=score,
        step_scores=tuple(steps),
        first_bad_step=first,
        read_tokens=read,
        feedback=feedback,
        verdicts=of,
        unread=unread,
    )
    return found, seconds


def _number(value: Any) -> Any:
    """A float for every number, and 0.0 for -0.0, so that what is hashed is what SQLite gives back."""
    return float(value) + 0.0


def _is_finite(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)


GENERATIONS: Table[Generation] = Table(
    name="generations",
    columns=(
        ("text", "TEXT NOT NULL"),
        ("tokens", "INTEGER NOT NULL"),
        ("finish_reason", "TEXT NOT NULL"),
        ("seconds", "REAL NOT NULL"),
    ),
    added=(
        *(("prompt_tokens", "INTEGER"), ("cached_tokens", "INTEGER")),
        *(("logprobs", "TEXT"), ("thought", "TEXT")),
    ),
    values=_generation_values,
    read=_read_generation,
)

CRITIQUES: Table[tuple[Critique, float]] = Table(
    name="critiques",
    columns=(
        ("score", "REAL NOT NULL"),
        ("step_scores", "TEXT NOT NULL"),
        ("first_bad_step", "INTEGER"),
        ("seconds", "REAL NOT NULL"),
    ),
    added=(("read_tokens", "INTEGER"), ("feedback", "TEXT"), ("verdicts", "TEXT")),
    values=_critique_values,
    read=_read_critique,
)
"""A critique with the seconds that it took."""

TABLES: tuple[Table[Any], ...] = (GENERATIONS, CRITIQUES)
