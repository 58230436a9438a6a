"""Runs with replicas from the command line: the record of a run without, and nothing left behind."""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from processes import assert_all_end
from warm import Warm

from refine_eval.results.records import read_run, read_traces

pytestmark = pytest.mark.slow

RUN = [
    *(sys.executable, "-m", "refine_eval", "run", "--critic", "calculator", "--refiner", "resample"),
    *("--resample-samples", "2", "--batch-size", "8", "--device", "cpu"),
]


def test_a_run_with_workers_is_the_run_without(tmp_path: Path) -> None:
    """From the command line, with a Ray of its own; and the records have one name."""
    folders = []
    for extra in ([], ["--workers", "2"]):
        cwd = tmp_path / f"with{len(extra)}"
        cwd.mkdir()
        process = Warm([*RUN, "--limit", "20", *extra], cwd=cwd)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "transformers × 2 replicas" in err or not extra
        folders.append(next(path for path in (cwd / "results" / "runs").iterdir() if path.is_dir()))
    alone, replicated = folders
    assert alone.name == replicated.name
    rows = [[replace(row, seconds=0.0) for row in read_run(folder).rows] for folder in folders]
    assert rows[0] == rows[1]
    assert read_traces(alone) == read_traces(replicated)


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    process = Warm([*RUN, "--workers", "2", "--limit", "400"], cwd=tmp_path)
    assert process.pid is not None
    store = tmp_path / "results" / "store.sqlite"
    deadline = time.monotonic() + 60
    while not (store.exists() and stored(store)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mine = {int(p.name) for p in Path("/proc").glob("[0-9]*") if session(p) == process.pid} - {process.pid}
    assert mine, "Ray's processes are in the driver's session"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "to continue, run" in err
    assert "Traceback" not in err
    assert_all_end(mine)


def test_a_driver_killed_while_copies_score_loses_no_score_and_leaves_no_replica(tmp_path: Path) -> None:
    words = [*RUN[:4], "--critic", "orm", "--refiner", "resample", "--resample-samples", "1", "--batch-size", "8"]
    words += ["--device", "cpu", "--workers", "2", "--limit", "300", "--name", "killed"]
    process = Warm(words, cwd=tmp_path)
    assert process.pid is not None
    store = tmp_path / "results" / "store.sqlite"
    deadline = time.monotonic() + 120
    while not (store.exists() and stored(store, "critiques")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    mine = {int(p.name) for p in Path("/proc").glob("[0-9]*") if session(p) == process.pid and not of_ray(p)}
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert_all_end(mine - {process.pid})
    kept = scores(store)
    assert kept
    again = Warm(words, cwd=tmp_path)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    whole = scores(store)
    assert kept.items() <= whole.items(), "what was scored is not scored again: its seconds are those of the first time"
    assert len(kept) < len(whole), "the driver was killed while they scored"
    alone = Warm([*(word for word in words if word not in ("--workers", "2")), "--results", "alone"], cwd=tmp_path)
    _, err = alone.communicate(timeout=120)
    assert alone.returncode == 0, err
    replicated, single = (read_traces(tmp_path / results / "runs" / "killed") for results in ("results", "alone"))
    assert [trace.candidates for trace in replicated] == [trace.candidates for trace in single]
    for one, other in zip(replicated, single, strict=True):  # in other batches, so to rounding
        found, wanted = ([c["choose"].score for c in trace.critiques.values()] for trace in (one, other))
        assert found == pytest.approx(wanted, abs=1e-4)


def of_ray(process: Path) -> bool:
    """Ray's two agents, which look for the cluster for minutes before they end."""
    try:
        return (process / "cmdline").read_bytes().startswith((b"ray::DashboardAgent", b"ray::RuntimeEnvAgent"))
    except OSError:
        return False


def scores(path: Path) -> dict[bytes, tuple[float, float]]:
    """Score and seconds by key."""
    import sqlite3

    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return {
            key: (score, seconds) for key, score, seconds in db.execute("SELECT key, score, seconds FROM critiques")
        }


def stored(path: Path, table: str = "generations") -> int:
    import sqlite3

    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        try:
            return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def session(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return 0
