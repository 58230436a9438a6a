"""The harness as a library: runs as the command makes them, records read back, tables for notebooks, clear errors."""

import inspect
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import refine_eval
from refine_eval import Run, evaluate, load_run
from refine_eval.cli import cli
from refine_eval.plugin.registry import registry
from refine_eval.results.manifest import write_manifest
from refine_eval.runs.command import command_line
from refine_eval.runs.settings import RunSettings
from refine_eval_benchmarks.apples import generate

PROBLEMS = 12
KINDS = ("critic", "refiner", "selector")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third draft is wrong; one of two samples is right."""
    path = tmp_path_factory.mktemp("script") / "script.jsonl"
    with path.open("w") as file:
        for number, problem in enumerate(generate("test", PROBLEMS)):
            wrong = "1+1=3\n#### 1"
            texts = {"draft": problem["answer"] if number % 3 else wrong, "sample": [wrong, problem["answer"]]}
            file.write(json.dumps({"question": problem["question"], "texts": texts}) + "\n")
    return path


@pytest.fixture
def arguments(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a run with nothing to load, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(script, "script.jsonl")
    return {
        "task": "apples",
        "model": "scripted",
        "model_args": {"path": "script.jsonl"},
        "critic": "calculator",
        "refiner": "resample",
        "refiner_options": {"resample": {"samples": 2}},
        "selector": ["rerank", "vote"],
        "limit": PROBLEMS,
    }


@pytest.fixture
def run(arguments: dict[str, Any]) -> Run:
    return evaluate(**arguments, name="mine")


def test_a_run_has_its_table_its_traces_and_its_record(run: Run) -> None:
    assert (run.name, run.folder, run.filter) == ("mine", Path("results/runs/mine"), "flexible-extract")
    correct = {row.name: row.correct[run.filter] for row in run.rows}
    assert correct == {"draft": 8, "resample": 0, "rerank": 12, "vote": 8, "gate": 12, "oracle": 12}
    assert len(run.traces) == PROBLEMS
    assert all(trace.problem.question for trace in run.traces)
    assert run.traces[0].choice.id == "1.resample.1"
    assert run.settings["refiners"][0]["options"]["samples"] == 2


def test_it_is_the_run_that_the_command_makes(arguments: dict[str, Any]) -> None:
    ours = evaluate(**arguments)
    traces = {path.name: path.read_bytes() for path in ours.folder.iterdir() if path.name.startswith("traces")}
    assert traces
    shutil.rmtree("results")
    words = [
        *("run", "--task", "apples", "--model", "scripted", "--model-args", "path=script.jsonl"),
        *("--limit", str(PROBLEMS), "--critic", "calculator", "--refiner", "resample", "--resample-samples", "2"),
        *("--selector", "rerank", "--selector", "vote", "--quiet"),
    ]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    theirs = load_run(ours.name)  # the same name, as it is made from the settings
    assert {path.name: path.read_bytes() for path in theirs.folder.iterdir() if path.name in traces} == traces
    assert [row.correct for row in theirs.rows] == [row.correct for row in ours.rows]


def test_the_record_says_what_to_type_to_make_it_again(arguments: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "refine_below": 0.5,
        "rounds": 2,
        "seed": 3,
        "selector_options": {"gate": {"threshold": 0.25}},
    }
    run = evaluate(**arguments, **given)
    words = shlex.split(run.settings["command"])
    assert words[:2] == ["refine-eval", "run"]
    done = CliRunner().invoke(cli, [*words[1:], "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    again = json.loads(done.stdout)[0]
    assert (again["record"], again["generated"]) == (str(run.folder), 0)
    assert load_run(run.name).settings["selectors"] == run.settings["selectors"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {("critic", "orm"): {"engine_args": {"dtype": "float32", "seed": "1"}}},
            "--orm-engine-args dtype=float32,seed=1",
        ),
        ({("refiner", "resample"): {"temperature": 0.5}}, "--resample-temperature 0.5"),
        ({("critic", "sorm"): {"model": "a b"}}, "--sorm-model 'a b'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_of_components_are_in_the_command(options: dict[tuple[str, str], Any], words: str) -> None:
    command = command_line(RunSettings(task="svamp", options=options), registry())
    assert command == f"refine-eval run --task svamp {words}"


def test_a_published_record_is_found_by_its_name(run: Run) -> None:
    Path("results/published").mkdir()
    shutil.move("results/runs/mine", "results/published/mine")
    assert load_run("mine").rows == run.rows


@pytest.mark.parametrize("given", ["mine", "results/runs/mine", Path("results/runs/mine")])
def test_a_record_is_read_by_its_name_or_its_folder(given: str | Path, run: Run) -> None:
    read = load_run(given)
    assert (read.name, read.rows, read.filter, read.settings) == (run.name, run.rows, run.filter, run.settings)
    assert [trace.selected for trace in read.traces] == [trace.selected for trace in run.traces]
    assert {trace.problem.question for trace in read.traces} == {""}, "records hold no questions"
    assert str(read) == str(run)


def test_a_record_elsewhere_is_found_by_its_results_folder(arguments: dict[str, Any], tmp_path: Path) -> None:
    run = evaluate(**arguments, results=tmp_path / "elsewhere", name="mine")
    assert run.folder == tmp_path / "elsewhere" / "runs" / "mine"
    assert load_run("mine", results=tmp_path / "elsewhere").rows == run.rows
    with pytest.raises(refine_eval.RunError, match="mine"):
        load_run("mine")


def test_the_table_as_data_frame(run: Run) -> None:
    frame = run.to_pandas()
    assert list(frame.answer) == [
        *("draft", "resample alone", "chosen: rerank", "chosen: vote", "chosen: gate", "chosen: oracle *"),
    ]
    assert list(frame.correct) == [row.correct[run.filter] for row in run.rows]
    assert list(frame.accuracy) == [row.accuracy(run.filter) for row in run.rows]
    assert list(frame["accuracy (strict-match)"]) == [row.accuracy("strict-match") for row in run.rows]
    assert list(frame.gained) == [row.gained for row in run.rows]
    assert list(frame.needs_gold) == [False] * 5 + [True]


def test_the_candidates_as_data_frame(run: Run) -> None:
    frame = run.to_pandas("candidates")
    assert len(frame) == 3 * PROBLEMS
    assert frame[frame.chosen].correct.sum() == 12
    assert frame[frame.chosen].problem.is_unique
    drafts = frame[frame.candidate == "draft"]
    assert list(drafts.correct) == [trace.correct["draft"][run.filter] for trace in run.traces]
    assert list(drafts.score) == [trace.critiques["draft"]["choose"].score for trace in run.traces]
    assert drafts.first_bad_step.iloc[0] == 0
    with pytest.raises(refine_eval.UsageError, match="not of 'traces'"):
        run.to_pandas("traces")  # type: ignore[arg-type]


def test_without_pandas_the_sentence_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(refine_eval.RefineEvalError, match="pip install pandas"):
        run.to_pandas()


def test_a_notebook_shows_the_table(run: Run) -> None:
    page = run._repr_html_()
    assert page.count("<tr") == 7
    assert "<caption>apples, 12 problems, scripted</caption>" in page
    assert "chosen: oracle *" in page
    assert "an upper bound, not a method" in page
    assert repr(run) == "<Run 'mine': apples, 12 problems, scripted>"
    assert "chosen: rerank       12" in str(run)


def test_names_in_a_record_cannot_reach_the_page(run: Run) -> None:
    path = run.folder / "metrics.json"
    path.write_text(path.read_text().replace('"rerank"', '"<script>alert(1)</script>\\u001b[2J"'))
    path = run.folder / "run.yaml"
    path.write_text(path.read_text().replace("name: scripted", "name: <img src=x>"))
    (run.folder / "manifest.json").unlink()
    write_manifest(run.folder)  # somebody else's record, with hashes of its own: nothing says that it was edited
    page = load_run("mine")._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;img src=x&gt;" in page


def test_nothing_is_printed_unless_asked(arguments: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    evaluate(**arguments)
    assert capfd.readouterr() == ("", "")
    evaluate(**arguments, seed=1, quiet=False)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "12/12" in printed.err


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"critic": "calculatr"}, refine_eval.PluginError, "Did you mean 'calculator'?"),
        ({"refiner": ["resampel"]}, refine_eval.PluginError, "Did you mean 'resample'?"),
        ({"task": "appels"}, refine_eval.TaskError, "Did you mean 'apples'?"),
        ({"critic_options": {"sorm": {"threshold": 0.3}}}, refine_eval.UsageError, "'sorm', which takes no part"),
        ({"critic_options": {"sromm": {}}}, refine_eval.PluginError, "No critic is called 'sromm'"),
        ({"refiner_options": {"samples": 2}}, refine_eval.UsageError, "refiner_options gives options by name"),
        ({"refiner_options": {"resample": {"sample": 2}}}, refine_eval.UsageError, "Did you mean 'samples'?"),
        ({"refiner_options": {"resample": {"samples": "two"}}}, refine_eval.UsageError, "'two'"),
        ({"model_args": ["path"]}, refine_eval.UsageError, "model_args is a dict"),
        ({"model_args": "path"}, refine_eval.UsageError, "name=value"),
        ({"rounds": 0}, refine_eval.UsageError, "rounds"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_in_one_sentence(
    change: dict[str, Any], error: type[Exception], message: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(error) as raised:
        evaluate(**arguments | change)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_model_args_may_be_the_commands_text(arguments: dict[str, Any]) -> None:
    assert evaluate(**arguments | {"model_args": "path=script.jsonl"}).rows[0].correct["flexible-extract"] == 8


def test_its_parameters_are_the_commands_options() -> None:
    command = cli.get_command(None, "run")  # type: ignore[arg-type]
    assert command is not None
    flags = {option.opts[0].lstrip("-").replace("-", "_") for option in command.params}
    expected = flags - {"columns", "json", "suite", "tasks"} | {"task"}
    assert set(inspect.signature(evaluate).parameters) - {f"{kind}_options" for kind in KINDS} == expected
