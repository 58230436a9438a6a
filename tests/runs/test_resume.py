"""Runs that are killed, interrupted, or two at once: nothing computed is lost, and the outcome is the same."""

import json
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from warm import Warm

LIMIT = 90
TEXTS = 3 * LIMIT  # a draft and two samples each
RUN = [
    *(sys.executable, "-m", "refine_eval", "run", "--limit", str(LIMIT), "--json", "--name", "r"),
    # Small batches, so that there is time to kill in.
    *("--batch-size", "6", "--critic", "calculator", "--refiner", "resample", "--resample-samples", "2"),
]


def start(folder: Path) -> Warm:
    return Warm(RUN, cwd=folder)


def stored(folder: Path) -> int:
    """How many texts the store holds; 0 while there is none."""
    path = folder / "results" / "store.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        try:
            return int(db.execute("SELECT count(*) FROM generations").fetchone()[0])
        except sqlite3.OperationalError:  # not yet there
            return 0


def stop_at(folder: Path, texts: int, how: signal.Signals) -> Warm:
    """Starts the run and signals it as soon as so many texts are stored."""
    process = start(folder)
    deadline = time.monotonic() + 120
    while stored(folder) < texts:
        assert process.poll() is None, f"the run ended before it was stopped: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(how)
    process.wait(60)
    return process


def finish(folder: Path) -> int:
    """Runs to the end; returns how many texts that took."""
    process = start(folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return int(json.loads(out)[0]["generated"])


def traces(folder: Path) -> bytes:
    return (folder / "results" / "runs" / "r" / "traces.jsonl").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("unbroken")
    assert finish(folder) == TEXTS
    return traces(folder)


def test_a_killed_run_goes_on_where_it_was_and_ends_the_same(unbroken: bytes, tmp_path: Path) -> None:
    for texts in (1, LIMIT + 1):  # once among the drafts, once among the samples
        process = stop_at(tmp_path, texts, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "results" / "runs" / "r").exists(), "a run record is complete or absent"
    kept = stored(tmp_path)
    assert LIMIT < kept < TEXTS
    assert finish(tmp_path) == TEXTS - kept
    assert traces(tmp_path) == unbroken
    assert finish(tmp_path) == 0


def test_ctrl_c_says_how_to_go_on_and_loses_nothing(unbroken: bytes, tmp_path: Path) -> None:
    process = stop_at(tmp_path, 1, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "to continue, run" in err
    assert "refine-eval run --limit 90" in err
    assert "Traceback" not in err
    kept = stored(tmp_path)
    assert 0 < kept < TEXTS
    assert finish(tmp_path) == TEXTS - kept
    assert traces(tmp_path) == unbroken


def test_two_runs_at_once_share_a_results_folder(unbroken: bytes, tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert traces(tmp_path) == unbroken
    assert stored(tmp_path) == TEXTS
    assert [path.name for path in (tmp_path / "results" / "runs").iterdir() if path.is_dir()] == ["r"]
