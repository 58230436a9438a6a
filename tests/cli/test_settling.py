"""A user without a name or a home."""

import getpass
import os
from pathlib import Path
from unittest import mock

import pytest

from refine_eval.cli import settle


def test_nobody_gets_a_home_and_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container with `--user 12345`: no HOME, no entry in passwd."""
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with mock.patch("pwd.getpwuid", side_effect=KeyError("nobody")):
        assert os.path.expanduser("~") == "~"
        settle()
        assert Path.home().parent == tmp_path
        assert getpass.getuser() == str(os.getuid())


def test_everybody_else_keeps_theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "ada")
    before = dict(os.environ)
    settle()
    assert dict(os.environ) == before
