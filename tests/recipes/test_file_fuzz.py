"""Suites, recipes and recorded solutions of others: read, or refused in one sentence."""

from pathlib import Path

import pytest
import tiny_models as tiny
import yaml
from chain_recipe import RECIPE
from fuzz import accepted_or_refused, as_json, broken_bytes, broken_tree, fuzz
from hypothesis import strategies as st
from in_process import error_line

from refine_eval.cli.recipe_stages import parse
from refine_eval.cli.run import run, words_of_suite
from refine_eval.engines.recorded import RecordedEngine, RecordedOptions
from refine_eval.errors import TaskError
from refine_eval.recipes.files import read_recipe
from refine_eval.recipes.work import WorkFolder
from refine_eval.tasks.loading import check_name

SUITE = """
description: Three.
every: {tasks: apples, seed: 0, refiner: [local, global], model-args: {max_length: 64}}
runs:
  first:
  second: {refiner: resample, seed: 3, limit: 5, refine-below: 0.5}
  third: {tasks: [apples, svamp], critic: calculator}
training: {questions: 5, samples: 2, rollouts: 2}
"""
WORK = {"stages": {"gold": {"key": "a", "digest": "b", "inputs": {"c": "d"}, "seconds": 1.5, "command": "x"}}}
ROWS = [{"question": f"How many {n}?", "first": "#### 1", "other": {"solution": "#### 2", "tokens": 3}} for n in "abc"]


@pytest.fixture(scope="module", autouse=True)
def lm_evals_tasks_are_known() -> None:
    """lm-eval lists its tasks once a process, which takes seconds: not those of the example that first names one."""
    with pytest.raises(TaskError):
        check_name("no such task", {})


def damaged(text: str) -> st.SearchStrategy[bytes]:
    """A file as text with damages, and its values with damages."""
    return broken_bytes(text.encode()) | broken_tree(yaml.safe_load(text)).map(as_json)


@fuzz(content=damaged(SUITE))
def test_a_damaged_suite_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "suite.yaml"
    path.write_bytes(content)

    def read() -> None:
        for name, words in words_of_suite(path, []).items():
            assert words[:2] == ["--name", name]
            assert all(isinstance(word, str) for word in words)

    accepted_or_refused(read)


@fuzz(content=damaged(RECIPE))
def test_a_damaged_recipe_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    accepted_or_refused(lambda: read_recipe(path, {}, parse))


@fuzz(content=broken_bytes(yaml.safe_dump(WORK).encode()) | broken_tree(WORK).map(as_json))
def test_a_damaged_work_folder_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    accepted_or_refused(lambda: WorkFolder(tmp_path, ()))


@fuzz(content=broken_bytes(b"\n".join(map(as_json, ROWS))) | broken_tree(ROWS).map(lambda rows: _lines(rows)))
def test_damaged_recorded_solutions_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "solutions.jsonl"
    path.write_bytes(content)
    engine = RecordedEngine(RecordedOptions(path=str(path), field="first", samples=("other",)))
    accepted_or_refused(lambda: engine.open(tiny.CPU))


def _lines(rows: object) -> bytes:
    return b"\n".join(map(as_json, rows if isinstance(rows, list) else [rows]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("runs: {a: {critic: [orm, sorm]}}", "run 'a': critic is ['orm', 'sorm'], and takes one value."),
        ("runs: {a: {seed: [1, 2]}}", "run 'a': seed is [1, 2], and takes one value."),
        ("runs: {a: {model: true, limit: 5}}", "run 'a': model is true, as only a flag can be; give it a value."),
        ("runs: {a: {seed: false}}", "run 'a': seed is false, as only a flag can be"),
        ("runs: {a: {critic: ''}}", "run 'a': critic is an empty text; give it a value, or leave it out."),
        ("runs: {a: {limt: 3}}", "run 'a': No option is called --limt. Did you mean '--limit'?"),
        ("runs: {a: {limit: 99999999999999999999999}}", "run 'a': --limit must be a whole number of at least 1 and at"),
        ("runs: {a: {limit: 12:30}}", "run 'a': --limit must be a whole number of at least 1, not '12:30'."),
        ("runs: {a b: {}}", "run 'a b': --name 'a b' cannot name a folder"),
        ("runs: {a: {tasks: [apples, svamp]}, a-svamp: {}}", "two runs would have the record 'a-svamp'; rename one."),
        ("runs: {a: {}}\ndescription: [b]", "`description` is a text, not ['b']."),
        ("runs: {a: {}}\ntraining: [b]", "`training` takes NAME: VALUE pairs, not ['b']."),
        ("runs: {a: {}}\nrun: {}", "it has the key 'run'. Did you mean 'runs'?"),
        ("[a, b]", "is not a suite: it has no runs"),
        ("", "is not a suite: it has no runs"),
    ],
)
def test_what_a_suite_says_is_done_or_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "suite.yaml").write_text(text)
    assert says in error_line("run", "--suite", "suite.yaml", cwd=tmp_path, expect=2)


def test_words_of_yaml_1_1_are_what_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("runs: {no: {seed: 017, limit: 1_000, device: off}, on: {tasks: 2024-01-31}}")
    found = words_of_suite(path, [])
    assert found == {
        "no": ["--name", "no", "--seed", "017", "--limit", "1_000", "--device", "off"],
        "on": ["--name", "on", "--tasks", "2024-01-31"],
    }
    context = run.make_context("run", found["no"])
    assert (context.params["seed"], context.params["limit"]) == (17, 1000)
