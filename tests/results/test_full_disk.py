"""Records and pages on a disk that is full in earnest: one sentence, and what was there before stays."""

from pathlib import Path

import pytest
from full_disk import room_for
from in_process import error_line, refine_eval
from records import TRACES, write

from refine_eval.errors import RunError
from refine_eval.results.records import read_traces


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [0, 100, 1_000])  # bytes: none; less than run.yaml has; less than the traces have
def test_a_record_that_does_not_fit_leaves_the_older_one(size: int, tmp_path: Path) -> None:
    write(tmp_path)
    before = files(tmp_path)
    with room_for(size), pytest.raises(RunError, match=r"one cannot be written \(.*File too large.*fix that"):
        write(tmp_path, traces=TRACES[:2])
    assert files(tmp_path) == before
    assert len(read_traces(tmp_path / "runs" / "one")) == len(TRACES)


@pytest.mark.parametrize("size", [0, 1_000])
def test_a_record_that_does_not_fit_leaves_nothing_where_there_was_none(size: int, tmp_path: Path) -> None:
    with room_for(size), pytest.raises(RunError, match="File too large"):
        write(tmp_path)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("command", "page"),
    [
        (("leaderboard",), "leaderboard.md"),
        (("report", "results/runs/mine"), "report.html"),
        (("publish", "results/runs/mine"), "published/mine"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_page_that_does_not_fit_leaves_the_older_one(command: tuple[str, ...], page: str, tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    refine_eval(*command, cwd=tmp_path)
    write(tmp_path / "results", "mine", traces=TRACES[:2])
    before = files(tmp_path)
    with room_for(50):
        line = error_line(*command, cwd=tmp_path)
    assert f"{page} cannot be written (" in line
    assert "File too large" in line
    assert files(tmp_path) == before
