"""The command line in this process: importing lm-eval costs seconds, and a test may put its own student in."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from refine_eval.cli import main
from refine_eval.data import Request
from refine_eval.engines.scripted import ScriptedEngine


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


def typed(*arguments: str, cwd: Path) -> tuple[object, Done]:
    """What `refine-eval` exits with, as typed in `cwd`, and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["refine-eval", *arguments]),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as exited,
    ):
        copy_context().run(main)  # --quiet is for this command alone
    return exited.value.code, Done(out.getvalue(), err.getvalue())


def refine_eval(*arguments: str, cwd: Path, expect: int = 0) -> Done:
    """`refine-eval` as typed in `cwd`; it must exit with `expect`."""
    code, done = typed(*arguments, cwd=cwd)
    assert code == expect, done.stdout + done.stderr
    return done


def error_line(*arguments: str, cwd: Path, expect: int = 1) -> str:
    """The one sentence that a failing command prints, with nothing on stdout."""
    done = refine_eval(*arguments, cwd=cwd, expect=expect)
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    return lines[0]


@contextlib.contextmanager
def student(says: Callable[[Request], str | None], *modules: str) -> Iterator[None]:
    """`modules` of refine_eval get a student that says what a function tells it."""
    with contextlib.ExitStack() as stack:
        for module in modules:
            made = stack.enter_context(mock.patch(f"refine_eval.{module}.make_student"))
            made.side_effect = lambda *_: ScriptedEngine.from_function(says)
        yield
