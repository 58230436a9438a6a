"""Suites: files of runs, and `refine-eval run --suite`."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from in_process import error_line, refine_eval

from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.errors import PluginError, UsageError
from refine_eval.plugin.runtime import EngineRuntime
from refine_eval.recipes.suites import Training, read_suite
from refine_eval.results.records import read_run, read_runs
from refine_eval_benchmarks.apples import generate


def words(text: str, folder: Path) -> dict[str, list[str]]:
    """For each run of a suite what is typed after its name."""
    path = folder / "suite.yaml"
    path.write_text(text)
    found = {}
    for name, (flag, same_name, *rest) in read_suite(path).runs.items():
        assert (flag, same_name) == ("--name", name)
        found[name] = rest
    return found


def test_own_options_take_the_place_of_every_runs(tmp_path: Path) -> None:
    assert words(
        """
        description: Two.
        every: {tasks: apples, seed: 0, refiner: [local, global]}
        runs:
          first:
          second: {refiner: resample, seed: 3, limit: 5}
          3: {tasks: null, refiner: []}
        """,
        tmp_path,
    ) == {
        "first": ["--tasks", "apples", "--seed", "0", "--refiner", "local", "--refiner", "global"],
        "second": ["--tasks", "apples", "--seed", "3", "--refiner", "resample", "--limit", "5"],
        "3": ["--seed", "0"],
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("{quick: true, slow: false, other: null}", "--quick"),
        ("{model_args: {pretrained: a/b, rank: 64, eager: true}}", "--model-args pretrained=a/b,rank=64,eager=true"),
        ("{engine-args: {fields: [a, b]}}", "--engine-args fields=a+b"),
        ("{refine-below: 0.5, seed: 0}", "--refine-below 0.5 --seed 0"),
        ("{model-args: null}", ""),
    ],
)
def test_values_become_words(options: str, expected: str, tmp_path: Path) -> None:
    found = words(f"every: {{model_args: x=y}}\nruns: {{one: {options}}}", tmp_path)
    beginning = [] if "model" in options else ["--model-args", "x=y"]
    assert found == {"one": [*beginning, *expected.split()]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: [", "cannot be read"),
        ("runs:\n  a: {}\n  a: {seed: 1}", "suite.yaml, line 3: 'a' is given twice; remove one."),
        ("- a", "it has no runs"),
        ("every: {seed: 1}", "it has no runs; a suite has `runs: "),
        ("runs: [a, b]", "it has no runs"),
        ("runs: {a: {}}\nevry: {}", "it has the key 'evry'"),
        ("runs: {a: 3}", "a run's options are `OPTION: VALUE` pairs, not 3"),
        ("runs: {a: {suite: other.yaml}}", "suite is no option of one run"),
        ("runs: {a: {name: b}}", "name is no option of one run"),
        ("runs: {a: {refiner: [[local]]}}", "refiner has a value that no command line can have"),
        ("runs: {a: {model-args: {x: {y: z}}}}", "model-args has a value that no command line can have"),
        ("runs: {a: {model-args: {x: null}}}", "model-args has no value in {'x': None}; write one"),
        ("runs: {a: {model-args: x=1, model_args: x=2}}", "line 1: 'model_args' is given twice"),
        ("runs: {a: {}}\ntraining: {questions: 3}", "`training` takes questions, samples, rollouts"),
        (
            "runs: {a: {}}\ntraining: {questions: many, samples: 1, rollouts: 1}",
            "in `training`, questions must be a whole number of at least 1",
        ),
        (
            "runs: {a: {}}\ntraining: {questions: 0, samples: 1, rollouts: 1}",
            "questions must be a whole number of at least 1, not 0.",
        ),
        (
            "runs: {a: {}}\ntraining: {questions: 1, samples: 1, rollouts: 1, temperature: 0}",
            "temperature must be a number above 0 and at most 100, not 0.",
        ),
        ('runs: {a: {}}\ntraining: {"a\\nb": 1}', r"argument 'a b'"),
        ("runs: {a: {}}\ntraining: [1]", "`training` takes"),
    ],
)
def test_what_is_no_suite(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_suite(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "bytes.yaml", tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_suite(path)


def test_training_of_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("runs: {a: {}}\ntraining: {questions: 3, samples: 2, rollouts: 8, per_question: 1}")
    assert read_suite(path).training == Training(questions=3, samples=2, rollouts=8, per_question=1)
    path.write_text("description: Nothing to train.\nruns: {a: {}}")
    assert read_suite(path).training is None


def test_bundled_suites_name_options_that_there_are() -> None:
    from refine_eval.cli.run import run, settings_from, words_of_suite
    from refine_eval_benchmarks import HERE

    suites = sorted([*(HERE / "suites").glob("*.yaml"), *(HERE / "cookbook").glob("*.yaml")])
    suites.remove(HERE / "cookbook" / "rest.yaml")  # a recipe
    for path in suites:
        for name, typed in words_of_suite(path, []).items():
            (settings,) = settings_from(run.make_context("run", typed))
            assert settings.name == name
            assert settings.selectors


PROBLEMS = 4


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a script for a few problems, and a suite of two runs by it."""
    with (tmp_path / "script.jsonl").open("w") as file:
        for problem in generate("test", PROBLEMS):
            texts = {"draft": "#### 0", "sample": [problem["answer"], "#### 1", problem["answer"]]}
            file.write(json.dumps({"question": problem["question"], "texts": texts}) + "\n")
    (tmp_path / "suite.yaml").write_text(
        """
        every: {model: scripted, model-args: {path: script.jsonl}, critic: calculator, refiner: resample}
        runs:
          one: {resample-samples: 1}
          three: {selector: [rerank, vote]}
        """
    )
    return tmp_path


