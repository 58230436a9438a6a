"""Records of odd runs, and odd records, to every command that reads records: a clear answer or one sentence."""

import json
from pathlib import Path

import pytest
from gated import EIGHT, SETTINGS, write_gated
from in_process import error_line, refine_eval
from records import HOSTILE

LOOK = {
    "ledger": ("ledger", "mine"),
    "compare": ("compare", "mine", "mine:draft"),
    "leaderboard": ("leaderboard",),
    "replay": ("replay", "mine", "--selector", "gate"),
    "view": ("view", "mine", "--no-browser"),
    "publish": ("publish", "results/runs/mine"),
    "export": ("export", "mine", "--to", "csv", "-o", "csv"),
}
ODD = {
    "a single problem": EIGHT[:1],
    "all right": [(score, 1, 1) for score, _, _ in EIGHT],
    "all wrong": [(score, 0, 0) for score, _, _ in EIGHT],
    "ties": [(0.5, draft, refined) for _, draft, refined in EIGHT],
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("command", LOOK)
def test_odd_runs_are_looked_at_as_any_other(command: str, odd: str, tmp_path: Path) -> None:
    write_gated(tmp_path / "results", "mine", ODD[odd])
    printed = refine_eval(*LOOK[command], cwd=tmp_path).stdout
    assert "nan" not in printed.lower()
    if odd == "a single problem" and command in ("ledger", "compare", "replay"):
        assert ", 1 problem" in printed
        assert "1 problems" not in printed
    if command == "ledger" and odd.startswith("all"):
        assert "AUC of the gate: undefined, as there are not both right and wrong drafts with a score" in printed


@pytest.mark.parametrize("command", LOOK)
@pytest.mark.parametrize("damage", ["unfinished", "NaN", "a candidate is missing"])
def test_what_is_no_whole_record_is_one_sentence(command: str, damage: str, tmp_path: Path) -> None:
    write_gated(tmp_path / "results", "mine")
    folder = tmp_path / "results" / "runs" / "mine"
    lines = (folder / "traces.jsonl").read_text("utf-8").splitlines(keepends=True)
    first = json.loads(lines[0])
    if damage == "unfinished":
        (folder / "metrics.json").unlink()
    elif damage == "NaN":
        lines[0] = lines[0].replace("0.11", "NaN", 1)
    else:
        first["candidates"].pop()
        lines[0] = json.dumps(first) + "\n"
    (folder / "traces.jsonl").write_text("".join(lines), "utf-8")
    said = error_line(*LOOK[command], cwd=tmp_path)
    assert ("is not a run record" if damage == "unfinished" else "is corrupt") in said


@pytest.mark.parametrize("command", LOOK)
def test_hostile_names_do_nothing_to_a_terminal(command: str, tmp_path: Path) -> None:
    write_gated(
        tmp_path / "results", "mine", machine=HOSTILE, model={"name": HOSTILE, "options": {"pretrained": HOSTILE}}
    )
    printed = refine_eval(*LOOK[command], cwd=tmp_path)
    assert not {"\x1b", "\u2028"} & set(printed.stdout + printed.stderr)


def test_runs_over_other_tasks_are_shown_side_by_side_and_never_pooled(tmp_path: Path) -> None:
    write_gated(tmp_path / "results", "mine")
    write_gated(tmp_path / "results", "other", task="gsm8k")
    refine_eval("view", "mine", "other", "--no-browser", cwd=tmp_path)
    assert "are not seeds of one strategy" in error_line("ledger", "mine", "other", cwd=tmp_path)
    assert "answer different tasks (apples and gsm8k)" in error_line("compare", "mine", "other", cwd=tmp_path)
    refine_eval("leaderboard", cwd=tmp_path)
    page = (tmp_path / "results" / "leaderboard.md").read_text("utf-8")
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## apples", "## gsm8k"]
    assert SETTINGS["model"]["name"] in page
