"""Thresholds tuned on other problems, on halves and, marked, on the same, against values worked out by hand."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from gated import EIGHT, write_gated
from in_process import error_line, refine_eval

from refine_eval import load_run
from refine_eval.errors import RunError, UsageError
from refine_eval.plugin.registry import registry
from refine_eval.results.accounts import read_seed
from refine_eval.results.tuning import Tuned, Tuning, without_tuned
from refine_eval.runs.settings import RunSettings
from refine_eval.runs.tuning import tuned_on
from refine_eval.statistics.tuning import best, halves

ROOT = Path(__file__).resolve().parents[2]
Made = Sequence[tuple[float, int, int]]
OTHER = [(0.15, 0, 0), (0.35, 0, 1), (0.55, 0, 1), (0.75, 1, 0), (0.95, 1, 1)]
"""Problems of another task: best refined below 0.36 to 0.74, for fewest tokens below 0.56."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the records "eight" and "other"."""
    write_gated(tmp_path / "results", "eight")
    write_gated(tmp_path / "results", "other", OTHER, task="gsm8k")
    return tmp_path


def replayed(folder: Path, *words: str) -> dict[str, Any]:
    found = json.loads(refine_eval("replay", *words, "--json", cwd=folder).stdout)
    return {row["name"]: row for row in found["rows"]} | {"tuning": found.get("tuning")}


def tuning(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "results/runs" / name / "run.yaml").read_text())["tuning"]
    return found


def right(problems: Made, below: float) -> int:
    """Right answers of the choice, which is the refinement wherever there is one."""
    return sum(refined if score < below else draft for score, draft, refined in problems)


def best_below(problems: Made) -> float:
    return max(
        (at / 50 for at in range(51)), key=lambda at: (right(problems, at), -sum(s < at for s, _, _ in problems))
    )


def test_on_the_same_problems_it_is_the_best_of_fewest_tokens(folder: Path) -> None:
    """Below 0.22 the first two are repaired; 0.4 and 0.5 answer as many rightly and refine more."""
    found = replayed(folder, "eight", "--tune-on", "same", "--name", "same")
    assert found["rerank"]["correct"]["strict"] == 6 == right(EIGHT, 0.22)
    assert (found["rerank"]["tokens"], found["rerank"]["tuned"]) == (100 / 8, True)
    assert tuning(folder, "same")["thresholds"] == [
        {
            "name": "refine-below",
            "values": [0.22],
            "tried": 52,
            "objective": "right answers of rerank, then fewest tokens",
        }
    ]
    assert {name for name, row in found.items() if row and row.get("tuned")} == {"local", "rerank", "gate", "oracle"}


def test_on_another_run_it_is_the_best_there(folder: Path) -> None:
    found = replayed(folder, "eight", "--tune-on", "other", "--name", "held-out")
    assert best_below(OTHER) == 0.56
    assert found["rerank"]["correct"]["strict"] == right(EIGHT, 0.56) == 5
    assert not any(row and row.get("tuned") for row in found.values())
    said = tuning(folder, "held-out")
    assert (said["on"], said["run"], said["task"], said["problems"]) == ("held-out", "other", "gsm8k", 5)
    assert said["thresholds"][0]["values"] == [0.56]
    assert len(said["digest"]) == 32
    record = load_run("held-out", results=folder / "results")
    assert record.settings["refine_below"] == 0.56
    assert "refine-below 0.56: tuned on 5 problems of gsm8k (run other)" in str(record)


@pytest.mark.parametrize("seed", [0, 5])
def test_each_half_has_the_threshold_of_the_other(seed: int, tmp_path: Path) -> None:
    problems = [*EIGHT, *((score + 0.02, draft, refined) for score, draft, refined in EIGHT[:5])]
    traces = write_gated(tmp_path / "results", "mine", problems, seed=seed)
    found = replayed(tmp_path, "mine", "--tune-on", "halves", "--name", "crossed")
    sides = [
        [made for trace, made in zip(traces, problems, strict=True) if trace.problem.id in half]
        for half in halves([trace.problem.id for trace in traces], seed)
    ]
    values = [best_below(side) for side in reversed(sides)]
    assert tuning(tmp_path, "crossed")["thresholds"][0]["values"] == values
    assert tuning(tmp_path, "crossed")["seed"] == seed
    assert found["rerank"]["correct"]["strict"] == sum(map(right, sides, values))
    assert found["rerank"]["problems"] == len(problems)
    assert not found["rerank"].get("tuned")
    table = refine_eval("replay", "mine", "--tune-on", "halves", cwd=tmp_path).stdout
    assert f"{values[0]:g} and {values[1]:g}: each half of 13 problems with what was tuned on the other" in table
    assert "those below a tuned threshold are sent on" in refine_eval("ledger", "crossed", cwd=tmp_path).stdout


