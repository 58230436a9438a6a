"""From the bundled task's questions to labels, with the bundled student."""

from pathlib import Path

from in_process import refine_eval

from refine_eval.plugin.registry import registry
from refine_eval.stages.folder import read_folder
from refine_eval.tasks.task import LmEvalTask


def test_the_bundled_student_from_questions_to_labels(tmp_path: Path) -> None:
    options = ("--limit", "4", "-q")
    refine_eval("collect", *options, "--samples", "4", "--temperature", "1.3", "--out", "samples", cwd=tmp_path)
    task = LmEvalTask("apples", registry().benchmarks())
    problems = {problem.id: problem for problem in task.questions("train", 4)}
    rows = list(read_folder(tmp_path / "samples", "collect").rows("samples.jsonl"))
    assert [row["id"] for row in rows] == list(problems)
    right = [task.grade(row["id"], s["text"])["flexible-extract"] for row in rows for s in row["samples"]]
    assert [sample["right"] for row in rows for sample in row["samples"]] == right
    assert read_folder(tmp_path / "samples", "collect").counts["right"] == sum(right)
    assert 0 < sum(right) < 16
    refine_eval("label", "samples", "-q", "--rollouts", "2", "--out", "labels", cwd=tmp_path)
    for row in read_folder(tmp_path / "labels", "label").rows("labels.jsonl"):
        assert len(row["labels"]) == len(row["steps"])
        assert row["labels"] == sorted(row["labels"], reverse=True), "rule 1"
        for length, rest in row["verified"].items():
            text = "\n".join([*row["steps"][: int(length)], *rest])
            assert task.grade(row["id"], text)["flexible-extract"]
