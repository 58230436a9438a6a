"""`refine-eval leaderboard`: published records, or one's own runs where nothing is published."""

from pathlib import Path

from in_process import error_line, refine_eval
from records import write


def test_own_runs_make_the_page_where_nothing_is_published(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    refine_eval("leaderboard", cwd=tmp_path)
    assert "### mine" in (tmp_path / "results" / "leaderboard.md").read_text()
    refine_eval("leaderboard", "--check", cwd=tmp_path)


def test_published_runs_and_own_ones_do_not_mix(tmp_path: Path) -> None:
    for name in ("mine", "shown"):
        write(tmp_path / "results", name)
    refine_eval("publish", "results/runs/shown", cwd=tmp_path)
    refine_eval("leaderboard", cwd=tmp_path)
    page = (tmp_path / "results" / "leaderboard.md").read_text()
    assert "### shown" in page
    assert "### mine" not in page
    refine_eval("leaderboard", "--own", cwd=tmp_path)
    assert "### mine" in (tmp_path / "results" / "runs" / "leaderboard.md").read_text()
    assert (tmp_path / "results" / "leaderboard.md").read_text() == page


def test_a_folder_without_runs_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    assert "typo holds no run records; name the folder" in error_line("leaderboard", "--results", "typo", cwd=tmp_path)
    assert not (tmp_path / "typo").exists()


def test_a_stale_page_says_how_to_write_it_again(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    assert "is stale; write it again: refine-eval leaderboard" in error_line("leaderboard", "--check", cwd=tmp_path)