def test_halves_are_equal_and_do_not_hang_on_the_order() -> None:
    names = [f"t/{n}" for n in range(101)]
    first, second = halves(names, 3)
    assert (len(first), len(second), first | second) == (51, 50, frozenset(names))
    assert halves(reversed(names), 3) == (first, second)
    assert halves(names, 4) != (first, second)


def test_of_equal_values_the_cheapest_and_then_the_first_is_best() -> None:
    by_value = {at: {"a": (1.0, 1.0), "b": (0.0, 1.0)} for at in (0.1, 0.2, 0.3)}
    assert best(by_value, ["a", "b"]) == 0.1
    assert best(by_value, ["a", "b"], {0.1: 9.0, 0.2: 5.0, 0.3: 5.0}) == 0.2


@pytest.mark.parametrize(("draft", "refined"), [(1, 1), (0, 0), (0, 1), (1, 0)])
def test_all_right_all_wrong_and_ties_of_score(draft: int, refined: int, tmp_path: Path) -> None:
    write_gated(tmp_path / "results", "mine", [(0.5, draft, refined)] * 6)
    found = replayed(tmp_path, "mine", "--tune-on", "halves")
    assert found["rerank"]["correct"]["strict"] == 6 * max(draft, refined)
    # All have one score, so all are refined or none is: none where that is as good.
    assert found["rerank"]["tokens"] == (20 if refined > draft else 10)


def test_a_selectors_threshold_is_its_own(folder: Path) -> None:
    """The gate's choice at 0.22 is that of refining below; only its row is marked."""
    found = replayed(folder, "eight", "--tune-on", "same", "--tune", "gate-threshold", "--name", "gate")
    assert found["gate"]["correct"]["strict"] == 6
    assert [row["tuned"] for row in (found["local"], found["rerank"], found["gate"])] == [False, False, True]
    assert tuning(folder, "gate")["thresholds"][0]["values"] == [0.22]
    options = {
        each["name"]: each["options"] for each in load_run("gate", results=folder / "results").settings["selectors"]
    }
    assert options["gate"] == {"threshold": 0.22}


def test_a_where_critics_threshold_is_that_which_names_most_first_wrong_steps(tmp_path: Path) -> None:
    """The published records know the first wrong steps; the refinements of another place no record has."""
    name = "tiny-0-early-glore"
    settings = RunSettings(task="svamp", results=ROOT / "results", tune_on=name, tune=("sorm-threshold",))
    chosen, said = tuned_on(settings, registry())
    assert said is not None
    source = read_seed(name, ROOT / "results")
    known = source.outcomes.first_bad
    assert known is not None

    def named(threshold: float) -> int:
        count = 0
        for trace in source.traces:
            values = trace.critiques["draft"]["where"].step_scores[:-1]
            found = next((at for at, value in enumerate(values) if value < threshold), None)
            bad = known[trace.problem.id]
            count += found == (bad if bad is not None and bad < len(values) else None)
        return count

    at = chosen.options["critic", "sorm"]["threshold"]
    assert named(at) == max(named(n / 50) for n in range(51)) > named(0.98)
    assert said.thresholds[0].values == (at,)
    assert f"{name} lacks what 'global' makes of " in error_line(
        "replay", name, "--tune-on", "halves", "--tune", "sorm-threshold", cwd=ROOT
    )


def test_the_very_problems_are_refused_unless_asked_for(folder: Path) -> None:
    said = error_line("replay", "eight", "--tune-on", "eight", cwd=folder)
    assert "eight is over the very problems of apples that the table is of" in said
    assert "--tune-on same, which marks the rows" in said
    write_gated(folder / "results", "some", EIGHT[:3])
    assert "over the very problems" in error_line("replay", "eight", "--tune-on", "some", cwd=folder)
    assert "over the very problems" in error_line("run", "-q", "--limit", "2", "--tune-on", "eight", cwd=folder)
    for word in ("halves", "same"):
        said = error_line("run", "-q", "--limit", "2", "--tune-on", word, cwd=folder, expect=2)
        assert f"refine-eval replay RUN --tune-on {word}" in said


