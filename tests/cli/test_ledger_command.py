"""`refine-eval ledger` as typed: text, JSON, and names that mean harm."""

import json
from pathlib import Path

from in_process import error_line, refine_eval
from records import HOSTILE, SETTINGS, ledger_trace, write

ROOT = Path(__file__).resolve().parents[2]


def test_the_published_record(tmp_path: Path) -> None:
    printed = refine_eval("ledger", "apples-glore", cwd=ROOT).stdout
    for line in (
        "  +171  won, of 200 wrong drafts",
        "   971  final answers are right: gain +17.1 points",
        "   211  exact: 190 of them repaired",
        "    23  wrong drafts that no refinement repairs",
    ):
        assert line in printed
    found = json.loads(refine_eval("ledger", "--json", "apples-glore", cwd=ROOT).stdout)
    assert found["flow"]["won"] == 171
    assert {"by": ["global", "local"], "drafts": 109} in found["how"]["overlap"]
    assert 2 < len(found["when"]["roc"]) <= 102
    assert set(found["how"]["refiners"]["local"]["repair_by_verdict"]) == {"held wrong", "held right"}


def test_hostile_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    traces = [ledger_trace(n, {"draft": n % 2 == 0, f"1.{HOSTILE}.0": True}, {HOSTILE: "draft"}) for n in range(4)]
    settings = {**SETTINGS, "task": {"name": HOSTILE}, "when": {"name": HOSTILE}, "choose": {"name": HOSTILE}}
    write(tmp_path / "results", "mine", traces, settings)
    printed = refine_eval("ledger", "mine", cwd=tmp_path).stdout
    assert "\x1b" not in printed
    assert "\u2028" not in printed


def test_runs_that_are_not_there_or_not_whole_are_one_sentence(tmp_path: Path) -> None:
    assert "There is no run record 'mine'" in error_line("ledger", "mine", cwd=tmp_path)
    folder = write(tmp_path / "results", "mine")
    (folder / "traces.jsonl").unlink()
    assert "keeps no texts; make the run again with: refine-eval run" in error_line("ledger", "mine", cwd=tmp_path)
