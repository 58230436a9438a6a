"""Property-based fuzz of the entrances: hypothesis with two profiles, hostile values, and a rule against hangs.

A fuzz test says what must hold for every input, most often with `accepted_or_refused`:

    from fuzz import accepted_or_refused, broken_bytes, fuzz

    @fuzz(content=broken_bytes(VALID))
    def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "settings.yaml"
        path.write_bytes(content)
        accepted_or_refused(lambda: read_settings(path))

Each example must end within DEADLINE_S of this process's own time, or the test fails as a hang; so import what is slow
(lm-eval, torch, scipy) before, at the top of the test's file or in a fixture of the module. Fixtures such as tmp_path
are made once for all examples of a test: overwrite or remove what the last one left. Profiles: "ci", the default, runs
the same 200 examples every time; "long_fuzz" runs 2,000 new ones a test, and prints how to repeat a failure:

    python -m pytest -m fuzz --hypothesis-profile=long_fuzz
"""

from __future__ import annotations

import copy
import functools
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from refine_eval.errors import RefineEvalError

T = TypeVar("T")

DEADLINE_S = 5.0
"""Seconds of the processor; longer than this, and an input has hung what reads it, however busy the machine is."""

WAIT_S = 20.0
"""Seconds by the clock; longer than this, and something waits for what does not come."""

LONGEST_SENTENCE = 2_000
"""Characters that a message may have: hostile input is quoted in part."""

# A deadline of hypothesis is noticed after the example has ended; ours interrupts it. The slow checks are of how
# strategies draw, which costs more than the readers that they feed.
_SHARED: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": [Phase.explicit, Phase.generate, Phase.target, Phase.shrink],  # explaining traces, ten times as slow
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
}
DEFAULT_PROFILE = "ci"
settings.register_profile(DEFAULT_PROFILE, max_examples=200, derandomize=True, **_SHARED)
settings.register_profile("long_fuzz", max_examples=2_000, derandomize=False, print_blob=True, **_SHARED)


class Hang(BaseException):
    """An input that takes too long; no `except Exception` of what is tested can swallow it."""


