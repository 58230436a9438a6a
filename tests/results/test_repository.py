"""What is committed of results: no path of any machine, small, unchanged, and apart from a user's own runs."""

import re
import subprocess
from pathlib import Path

from refine_eval.results.published import read_outcomes, read_published
from refine_eval.results.records import OUTCOMES, read_traces

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results" / "published"
MACHINE = re.compile(r"/(work|tmp|home|root)/")


def tracked(*places: str) -> list[Path]:
    found = subprocess.run(["git", "ls-files", "-z", "--", *places], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in found.stdout.decode().split("\0") if name]


def test_no_path_of_a_machine_is_in_results_or_docs() -> None:
    files = tracked("results", "docs")
    assert len(files) > 100
    assert [str(path) for path in files if path.exists() and MACHINE.search(path.read_text("utf-8", "replace"))] == []


def test_published_records_are_as_they_were_written() -> None:
    records = read_published(ROOT / "results")
    assert len(records) > 60
    for record in records:
        folder = PUBLISHED / record.name
        if not (folder / OUTCOMES).exists():
            assert record.name == "gsm8k-recorded", "its candidates are not ours to publish"
            continue
        traces = read_outcomes(folder).traces
        assert len(traces) == record.rows[0].problems
    assert len(read_traces(PUBLISHED / "apples-glore")) == 1000


def test_a_users_runs_are_nothing_to_git() -> None:
    for name in ("results/runs/mine/run.yaml", "results/store.sqlite", "results/published/apples-glore/report.html"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0, name


def test_the_checkout_is_small() -> None:
    assert sum(path.stat().st_size for path in tracked() if path.exists()) < 20e6
