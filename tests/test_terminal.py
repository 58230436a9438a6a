"""Plain progress lines: what they count from and what they promise."""

import pytest

from refine_eval.terminal import Progress


def test_the_rate_is_of_what_is_done_now(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr("refine_eval.terminal.time.monotonic", lambda: now)
    with Progress().stage("train", 100, "steps", done=80) as tick:
        now = 20.0
        tick(4)
        now = 21.0
        tick(16)
    assert capsys.readouterr().err == "train: 84/100, 0.20 steps/s, 80 s left\ntrain: 100/100 in 21.0 s\n"
