"""`refine-eval run --name`: what a record may replace."""

import json
from pathlib import Path

import pytest
from in_process import error_line, refine_eval

from refine_eval.results.records import read_run
from refine_eval.runs.record import STAGE_VARIABLE
from refine_eval_benchmarks.apples import generate


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("script") / "script.jsonl"
    rows = [
        {"question": problem["question"], "texts": {"draft": problem["answer"], "sample": [problem["answer"]] * 9}}
        for problem in generate("test", 4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        *("run", "-q", "--model", "scripted", "--model-args", f"path={path}", "--limit", "4"),
        *("--critic", "calculator", "--refiner", "resample"),
    ]


def test_the_record_of_another_run_is_replaced_only_when_asked(command: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "results" / "runs"
    refine_eval(*command, "--name", "mine", cwd=tmp_path)
    (runs / "mine" / "report.html").write_text("a page")
    before = (runs / "mine" / "run.yaml").read_bytes()
    for change, told in (
        (["--limit", "2"], "task.limit 4 and not 2"),
        (["--seed", "1"], "seed 0 and not 1"),
        (["--critic", "agreement"], "when.name 'calculator' and not 'agreement'"),
        (["--selector", "vote"], "selectors 'rerank, gate, oracle' and not 'vote, gate, oracle'"),
        (["--resample-temperature", "0.5"], "options.temperature"),
    ):
        line = error_line(*command, "--name", "mine", *change, cwd=tmp_path)
        assert "mine holds another run, with " in line
        assert told in line
        assert "--overwrite" in line
        assert (runs / "mine" / "run.yaml").read_bytes() == before
    refine_eval(*command, "--name", "mine", "--batch-size", "3", cwd=tmp_path)  # the same run
    refine_eval(*command, "--name", "mine", "--seed", "1", "--overwrite", cwd=tmp_path)
    assert read_run(runs / "mine").settings["seed"] == 1
    assert (runs / "mine" / "report.html").read_text() == "a page"


def test_a_record_that_cannot_be_compared_is_not_replaced_unasked(command: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "results" / "runs" / "mine"
    refine_eval(*command, "--name", "mine", cwd=tmp_path)
    (folder / "run.yaml").write_text("command: [")
    line = error_line(*command, "--name", "mine", cwd=tmp_path)
    assert "mine holds a run record that cannot be compared with this run" in line
    refine_eval(*command, "--name", "mine", "--overwrite", cwd=tmp_path)
    assert read_run(folder).name == "mine"


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_what_is_no_record_is_never_replaced(command: list[str], words: list[str], tmp_path: Path) -> None:
    notes = tmp_path / "results" / "runs" / "notes"
    notes.mkdir(parents=True)
    (notes / "run.yaml").write_text("marathon: 42 km")
    assert "notes is not a run record" in error_line(*command, "--name", "notes", *words, cwd=tmp_path)
    assert (notes / "run.yaml").read_text() == "marathon: 42 km"
    assert not (tmp_path / "results" / "store.sqlite").exists(), "work was done for nothing"


def test_names_are_checked_before_the_first_of_several_runs(command: list[str], tmp_path: Path) -> None:
    notes = tmp_path / "results" / "runs" / "x-apples_practice"
    notes.mkdir(parents=True)
    (notes / "idea.txt").write_text("mine")
    words = ["--name", "x", "--tasks", "apples,apples_practice"]
    assert "x-apples_practice is not a run record" in error_line(*command, *words, cwd=tmp_path)
    assert [path.name for path in notes.parent.iterdir()] == [notes.name]


def test_a_suites_run_and_a_recipes_stage_replace_their_records(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results" / "runs" / "mine"
    for seed in (0, 1):
        (tmp_path / "suite.yaml").write_text(f"runs: {{mine: {{seed: {seed}}}}}")
        refine_eval(*command, "--suite", "suite.yaml", cwd=tmp_path)
        assert read_run(folder).settings["seed"] == seed
    monkeypatch.setenv(STAGE_VARIABLE, "mine")
    refine_eval(*command, "--name", "mine", "--seed", "2", cwd=tmp_path)
    assert read_run(folder).settings["seed"] == 2
