"""What everybody but the student reads of a problem."""

from pathlib import Path
from typing import Any

import pytest
from made_tasks import NUMBER, made_task

from refine_eval.plugin.registry import registry
from refine_eval.tasks.task import LmEvalTask


def row(n: int, **more: Any) -> dict[str, Any]:
    return {"question": f"How many are {n} and {n}?", "answer": str(2 * n), **more}


def shown(folder: Path, doc_to_text: str, rows: list[dict[str, Any]]) -> list[str]:
    task = made_task(folder, f'doc_to_text: "{doc_to_text}"\n' + NUMBER, rows)
    return [problem.question for problem in task.questions("test")]


@pytest.mark.parametrize("frame", ["Question: {}\\nAnswer:", "{}", "You are good at sums.\\n\\n{} Think."])
def test_what_stands_around_every_question_is_no_part_of_it(tmp_path: Path, frame: str) -> None:
    rows = [row(n, source="a book of sums") for n in range(5)]
    assert shown(tmp_path, frame.replace("{}", "{{question}}"), rows) == [doc["question"] for doc in rows]


def test_a_passage_reaches_everybody(tmp_path: Path) -> None:
    rows = [row(n, passage=f"There were {n} hens.") for n in range(5)]
    found = shown(tmp_path, "Passage: {{passage}}\\nQuestion: {{question}}\\nAnswer:", rows)
    assert found == [f"Passage: {doc['passage']}\nQuestion: {doc['question']}\nAnswer:" for doc in rows]


def test_a_passage_that_all_problems_share_is_no_frame(tmp_path: Path) -> None:
    rows = [row(n, passage="There were some hens.") for n in range(3)]
    assert all("some hens" in text for text in shown(tmp_path, "{{passage}}\\n{{question}}", rows))
    assert "some hens" in shown(tmp_path, "{{passage}}\\n{{question}}", rows[:1])[0]


def test_options_in_a_list_are_shown(tmp_path: Path) -> None:
    rows = [row(n, options=[f"{n} pears", f"{2 * n} pears"]) for n in range(3)]
    found = shown(tmp_path, "{{question}}\\n{{options | join(', ')}}", rows)
    assert found[1] == "How many are 1 and 1?\n1 pears, 2 pears"


def test_a_document_without_a_question_is_all_that_the_task_shows(tmp_path: Path) -> None:
    rows = [{"sum": f"{n}+{n}", "answer": str(2 * n)} for n in range(3)]
    assert shown(tmp_path, "Add: {{sum}} =", rows) == [f"Add: {doc['sum']} =" for doc in rows]


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_zero_shot", "svamp", "apples", "apples_practice"])
def test_the_questions_of_the_bundled_tasks_are_the_bare_ones(name: str, data_dir: Path) -> None:
    task = LmEvalTask(name, registry().benchmarks(), data_dir=data_dir)
    assert [p.question for p in task.questions("test")] == [d["question"].strip() for d in task.task.test_docs()]
    assert [p.question for p in task.questions("train", 300)] == [
        d["question"].strip() for d in list(task.task.training_docs())[:300]
    ]
