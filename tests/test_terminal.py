"""What a terminal shows: plain progress lines, and values of anybody's in sentences."""

import sys
from typing import Any

import pytest

from refine_eval.terminal import LONGEST_SHOWN, Progress, aligned, shown


def test_the_rate_is_of_what_is_done_now(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr("refine_eval.terminal.time.monotonic", lambda: now)
    with Progress().stage("train", 100, "steps", done=80) as tick:
        now = 20.0
        tick(4)
        now = 21.0
        tick(16)
    assert capsys.readouterr().err == "train: 84/100, 0.20 steps/s, 80 s left\ntrain: 100/100 in 21.0 s\n"


class Odd:
    """A value that has another method in the place of its repr."""

    def __init__(self, instead: Any) -> None:
        self._instead = instead

    def __repr__(self) -> str:
        found: str = self._instead()
        return found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "3"),
        (None, "None"),
        ("\x1b[31m\n", r"'\x1b[31m\n'"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}", r"'\u202e'"),
        (10**5_000, "so large a number"),
        (Odd(lambda: "a\nb\x07"), "a b\N{REPLACEMENT CHARACTER}"),
        (Odd(lambda: sys.exit(0)), "a Odd that cannot be shown"),
        (Odd(lambda: 3), "a Odd that cannot be shown"),
    ],
    ids=["number", "none", "control characters", "direction", "digits", "lines", "exits", "no text"],
)
def test_a_value_in_a_sentence_is_harmless(value: object, words: str) -> None:
    assert shown(value) == words


@pytest.mark.parametrize(
    "value", ["x" * 10**6, ["x"] * 10**6, Odd(lambda: "\n" * 10**6)], ids=["text", "list", "lines"]
)
def test_a_value_in_a_sentence_is_short(value: object) -> None:
    assert len(shown(value)) <= LONGEST_SHOWN


def test_ctrl_c_in_a_repr_ends_the_run() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shown(Odd(interrupt))


def test_columns_are_aligned_on_either_side() -> None:
    lines = [["answer", "right", "p"], ["local alone", "7", ""]]
    assert aligned(lines) == ["     answer  right  p", "local alone      7"]
    assert aligned(lines, left=1) == ["answer       right  p", "local alone      7"]
    assert aligned(lines, left=3) == ["answer       right  p", "local alone  7"]
    assert aligned([]) == []
