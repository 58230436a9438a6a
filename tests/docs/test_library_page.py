"""The page on the library is true: its code runs, and prints what the page shows."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "library.md"
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_its_code_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    blocks = _BLOCK.findall(PAGE.read_text("utf-8"))
    assert [kind for kind, _ in blocks].count("text") >= 4
    names: dict[str, Any] = {}
    printed = ""
    for kind, text in blocks:
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(text, str(PAGE), "exec"), names)
            printed = output.getvalue()
        else:
            assert _stripped(printed) == _stripped(text)
            printed = ""
    assert printed == "", "what the last block prints is not shown"


def _stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]