def test_marks_stand_in_every_table(folder: Path) -> None:
    printed = refine_eval("replay", "eight", "--tune-on", "same", "--name", "same", cwd=folder).stdout
    note = "‡ a threshold was tuned on these very problems: too good, and no result to report"
    assert "chosen: rerank ‡" in printed
    assert "chosen: oracle * ‡" in printed
    assert note in printed
    assert "refine-below 0.22: tuned on these very 8 problems" in printed
    again = refine_eval("replay", "same", cwd=folder).stdout
    assert "chosen: rerank ‡" in again, "a replay does not wash the mark off"
    assert "‡" not in refine_eval("replay", "same", "--refine-below", "0", cwd=folder).stdout
    for form, name in {"markdown": "md", "html": "html", "csv": "csv", "latex": "tex"}.items():
        refine_eval("leaderboard", "--format", form, cwd=folder)
        board = (folder / f"results/leaderboard.{name}").read_text("utf-8")
        mark = {"csv": "tuned on its own problems", "latex": r"\ddag"}.get(form, "‡")
        assert mark in board
        if form == "csv":
            lines = list(csv.DictReader(board.splitlines()))
            tuned = [line for line in lines if "tuned on its own" in line["marks"]]
            assert {line["runs"] for line in tuned} == {"same"}
            assert {(line["rank"], line["p"]) for line in tuned} == {("", "")}
    parquet = pytest.importorskip("pyarrow.parquet")
    refine_eval("leaderboard", "--format", "parquet", cwd=folder)
    rows = parquet.read_table(folder / "results/leaderboard.parquet").to_pylist()
    assert [row["rank"] for row in rows if "tuned on its own problems" in row["marks"]] == [None] * 4
    refine_eval("report", "same", "-o", "page.html", cwd=folder)
    page = (folder / "page.html").read_text("utf-8")
    assert "chosen: rerank ‡" in page
    assert note in page
    assert note in refine_eval("ledger", "same", cwd=folder).stdout
    assert "local alone ‡" in load_run("same", results=folder / "results")._repr_html_()


def test_tuned_rows_are_compared_with_tuned_rows_only(folder: Path) -> None:
    refine_eval("replay", "eight", "--tune-on", "same", "--name", "same", cwd=folder)
    said = error_line("compare", "same", "eight", cwd=folder)
    assert "same has a threshold that was tuned on these very problems, so it cannot be compared" in said
    assert "rerank" not in error_line("compare", "eight", "same", cwd=folder)
    refine_eval("compare", "same", "same:local", cwd=folder)
    refine_eval("compare", "same:draft", "eight", cwd=folder)


def test_seeds_with_other_values_are_one_strategy(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_gated(tmp_path / "results", f"seed-{seed}", EIGHT if seed else [*EIGHT[2:], *EIGHT[:2]], seed=seed)
        refine_eval("replay", f"seed-{seed}", "--tune-on", "halves", "--name", f"tuned-{seed}", cwd=tmp_path)
    values = [tuning(tmp_path, f"tuned-{seed}")["thresholds"][0]["values"] for seed in (0, 1)]
    assert values[0] != values[1]
    refine_eval("leaderboard", "--format", "csv", cwd=tmp_path)
    lines = list(csv.DictReader((tmp_path / "results/leaderboard.csv").read_text().splitlines()))
    pooled = [line for line in lines if line["strategy"] == "local below tuned → rerank"]
    assert [(line["seeds"], line["runs"]) for line in pooled] == [("2", "tuned-0 tuned-1")]
    assert "2 seeds of 8" in refine_eval("ledger", "tuned-0", "tuned-1", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tune", "gate-threshold"), "--tune names a threshold, and --tune-on says on which problems"),
        (("--tune-on", "same", "--tune", "orm-threshold"), "--tune has no threshold 'orm-threshold' here."),
        (("--tune-on", "same", "--tune", "gate-treshold"), "Did you mean 'gate-threshold'?"),
        (("--tune-on", "same", "--refine-below", "0.3"), "--refine-below is given, and --tune-on tunes it"),
        (("--tune-on", "same", "--refine-below", "nan"), "--refine-below"),
        (("--tune-on", "same", "--tune", "gate-threshold", "--gate-threshold", "0.3"), "--gate-threshold is given"),
    ],
)
def test_words_that_make_no_sense(words: Sequence[str], said: str, folder: Path) -> None:
    assert said in error_line("replay", "eight", *words, cwd=folder, expect=2)


def test_what_was_tuned_is_left_out_of_members_of_critics_too() -> None:
    def critic(name: str, threshold: float, **members: Any) -> dict[str, Any]:
        own = {"name": name, "options": {"threshold": threshold, "model": ""}, "identity": f"at {threshold}"}
        return own | ({"members": members} if members else {})

    def bare(of_sorm: float, of_both: float, *tuned: str) -> dict[str, Any]:
        thresholds = tuple(Tuned(name=f"{name}-threshold", values=(0.1,), tried=1, objective="x") for name in tuned)
        how = Tuning(on="same", task="t", run="r", problems=1, digest="d", seed=None, thresholds=thresholds)
        members = {"orm": critic("orm", 0.5), "sorm": critic("sorm", of_sorm)}
        return without_tuned({"where": critic("both", of_both, **members)}, how)["where"]  # type: ignore[no-any-return]

    assert bare(0.1, 0.5, "sorm") == bare(0.2, 0.5, "sorm") != bare(0.1, 0.6, "sorm")
    assert bare(0.1, 0.5, "both") == bare(0.1, 0.6, "both") != bare(0.2, 0.5, "both")
    assert bare(0.1, 0.5, "both")["members"]["orm"]["identity"] == "at 0.5"