@pytest.mark.parametrize("suite", [["--suite", "suite.yaml"], ["--suite=suite.yaml"]])
def test_each_run_leaves_a_record_whose_command_makes_it_again(suite: list[str], place: Path) -> None:
    done = refine_eval("run", "--limit", "3", *suite, "-q", cwd=place)
    assert done.stdout.count("apples, 3 problems, scripted") == 2
    records = {record.name: record for record in read_runs(place / "results")}
    assert sorted(records) == ["one", "three"]
    for name, record in records.items():
        folder = place / "results" / "runs" / name
        traces = (folder / "traces.jsonl").read_bytes()
        program, *typed = shlex.split(record.settings["command"])
        assert program == "refine-eval"
        assert not any("suite" in word for word in typed)
        refine_eval(*typed, cwd=place)
        assert (folder / "traces.jsonl").read_bytes() == traces
        assert read_run(folder).settings == record.settings
    assert [s["name"] for s in records["three"].settings["selectors"][:2]] == ["rerank", "vote"]
    by_name = {row.name: row for row in records["three"].rows}
    assert by_name["draft"].problems == 3


def test_options_beside_a_suite_go_to_each_run(place: Path) -> None:
    done = refine_eval("run", "--suite", "suite.yaml", "--limit", "2", "--seed", "5", "--json", "-q", cwd=place)
    found = json.loads(done.stdout)
    assert [Path(outcome["record"]).name for outcome in found] == ["one", "three"]
    # A draft and one sample of each problem; then the samples that the first run did not ask for.
    assert [outcome["generated"] for outcome in found] == [2 * 2, 2 * 2]
    for record in read_runs(place / "results"):
        assert (record.settings["task"]["limit"], record.settings["seed"]) == (2, 5)


def test_nothing_runs_where_a_later_run_of_the_suite_is_wrong(place: Path) -> None:
    suite = place / "suite.yaml"
    for wrong, message in (
        ("{selectr: vote}", "No option is called --selectr. Did you mean '--selector'?"),
        ("{orm-threshold: 0.5}", "--orm-threshold"),
        ("{sorm-threshold: 0.5}", "--sorm-threshold is an option of critic 'sorm'"),
    ):
        suite.write_text(f"every: {{critic: calculator, refiner: resample}}\nruns:\n  fine: {{}}\n  wrong: {wrong}\n")
        assert message in error_line("run", "--suite", "suite.yaml", cwd=place, expect=2)
    assert not (place / "results").exists()


def test_names_of_runs(place: Path) -> None:
    line = error_line("run", "--suite", "suite.yaml", "--name", "mine", cwd=place, expect=2)
    assert "--name cannot stand beside --suite" in line
    (place / "suite.yaml").write_text("runs: {a/b: {}}")
    assert "'a/b' cannot name a folder" in error_line("run", "--suite", "suite.yaml", cwd=place, expect=2)


def test_a_name_for_several_tasks_makes_a_record_each() -> None:
    from refine_eval.cli.run import run, settings_from

    for tasks, names in (("apples", ["mine"]), ("apples,svamp,apples", ["mine-apples", "mine-svamp"])):
        context = run.make_context("run", ["--name", "mine", "--tasks", tasks])
        assert [settings.name for settings in settings_from(context)] == names
    with pytest.raises(UsageError, match="--tasks names no task"):
        settings_from(run.make_context("run", ["--tasks", " ,"]))


def test_a_run_closes_what_stays_open_also_after_an_error(place: Path) -> None:
    from refine_eval.runs.pipeline import Pipeline

    typed = ("run", "--suite", "suite.yaml", "--limit", "2", "-q")
    with mock.patch.object(Pipeline, "close", autospec=True) as close:
        refine_eval(*typed, cwd=place)
        assert close.call_count == 2, "once a run"
        with mock.patch.object(Pipeline, "run", side_effect=PluginError("out of paper")):
            assert "out of paper" in error_line(*typed, cwd=place)
        assert close.call_count == 3