@contextmanager
def deadline(computing_s: float = DEADLINE_S, waiting_s: float = WAIT_S) -> Iterator[None]:
    """Raises Hang in the block when it takes longer; for the main thread, as pytest's tests are."""
    started, worked = time.monotonic(), time.process_time()

    def look(*_: object) -> None:
        left = min(computing_s - time.process_time() + worked, waiting_s - time.monotonic() + started)
        if left <= 0:
            raise Hang(f"not done after {time.process_time() - worked:.1f} s of work")
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.1))

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, min(computing_s, waiting_s))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(**strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of many inputs: one keyword a strategy, given to the test by that name, each example under `deadline`."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def in_time(*arguments: Any, **drawn: Any) -> None:
            with deadline():
                test(*arguments, **drawn)

        marked: Callable[..., None] = pytest.mark.fuzz(given(**strategies)(in_time))
        return marked

    return decorate


@dataclass(frozen=True)
class Accepted(Generic[T]):
    """An input was read, and this came of it."""

    value: T


@dataclass(frozen=True)
class Refused:
    """An input was refused with this sentence."""

    sentence: str


def accepted_or_refused(read: Callable[[], T]) -> Accepted[T] | Refused:
    """What `read` returns, or the sentence of its RefineEvalError; fails for other errors and for a long sentence."""
    try:
        return Accepted(read())
    except RefineEvalError as error:
        sentence = str(error)
        assert sentence.strip(), "an error without a word"
        assert "\n" not in sentence, sentence[:500]
        assert len(sentence) <= LONGEST_SENTENCE, sentence[:500]
        assert "Traceback" not in sentence
        return Refused(sentence)


def nested(depth: int) -> list[Any]:
    """A list in a list in a list ..."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


HOSTILE_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\x1b[2J\x1b]0;title\x07",
        "a\nb",
        "\ud83d",
        "\u202eright to left",
        "<script>alert(1)</script>",
        "| a | b |\n# Heading [link](http://x)",
        "[bold red]markup[/]",
        "{{ template }} ${HOME} %s {0}",
        "../../etc/passwd",
        "NaN",
        "1e400",
        "9" * 5_000,
        "(" * 3_000,
        "x" * 50_000,
    ]
) | st.text(max_size=20)
"""Texts that break files, pages, terminals and parsers."""

HOSTILE_NUMBERS = st.sampled_from(
    [0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.0, -0.0, 0.5, 1.5, 1e308, float("nan"), float("inf")]
) | st.integers(min_value=-3, max_value=100)
"""Numbers out of any range, and a few within."""

HOSTILE_VALUES: st.SearchStrategy[Any] = (  # copies: who damages a tree may put one into another
    st.none()
    | st.booleans()
    | HOSTILE_NUMBERS
    | HOSTILE_TEXTS
    | st.sampled_from([[], {}, [[]], [None], {"": None}, {"a": {"b": []}}, nested(150)]).map(copy.deepcopy)
)
"""Values of JSON where another one is expected."""

_CHUNKS = st.sampled_from(
    [
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n\n",
        b"null",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 5_000,
        b"\\ud800",
        b'"',
        b"{",
        b"}",
        b"[" * 20_000,
        b'{"a":' * 20_000,
        b"&a [*a, *a]",
        b"!!python/object/apply:os.system ['true']",
        b"- " * 2_000,
        b"\t",
        b": ",
        b"#",
    ]
) | st.binary(min_size=1, max_size=8)


@st.composite
def broken_bytes(draw: st.DrawFn, valid: bytes, times: int = 3) -> bytes:
    """A file's bytes with one to `times` damages: cut, overwritten, doubled, foreign bytes, lines moved or lost."""
    data = valid
    for _ in range(draw(st.integers(1, times))):
        data = _damaged(draw, data)
    return data


def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    how = draw(st.sampled_from(["cut", "lose", "double", "flip", "insert", "overwrite", "lines", "empty"]))
    if how == "empty":
        return b""
    if how == "lines":
        lines = data.splitlines(keepends=True)
        return b"".join(_moved(draw, lines))
    start = draw(st.integers(0, len(data)))
    end = min(len(data), start + draw(st.integers(0, 40)))
    if how == "cut":
        return data[:start]
    if how == "lose":
        return data[:start] + data[end:]
    if how == "double":
        return data[:end] + data[start:]
    if how == "flip":
        flipped = bytes(byte ^ draw(st.integers(1, 255)) for byte in data[start : start + 1])
        return data[:start] + flipped + data[start + 1 :]
    chunk = draw(_CHUNKS)
    return data[:start] + chunk + data[start if how == "insert" else end :]


def _moved(draw: st.DrawFn, lines: list[Any]) -> list[Any]:
    """A list with one of its items lost, doubled, or in another place."""
    if not lines:
        return lines
    lines = list(lines)
    at = draw(st.integers(0, len(lines) - 1))
    how = draw(st.sampled_from(["lose", "double", "move"]))
    if how == "double":
        lines.insert(at, lines[at])
    else:
        line = lines.pop(at)
        if how == "move":
            lines.insert(draw(st.integers(0, len(lines))), line)
    return lines


@st.composite
def broken_tree(draw: st.DrawFn, valid: Any, times: int = 2) -> Any:
    """A value of JSON types with one to `times` damages: a key lost, added or renamed, a value of another kind.

    What it holds is not shared with `valid`.
    """
    tree = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, times))):
        places = list(_places(tree))
        if not places:
            return draw(HOSTILE_VALUES)
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(["replace", "lose", "add", "rename", "swap", "list"]))
        if how == "swap":
            other, other_key = places[draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(other[other_key])
        elif how == "list" and isinstance(holder, list):
            holder[:] = copy.deepcopy(_moved(draw, holder))
        elif how == "lose":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[draw(HOSTILE_TEXTS)] = copy.deepcopy(draw(HOSTILE_VALUES))
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(HOSTILE_TEXTS)] = holder.pop(key)
        else:
            holder[key] = draw(HOSTILE_VALUES)
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of everything in a tree, without recursion: trees may be deep."""
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        keys: Any = range(len(holder)) if isinstance(holder, list) else list(holder) if isinstance(holder, dict) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def as_json(tree: Any) -> bytes:
    """A tree as a file's bytes; lone surrogates and NaN stay in it, as hostile writers leave them."""
    return json.dumps(tree).encode()