def test_records_that_cannot_be_tuned_on_or_written(folder: Path) -> None:
    write_gated(folder / "results", "one", EIGHT[:1])
    assert "one has one problem, so there are no halves" in error_line(
        "replay", "one", "--tune-on", "halves", cwd=folder
    )
    assert "There is no run record 'others'" in error_line("replay", "eight", "--tune-on", "others", cwd=folder)
    refine_eval("replay", "eight", "--tune-on", "halves", "--name", "crossed", cwd=folder)
    said = error_line("replay", "crossed", "--selector", "draft", cwd=folder)
    assert "has thresholds of each half of its problems, so it cannot be replayed" in said
    said = error_line("replay", "eight", "--tune-on", "same", "--name", "crossed", cwd=folder)
    assert "holds another run: choose another --name, or replace that record with --overwrite" in said
    refine_eval("replay", "eight", "--tune-on", "same", "--name", "crossed", "--overwrite", cwd=folder)
    assert "keeps no texts, so a replay of it has no record" in error_line(
        "replay", "tiny-0-glore", "--results", str(ROOT / "results"), "--name", "x", cwd=folder
    )
    trace = folder / "results/runs/other/traces.jsonl"
    trace.write_text(trace.read_text().replace("0.15", "NaN", 1))
    assert "is corrupt" in error_line("replay", "eight", "--tune-on", "other", cwd=folder)
    (folder / "results/runs/other/metrics.json").unlink()
    assert "is not a run record" in error_line("replay", "eight", "--tune-on", "other", cwd=folder)


def test_only_values_that_the_record_has_all_for_are_tried(folder: Path) -> None:
    """A run that refined below 0.5 says nothing of higher values, and its replay is tuned among the others."""
    refine_eval("replay", "eight", "--refine-below", "0.5", "--name", "gated", cwd=folder)
    refine_eval("replay", "gated", "--tune-on", "same", "--name", "again", cwd=folder)
    assert tuning(folder, "again")["thresholds"][0]["tried"] == 26
    refine_eval("replay", "eight", "--refine-below", "0", "--name", "none", cwd=folder)
    assert "none lacks scores of 'sorm' for " in error_line("replay", "none", "--tune-on", "same", cwd=folder)


def test_a_record_whose_tuning_makes_no_sense_is_refused(folder: Path) -> None:
    refine_eval("replay", "eight", "--tune-on", "halves", "--name", "crossed", cwd=folder)
    good = tuning(folder, "crossed")
    for change, said in (
        ({"on": "train"}, "its thresholds were tuned on 'train'"),
        ({"thresholds": []}, "have not one value each"),
        ({"thresholds": [{**good["thresholds"][0], "values": [0.5]}]}, "or two with halves"),
        ({"thresholds": [{**good["thresholds"][0], "values": [7, 0.5]}]}, "'values' is 7"),
        ({"problems": -1}, "'problems' is -1"),
    ):
        write_gated(folder / "results", "bad", tuning={**good, **change})
        with pytest.raises(RunError, match="is corrupt"):
            load_run("bad", results=folder / "results")
        assert said in error_line("replay", "bad", cwd=folder)


def test_a_run_has_the_threshold_of_another(folder: Path) -> None:
    words = ("--limit", "3", "--refiner", "local", "--tune-on", "other", "--name", "run")
    assert "other lacks what 'global' makes of 5 of 5 texts" in error_line(
        "run", "-q", "--limit", "3", "--tune-on", "other", cwd=folder
    )
    refine_eval("run", "-q", *words, cwd=folder)
    record = load_run("run", results=folder / "results")
    assert record.settings["refine_below"] == 0.56
    assert record.settings["command"].endswith("--tune-on other --name run")
    assert "refine-below 0.56: tuned on 5 problems of gsm8k (run other)" in str(record)
    assert not any(row.tuned for row in record.rows)
    with pytest.raises(UsageError, match="--refine-below is given"):
        tuned_on(RunSettings(tune_on="other", refine_below=0.5, results=folder / "results"), registry())
    made = refine_eval("replay", "run", "--tune-on", "other", "--generate-missing", "--name", "made", cwd=folder).stdout
    assert "0 texts written" in made
    assert load_run("made", results=folder / "results").settings["tuning"] == record.settings["tuning"]
