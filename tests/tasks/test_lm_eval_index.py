"""Tasks that no plugin brings are found without reading all of lm-eval's files again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from made_tasks import NUMBER, benchmark

from refine_eval.errors import TaskError
from refine_eval.tasks import lm_eval_index
from refine_eval.tasks.lm_eval_index import task_file, task_names
from refine_eval.tasks.loading import check_name, load


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """lm-eval's folder, with one task whose documents lie beside it."""
    folder = tmp_path / "tasks"
    rows = [{"question": "What comes before 2?", "answer": "1"}]
    beside = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder}/rows.jsonl}}}}\n"
    benchmark(folder, f"{NUMBER}{beside}doc_to_text: !function made_functions.shown", {}, "def shown(doc): return 'Q'")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(lm_eval_index, "FOLDER", folder)
    return folder


@pytest.fixture
def process(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Begins a new process, as far as the index knows; returns the list to which each reading of all files adds."""

    def begin() -> list[str]:
        read: list[str] = []

        def manager() -> TaskManager:
            read.append("all")
            return TaskManager(include_defaults=False, include_path=str(tasks))

        lm_eval_index._indexed.cache_clear()
        monkeypatch.setattr(lm_eval_index, "TaskManager", manager)
        return read

    yield begin
    lm_eval_index._indexed.cache_clear()


def test_all_files_are_read_once(tasks: Path, process: Callable[[], list[str]]) -> None:
    read = process()
    assert task_file("made") == tasks / "made.yaml"
    assert task_names() == ["made"]
    assert read == ["all"]
    read = process()
    assert task_file("made") == tasks / "made.yaml"
    check_name("made:test", {})
    assert read == []
    with pytest.raises(TaskError, match=r"No task is called 'mad'. Did you mean 'made'\?"):
        check_name("mad", {})
    assert read == ["all"]


def test_a_task_that_was_renamed_added_or_removed_since_is_seen(tasks: Path, process: Callable[[], list[str]]) -> None:
    process()
    assert task_file("made")
    text = (tasks / "made.yaml").read_text()
    (tasks / "other.yaml").write_text(text.replace("task: made", "task: other"))
    process()
    assert task_file("other") == tasks / "other.yaml"
    (tasks / "made.yaml").write_text(text.replace("task: made", "task: renamed"))
    process()
    assert task_file("made") is None
    assert task_file("renamed") == tasks / "made.yaml"
    (tasks / "made.yaml").unlink()
    process()
    assert task_file("renamed") is None


SPOILT = {"empty": "", "list": "[]", "number": '{"made": 3}', "gone": '{"made": "none.yaml"}', "deep": "[" * 100_000}


@pytest.mark.parametrize("kept", SPOILT.values(), ids=SPOILT)
def test_what_was_kept_may_be_spoilt(kept: str, tasks: Path, process: Callable[[], list[str]]) -> None:
    process()
    assert task_file("made")
    (place,) = (tasks.parent / "cache").rglob("tasks-of-lm-eval-*.json")
    place.write_text(kept)
    read = process()
    assert task_file("made") == tasks / "made.yaml"
    assert read == ["all"]
    place.unlink()
    place.mkdir()
    process()
    assert task_file("made") == tasks / "made.yaml"


def test_a_task_is_loaded_as_lm_eval_loads_it_by_name(tasks: Path, process: Callable[[], list[str]]) -> None:
    process()
    by_name: Any = TaskManager(include_defaults=False, include_path=str(tasks)).load(["made"])["tasks"]["made"]
    task = load("made", {}, None)
    assert type(task) is type(by_name)
    assert task.config.to_dict() == by_name.config.to_dict()
    assert [task.doc_to_text(doc) for doc in task.eval_docs] == ["Q"]