@pytest.fixture
def opened_and_closed() -> Iterator[list[str]]:
    """What is done with scripted students, in order: the script's file, or "closed"."""
    done: list[str] = []
    opening, closing = ScriptedEngine.open, ScriptedEngine.close

    def open_(engine: ScriptedEngine, runtime: EngineRuntime) -> None:
        opening(engine, runtime)
        done.append(Path(engine.options.path).name)

    def close(engine: ScriptedEngine) -> None:
        closing(engine)
        done.append("closed")

    with mock.patch.object(ScriptedEngine, "open", open_), mock.patch.object(ScriptedEngine, "close", close):
        yield done


def test_a_student_stays_open_until_a_run_needs_another(place: Path, opened_and_closed: list[str]) -> None:
    (place / "other.jsonl").write_bytes((place / "script.jsonl").read_bytes())
    (place / "suite.yaml").write_text(
        """
        every: {model: scripted, model-args: {path: script.jsonl}, critic: calculator, refiner: resample}
        runs:
          one: {resample-samples: 1}
          two: {}
          other: {model-args: {path: other.jsonl}}
          seeded: {model-args: {path: other.jsonl}, seed: 1}
          again: {model-args: {path: other.jsonl}, seed: 1, selector: vote}
        """
    )
    refine_eval("run", "--suite", "suite.yaml", "--limit", "2", "-q", cwd=place)
    assert opened_and_closed == ["script.jsonl", "closed", "other.jsonl", "closed", "other.jsonl", "closed"]
    together = {record.name: record for record in read_runs(place / "results")}
    for name, record in together.items():
        refine_eval(*shlex.split(record.settings["command"])[1:], cwd=place)
        alone = read_run(place / "results" / "runs" / name)
        assert alone.settings == record.settings
        assert [(row.name, row.correct, row.tokens) for row in alone.rows] == [
            (row.name, row.correct, row.tokens) for row in record.rows
        ]


def test_a_kept_student_is_closed_after_an_error(place: Path, opened_and_closed: list[str]) -> None:
    from refine_eval.runs.pipeline import Pipeline

    working, runs = Pipeline.run, []

    def failing(pipeline: Pipeline, *given: Any) -> Any:
        runs.append(pipeline)
        if len(runs) == 2:
            raise PluginError("out of paper")
        return working(pipeline, *given)

    with mock.patch.object(Pipeline, "run", failing):
        done = refine_eval("run", "--suite", "suite.yaml", "--limit", "2", "-q", cwd=place, expect=1)
    assert "Error: out of paper" in done.stderr
    assert opened_and_closed == ["script.jsonl", "closed"]


def test_a_list_of_tasks_is_all_of_them(tmp_path: Path) -> None:
    assert words("runs: {a: {tasks: [svamp, apples]}}", tmp_path)["a"] == ["--tasks", "svamp,apples"]


FOURTEEN = """
every: {task: apples, limit: 4}
runs:
  glore: {}
  orm-alone: {critic: orm}
  sorm-alone: {critic: sorm}
  local: {critic: sorm, refiner: local}
  global: {critic: sorm, refiner: global}
  gated: {refine-below: 0.5}
  two-rounds: {rounds: 2}
  vote: {selector: vote}
  gate: {selector: gate}
  best-of-3: {refiner: resample, resample-samples: 3}
  best-of-5: {refiner: resample, resample-samples: 5}
  majority: {critic: agreement, agreement-samples: 5, refiner: resample, resample-samples: 5, selector: vote}
  calculator: {where: calculator}
  oracle-steps: {where: oracle-steps}
"""


@pytest.mark.slow
def test_fourteen_strategies_write_each_text_once(tmp_path: Path) -> None:
    """The counter in the record proves it: at most 1.1 times the tokens of the suite's distinct texts."""
    (tmp_path / "suite.yaml").write_text(FOURTEEN)
    said = refine_eval("run", "--suite", "suite.yaml", "-q", cwd=tmp_path).stdout.splitlines()
    folders = sorted((tmp_path / "results" / "runs").iterdir())
    usages = [json.loads((folder / "metrics.json").read_text())["usage"] for folder in folders]
    assert len(usages) == 14
    suite = max((usage["suite"] for usage in usages), key=lambda counts: counts["texts"])
    assert 0 < suite["tokens_now"] <= 1.1 * suite["tokens"]
    for name in ("texts_now", "tokens_now"):
        assert suite[name] == sum(usage["written"][name] for usage in usages)
    assert sum(usage["written"]["tokens"] for usage in usages) > 2 * suite["tokens"], "they share most of their texts"
    assert said[-1] == (
        f"suite: {suite['tokens_now']:,} tokens written now; its distinct texts have {suite['tokens']:,}"
    )
