"""Standard streams as they may be: no traceback, and what was made is kept."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from records import write

TOOL = [sys.executable, "-m", "refine_eval"]


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a line of bash does, with `$TOOL` for the command; its exit code is that of the first command of a pipe."""
    words = {**os.environ, "TOOL": " ".join(TOOL), **environment}
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], cwd=cwd, env=words, capture_output=True, timeout=120
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


def test_a_reader_that_goes_ends_the_command_in_silence(tmp_path: Path) -> None:
    done = shell("$TOOL tasks list | head -c 0", tmp_path)  # it is gone before anything is written
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("command", ["tasks list", "--help", "run --help", "leaderboard"])
def test_a_full_output_is_one_sentence_and_what_was_written_is_kept(command: str, tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    done = shell(f"$TOOL {command} > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("Error: Standard output cannot be written (No space left on device)")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "results" / "leaderboard.md").exists() == (command == "leaderboard")


@pytest.mark.parametrize("closed", ["2>&-", "2> /dev/full", "<&- >&- 2>&-"])
def test_messages_that_nobody_can_read_cost_no_work(closed: str, tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    assert shell(f"$TOOL leaderboard {closed}", tmp_path).returncode == 0
    assert "[mine](" in (tmp_path / "results" / "leaderboard.md").read_text()
    assert shell(f"$TOOL no-such-command {closed}", tmp_path).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_said_in_what_it_has(encoding: str, tmp_path: Path) -> None:
    """Through click.echo and through print."""
    program = (
        "import click\nfrom refine_eval.cli.streams import settle_streams\nsettle_streams()\n"
        "text = 'wrong\\u2192right \\u22123 \\u4e2d \\xe9 \\udce9'\nclick.echo(text)\nprint(text, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == b""
    said = {
        "ascii": "wrong->right -3 \\u4e2d \\xe9 \\udce9",
        "latin-1": "wrong->right -3 \\u4e2d é \\udce9",
        "utf-8": "wrong→right −3 中 é \\udce9",
    }
    assert done.stdout.decode(encoding).splitlines() == [said[encoding]] * 2


def test_a_working_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    done = shell("mkdir gone && cd gone && rmdir ../gone && $TOOL leaderboard", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: The working folder is not there any more")


def test_a_file_that_is_opened_later_never_takes_the_place_of_a_stream(tmp_path: Path) -> None:
    program = (
        "from refine_eval.cli.streams import settle_streams\nsettle_streams()\n"
        "file = open('file', 'w')\nassert file.fileno() > 2, file.fileno()\n"
    )
    assert shell(f'{sys.executable} -c "{program}" >&- 2>&-', tmp_path).returncode == 0
