"""Tasks over another split than their test problems."""

from pathlib import Path

import pytest
from in_process import refine_eval

from refine_eval.errors import TaskError
from refine_eval.plugin.registry import registry
from refine_eval.tasks.task import LmEvalTask
from refine_eval.tasks.truth import known_problems, knows_steps


def task(name: str) -> LmEvalTask:
    return LmEvalTask(name, registry().benchmarks())


def test_a_named_split_is_what_lm_eval_evaluates() -> None:
    named, plain = task("apples:validation"), task("apples")
    validation = plain.questions("validation", 5)
    assert [doc["question"] for doc in list(named.task.eval_docs)[:5]] == [each.question for each in validation]
    assert [each.question for each in named.questions("test", 5)] == [each.question for each in validation]
    assert [each.question for each in plain.questions("test", 5)] != [each.question for each in validation]
    assert named.benchmark is plain.benchmark


def test_its_problems_and_their_truth_are_known_by_its_name() -> None:
    known = known_problems("apples:validation", registry().benchmarks())
    assert list(known)[:2] == ["apples:validation/0", "apples:validation/1"]
    assert knows_steps("apples:validation", registry().benchmarks())
    assert not set(known) & set(known_problems("apples", registry().benchmarks()))


def test_a_split_that_is_no_other_one_is_refused() -> None:
    for name, message in (
        ("apples:test", "The problems of apples:test are those that apples runs anyway; write --tasks apples"),
        ("apples:training", "No task is called 'apples:training'"),
    ):
        with pytest.raises(TaskError, match=message):
            task(name)
    with pytest.raises(TaskError, match="names a split already; write apples and --split train"):
        task("apples:validation").questions("train", 1)


def test_a_split_that_the_task_does_not_have_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFINE_EVAL_DATA", str(data_dir))
    with pytest.raises(TaskError, match="has no split 'validation'; it has: train, test"):
        task("gsm8k_zero_shot:validation")


def test_a_run_of_another_split_tunes_the_thresholds_of_one_of_the_test_problems(tmp_path: Path) -> None:
    of_both = ("--limit", "6", "--critic", "calculator", "--refiner", "resample", "--selector", "gate", "-q")
    for name, tasks in (("held-out", "apples:validation"), ("mine", "apples")):
        refine_eval("run", "--tasks", tasks, "--name", name, *of_both, cwd=tmp_path)
    said = refine_eval("replay", "mine", "--tune-on", "held-out", cwd=tmp_path).stdout
    assert "tuned on 6 problems of apples:validation (run held-out)" in said
    refused = refine_eval("replay", "mine", "--tune-on", "mine", cwd=tmp_path, expect=1).stderr
    assert "mine is over the very problems of apples" in refused
