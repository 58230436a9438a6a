"""`refine-eval leaderboard`: published records, or one's own runs where nothing is published."""

from pathlib import Path

import pytest
from in_process import error_line, refine_eval
from records import write


def test_the_committed_pages_are_fresh() -> None:
    assert "up to date" in refine_eval("leaderboard", "--check", cwd=Path(__file__).resolve().parents[2]).stdout


def test_own_runs_make_the_page_where_nothing_is_published(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    refine_eval("leaderboard", cwd=tmp_path)
    assert "[mine](leaderboard-runs.md#run-1)" in (tmp_path / "results" / "leaderboard.md").read_text()
    assert '<a id="run-1"></a>\n\n## mine\n' in (tmp_path / "results" / "leaderboard-runs.md").read_text()
    refine_eval("leaderboard", "--check", cwd=tmp_path)


def test_published_runs_and_own_ones_do_not_mix(tmp_path: Path) -> None:
    for name in ("mine", "shown"):
        write(tmp_path / "results", name)
    refine_eval("publish", "results/runs/shown", cwd=tmp_path)
    refine_eval("leaderboard", cwd=tmp_path)
    page = (tmp_path / "results" / "leaderboard.md").read_text()
    assert "[shown](" in page
    assert "[mine](" not in page
    refine_eval("leaderboard", "--own", cwd=tmp_path)
    assert "[mine](" in (tmp_path / "results" / "runs" / "leaderboard.md").read_text()
    assert (tmp_path / "results" / "leaderboard.md").read_text() == page


def test_a_folder_without_runs_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    assert "typo holds no run records; name the folder" in error_line("leaderboard", "--results", "typo", cwd=tmp_path)
    assert not (tmp_path / "typo").exists()


def test_a_stale_page_says_how_to_write_it_again(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    assert "is stale; write it again: refine-eval leaderboard" in error_line("leaderboard", "--check", cwd=tmp_path)


def test_a_page_that_cannot_be_written_is_one_sentence_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "results", "mine")
    refine_eval("leaderboard", cwd=tmp_path)
    before = (tmp_path / "results" / "leaderboard.md").read_bytes()
    write(tmp_path / "results", "other")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("tempfile.mkstemp", "os.replace"):
        with monkeypatch.context() as patched:
            patched.setattr(name, full)
            line = error_line("leaderboard", cwd=tmp_path)
        assert "leaderboard.md cannot be written (No space left on device); what was there before stays" in line
        assert (tmp_path / "results" / "leaderboard.md").read_bytes() == before
        assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
            "leaderboard-runs.md",
            "leaderboard.md",
            "runs",
        ]


def test_publish_makes_no_folder_of_a_typo(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    line = error_line("publish", "results/runs/mine", "--results", "typo", cwd=tmp_path)
    assert "There is no folder typo" in line
    assert not (tmp_path / "typo").exists()


def test_what_is_published_is_not_published_from_itself(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    refine_eval("publish", "--traces", "results/runs/mine", cwd=tmp_path)
    line = error_line("publish", "results/published/mine", cwd=tmp_path)
    assert "results/published/mine is published" in line
    assert (tmp_path / "results" / "published" / "mine" / "traces.jsonl.gz").exists()
