"""Run directories: complete or absent, read back as written, honest about corruption."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import HOSTILE, SETTINGS, TRACES, write

from refine_eval.data import Critique, Trace
from refine_eval.errors import RunError
from refine_eval.results import records as results
from refine_eval.results.leaderboard import RUNS_PAGE, files
from refine_eval.results.ledger import rows
from refine_eval.results.records import read_run, read_runs, read_traces


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    critiques = {"draft": {"choose": Critique(score=0.25, step_scores=(0.25,), first_bad_step=0)}}
    hostile = replace(TRACES[0].candidates[0].solution, text=HOSTILE, steps=(HOSTILE.strip(),), answer=HOSTILE)
    candidates = (replace(TRACES[0].candidates[0], solution=hostile), *TRACES[0].candidates[1:])
    ledger_trace = replace(TRACES[0], critiques=critiques, candidates=candidates)
    folder = write(tmp_path, traces=[ledger_trace])
    (found,) = read_traces(folder)
    assert found.critiques == critiques
    assert found.selected == ledger_trace.selected
    assert found.correct == ledger_trace.correct
    assert [c.solution.text for c in found.candidates] == [c.solution.text for c in ledger_trace.candidates]
    assert found.problem.id == ledger_trace.problem.id
    assert found.problem.question == ""
    record = read_run(folder)
    assert record.rows == tuple(rows([ledger_trace], "strict", gold={"gate"}))


def test_traces_hold_no_question_and_no_times(tmp_path: Path) -> None:
    text = (write(tmp_path) / "traces.jsonl").read_text()
    assert "seconds" not in text
    assert '"question"' not in text


def test_a_run_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(ledger_trace: Trace) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "trace_to_json", full)
    with pytest.raises(RunError, match=r"No space left.*run the same command again"):
        write(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == ["one"]


@pytest.mark.parametrize("failing", [1, 2])
def test_the_old_record_stays_where_a_move_fails(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    real, calls = os.rename, 0

    def rename(*paths: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        real(*paths)

    with monkeypatch.context() as patched:
        patched.setattr("os.rename", rename)
        with pytest.raises(RunError, match=r"No space left.*run the same command again"):
            write(tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]


def test_runs_written_at_once_leave_one_whole_record(tmp_path: Path) -> None:
    threads = [threading.Thread(target=write, args=(tmp_path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == ["one"]
    assert len(read_traces(tmp_path / "runs" / "one")) == len(TRACES)


def test_corrupt_records_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    lines = (folder / "traces.jsonl").read_text().splitlines()
    (folder / "traces.jsonl").write_text("\n".join([lines[0], lines[1][:40]]))
    with pytest.raises(RunError, match=r"traces.jsonl is corrupt \(line 2"):
        read_traces(folder)
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match="one is corrupt"):
        read_runs(tmp_path)
    os.remove(folder / "run.yaml")
    with pytest.raises(RunError, match=r"run\.yaml is missing"):
        read_run(folder)


def test_the_leaderboard_is_the_same_bytes_for_the_same_records(tmp_path: Path) -> None:
    hostile = {**SETTINGS, "command": f"refine-eval run --name '{HOSTILE}'"}
    write(tmp_path, "b", settings=hostile)
    write(tmp_path, "a")
    pages = files(read_runs(tmp_path), (), "markdown")
    assert pages == files(read_runs(tmp_path), (), "markdown")
    page = pages[RUNS_PAGE].decode()
    assert page.index("## a") < page.index("## b")
    assert "\x1b" not in page + pages["leaderboard.md"].decode()
    draft = next(line for line in page.splitlines() if line.startswith("| draft"))
    assert draft.split(" | ")[1:3] == ["2", "50.0"]


def test_metrics_are_json_that_others_can_read(tmp_path: Path) -> None:
    metrics = json.loads((write(tmp_path) / "metrics.json").read_text())
    assert metrics["rows"][0]["name"] == "draft"
    assert metrics["rows"][0]["correct"] == {"strict": 2, "flexible": 4}
