"""`refine-eval critics` as typed: files of each form, a task's drafts, thresholds, the record and its page."""

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import error_line, refine_eval, student
from labelled import ROWS, row, write_lines, write_mr_gsm8k
from records import HOSTILE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mr_gsm8k(tmp_path: Path) -> str:
    return str(write_mr_gsm8k(tmp_path / "mr.json"))


def figures(*arguments: str, cwd: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(refine_eval("critics", "eval", "-q", "--json", *arguments, cwd=cwd).stdout)
    return found


def test_arithmetic_on_a_file_of_mr_gsm8k(tmp_path: Path, mr_gsm8k: str) -> None:
    printed = refine_eval("critics", "eval", "-q", "--critic", "calculator", "--data", mr_gsm8k, cwd=tmp_path).stdout
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[0] == (
        "mr.json (mr-gsm8k): 6 solutions, 3 with a wrong step and 3 without; thresholds: each critic's own"
    )
    for line in (
        "calculator",
        "solutions (problems) 6 (3)",
        "final answers: AUC % 100.0 (43.9 to 100.0)",
        "wrong ones: first error found % 100.0 (43.9 to 100.0)",
        "F1 of these two % 100.0 (44.8 to 100.0)",
        "lowest score on the last step % 0.0 (0.0 to 56.1)",
        "thresholds: steps, answers 0.5, 0.5",
        "tokens read 0.0",
    ):
        assert line in lines
    assert not (tmp_path / "results" / "runs").exists()


def test_json_has_the_parts_of_the_data_and_each_critic(tmp_path: Path, mr_gsm8k: str) -> None:
    found = figures("--critic", "calculator", "--critic", "oracle-steps", "--data", mr_gsm8k, cwd=tmp_path)
    assert [each["name"] for each in found["critics"]] == ["calculator", "oracle-steps"]
    assert [each["needs_gold"] for each in found["critics"]] == [False, True]
    calculator = found["critics"][0]
    assert set(calculator["subsets"]) == {"original", "POT"}
    assert calculator["subsets"]["POT"]["first_error"]["value"] == 1
    assert calculator["subsets"]["POT"]["f1"] is None
    assert calculator["subsets"]["POT"]["undefined"]["f1"] == "every solution has a wrong step"
    assert calculator["figures"]["f1"] == {
        "value": 1.0, "low": pytest.approx(0.448, abs=0.001), "high": 1.0, "problems": 3, "cases": 6
    }  # fmt: skip
    assert found["details"]["files"][0]["name"] == "mr.json"
    assert found["command"].endswith("--data mr.json")


def test_what_sees_gold_is_marked_and_what_is_not_defined_is_said(tmp_path: Path) -> None:
    data = str(write_lines(tmp_path / "prm.jsonl", [ROWS["prmbench"]]))
    printed = refine_eval("critics", "eval", "-q", "--critic", "oracle-steps", "--data", data, cwd=tmp_path).stdout
    assert "oracle-steps *" in printed
    assert "* sees the gold answers: an upper bound, not a method" in printed
    assert (
        "not defined, as no label says whether final answers are right: "
        "final answers: accuracy; final answers: AUC; final answers: Brier; final answers: ECE\n"
    ) in printed
    assert "leave out the critics that see gold" in error_line(
        "critics", "eval", "-q", "--critic", "oracle", "--data", data, cwd=tmp_path
    )


def test_rows_that_were_left_out_are_counted_and_hostile_ones_do_nothing(tmp_path: Path) -> None:
    broken = [row("plain", first_bad=9, question=f"{at}?") for at in range(3)]
    hostile = row("plain", question=HOSTILE, steps=[HOSTILE], solution=..., source=HOSTILE)
    path = tmp_path / "\x1b[2J.jsonl"
    printed = refine_eval(
        "critics", "eval", "-q", "--critic", "calculator", "--data", str(write_lines(path, [*broken, hostile])),
        cwd=tmp_path,
    ).stdout  # fmt: skip
    assert "rows left out: 3 (3: 'first_bad' names no step (first: " in printed
    assert "not defined, as all final answers are right: final answers: AUC" in printed
    assert "\x1b" not in printed


def test_thresholds_come_from_the_other_half_or_from_other_problems(tmp_path: Path) -> None:
    def some(name: str, first: int) -> str:
        rows = [
            row(
                "plain",
                question=f"What is {at} + 1?",
                steps=[f"{at} + 1 = {at + 1 + at % 2}", f"#### {at + 1}"],
                first_bad=0 if at % 2 else None,
                correct=at % 2 == 0,
                problem=...,
                solution=...,
            )
            for at in range(first, first + 16)
        ]
        return str(write_lines(tmp_path / name, rows))

    data, other = some("data.jsonl", 0), some("other.jsonl", 100)
    halves = figures("--critic", "calculator", "--data", data, "--tune-on", "halves", cwd=tmp_path)
    assert (halves["tuned"], halves["critics"][0]["figures"]["f1"]["value"]) == ("halves", 1)
    apart = figures("--critic", "calculator", "--data", data, "--tune-data", other, cwd=tmp_path)
    assert apart["tuned"] == "other.jsonl"
    assert apart["critics"][0]["thresholds"] == [{"steps": 0.5, "answers": 0.5}]
    assert apart["details"]["tuned_on"]["solutions"] == 16
    same = ("critics", "eval", "--critic", "calculator", "--data", data, "--tune-data")
    assert "has 16 of the problems that are measured on, such as 'What is 0 + 1?'" in error_line(
        *same, data, cwd=tmp_path, expect=2
    )
    one_kind = write_lines(tmp_path / "one.jsonl", [row("plain")])
    assert "Thresholds cannot be chosen on the file of --tune-data" in error_line(*same, str(one_kind), cwd=tmp_path)


def test_options_that_do_not_go_together(tmp_path: Path, mr_gsm8k: str) -> None:
    def sentence(*arguments: str) -> str:
        return error_line("critics", "eval", "-q", "--critic", "calculator", *arguments, cwd=tmp_path, expect=2)

    data = ("--data", mr_gsm8k)
    assert "--data FILE, or --task TASK" in sentence()
    assert "one of the two" in sentence(*data, "--task", "apples")
    assert "--form is of the files" in sentence("--task", "apples", "--form", "plain")
    assert "give one of them" in sentence(*data, "--tune-on", "halves", "--tune-data", mr_gsm8k)
    assert "--drafts is of the drafts of --task" in sentence(*data, "--drafts", "2")
    assert "--steps is of the drafts of --task" in sentence(*data, "--steps", "lines")
    assert "--sorm-threshold is an option of critic 'sorm', which takes no part" in sentence(
        *data, "--sorm-threshold", "0.2"
    )
    assert "calculater" in error_line("critics", "eval", "--critic", "calculater", *data, cwd=tmp_path)
    done = refine_eval("critics", "eval", "--critic", "calculator", *data, "--refiner", "local", cwd=tmp_path, expect=2)
    assert "--refiner" in done.stderr


def test_a_critic_that_samples_needs_a_student_and_asks_once_a_question(tmp_path: Path, mr_gsm8k: str) -> None:
    command = ("critics", "eval", "-q", "--critic", "agreement", "--data", mr_gsm8k, "--agreement-samples", "2")
    assert "pass --model-args pretrained=NAME" in error_line(*command, cwd=tmp_path, expect=2)
    asked = []

    def says(request: Any) -> str:
        asked.append(request.problem.question)
        return "So it is 3." if "buys 0" in request.prompt else "#### 99"

    with student(says, "runs.judging"):
        found = json.loads(refine_eval(*command, "--json", cwd=tmp_path).stdout)["critics"][0]
        refine_eval(*command, cwd=tmp_path)
    assert len(asked) == 6  # two texts of each of three questions, though each has two solutions; then none
    assert found["figures"]["accuracy"]["value"] == 4 / 6
    assert found["cost"]["tokens"] > 0


def test_the_record_and_its_page(tmp_path: Path, mr_gsm8k: str) -> None:
    (tmp_path / "results").mkdir()
    command = ("critics", "eval", "-q", "--critic", "calculator", "--critic", "oracle", "--data", mr_gsm8k)
    refine_eval(*command, "-o", "results/critics.json", cwd=tmp_path)
    assert "stale" in error_line("critics", "table", "--check", cwd=tmp_path)
    refine_eval("critics", "table", cwd=tmp_path)
    page = (tmp_path / "results" / "critics.md").read_text()
    assert "- oracle: no step is ever named, and MCC is of the score of the whole\n" in page
    assert "| F1 of these two % | 100.0 (44.8 to 100.0) | " in page
    assert "seconds" not in page.partition("| --- |")[2].partition("\n\n")[0]
    assert "up to date" in refine_eval("critics", "table", "--check", cwd=tmp_path).stdout
    (tmp_path / "results" / "critics.md").write_text(page + "\n")
    assert "write it again: refine-eval critics table" in error_line("critics", "table", "--check", cwd=tmp_path)
    (tmp_path / "results" / "critics.json").write_text('{"format": 2}')
    assert "its format is 2, and this version reads 1" in error_line("critics", "table", cwd=tmp_path)
    assert "cannot be written" in error_line(*command, "-o", "nowhere/critics.json", cwd=tmp_path)


def test_a_tasks_drafts(tmp_path: Path) -> None:
    sampled = ("--task", "apples", "--limit", "8", "--drafts", "3", "--draft-temperature", "1.5")
    found = figures("--critic", "sorm", "--critic", "oracle-steps", *sampled, cwd=tmp_path)
    sorm, oracle = found["critics"]
    assert sorm["figures"]["problems"] == 8
    assert 8 < sorm["figures"]["solutions"] <= 24
    assert sorm["identity"].startswith("critic:sorm:")
    assert sorm["cost"]["read_tokens"] > 50
    assert sorm["cost"]["flops"] > 0
    assert (oracle["figures"]["first_error"]["value"], oracle["figures"]["right_ones"]["value"]) == (1, 1)
    assert found["details"]["task"] == "apples"


def test_the_published_page_is_of_the_bundled_critics() -> None:
    from refine_eval.models.sources import model_identity, resolve_model
    from refine_eval.plugin.registry import registry

    refine_eval("critics", "table", "--check", cwd=ROOT)
    found = json.loads((ROOT / "results" / "critics.json").read_text())
    by_name = {each["name"]: each for each in found["critics"]}
    of_a_real_model = {"judge", "prm"}
    bundled_ones = {found.name for found in registry().all("critic")} - of_a_real_model
    assert set(by_name) == bundled_ones, "make the record again"
    for name in ("sorm", "orm"):
        bundled: Any = registry().component("critic", name)
        assert model_identity(resolve_model(str(bundled.bundled))) in by_name[name]["identity"], "make the record again"
