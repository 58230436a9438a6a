"""Label files: every form is read as it is published, and what contradicts itself is named and left out."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fuzz import Accepted, accepted_or_refused, broken_bytes, broken_tree, fuzz
from labelled import ROWS, row, write_lines

from refine_eval.errors import RunError
from refine_eval.results.label_files import MOST_BYTES, LabelFile, read_label_files
from refine_eval.statistics.judged import Labelled


def read(path: Path, *rows: Any, form: str | None = None) -> LabelFile:
    return read_label_files([write_lines(path / "file.jsonl", rows)], form)


def test_processbench(tmp_path: Path) -> None:
    found = read(tmp_path, row("processbench"), row("processbench", id="math-0", label=-1, steps=["It is 7."]))
    assert (found.form, found.rows, found.unused) == ("processbench", 2, ())
    first, second = found.solutions
    assert first.good == (True, False, None)
    assert (first.first_bad, first.correct, first.source) == (1, False, "gsm8k")
    assert first.steps[0] == "First,\nshe has 3 + 4 = 7."
    assert (second.good, second.first_bad, second.source) == ((True,), None, "math")
    assert first.problem == second.problem == "Sue has 3 hens and buys 4. How many?"


def test_mr_gsm8k(tmp_path: Path) -> None:
    sound = {"model_output_solution_correctness": "Correct", "model_output_solution_first_error_step": "N/A"}
    found = read(
        tmp_path,
        row("mr-gsm8k"),
        row("mr-gsm8k", model_output_steps=["3 + 4 = 7", "#### 7"], model_output_answer_correctness="correct", **sound),
        row("mr-gsm8k", model_output_solution_first_error_step=2.0, question="Another?", question_type="POT"),
    )
    assert (found.form, found.unused) == ("mr-gsm8k", ())
    assert [each.good for each in found.solutions] == [(False, None), (True, True), (True, False)]
    assert [each.correct for each in found.solutions] == [False, True, False]
    assert [each.source for each in found.solutions] == ["original", "original", "POT"]


def test_prmbench_and_the_original_process_beside_it(tmp_path: Path) -> None:
    other = row("prmbench", classification="missing_condition", modified_question="What is 2 + 2?", error_steps=[])
    found = read(tmp_path, row("prmbench"), other)
    assert (found.form, found.unused) == ("prmbench", ())
    assert [each.good for each in found.solutions] == [(False, True, False), (True, True), (True, True, True)]
    assert [each.source for each in found.solutions] == ["confidence", "original", "missing_condition"]
    assert [each.correct for each in found.solutions] == [None] * 3
    assert len({each.problem for each in found.solutions}) == 1


def test_plain(tmp_path: Path) -> None:
    labelled = row(
        "plain", steps=["a", "b", "c"], labels=[True, False, True], first_bad=..., solution=..., correct=None
    )
    found = read(tmp_path, row("plain"), labelled, row("plain", steps=["a", "b", "c"], first_bad=1, solution="a b\nc"))
    assert found.form == "plain"
    assert [each.good for each in found.solutions] == [(True, True), (True, False, True)]
    assert (found.solutions[0].problem, found.solutions[0].source) == ("sums", "mine")
    assert [each.correct for each in found.solutions] == [True, None]
    assert [each.reason for each in found.unused] == ["the same solution stands before it"]


def test_json_lines_of_json_and_parquet_are_the_same(tmp_path: Path) -> None:
    rows = [row("processbench", id=f"gsm8k-{at}", problem=f"{at}?") for at in range(3)]
    (tmp_path / "list.json").write_text("\ufeff" + json.dumps(rows, indent=2))
    files = [write_lines(tmp_path / "lines.jsonl", rows), tmp_path / "list.json"]
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "table.parquet")
    files.append(tmp_path / "table.parquet")
    first, *others = (
        [(s.question, s.steps, s.good, s.correct) for s in read_label_files([f]).solutions] for f in files
    )
    assert len(first) == 3
    assert others == [first, first]


def test_several_files_are_one_and_limits_are_of_each(tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / f"{name}.jsonl", [row("processbench", problem=f"{name} {at}") for at in range(3)])
        for name in ("gsm8k", "math")
    ]
    found = read_label_files(files, limit=2)
    assert [each.question for each in found.solutions] == ["gsm8k 0", "gsm8k 1", "math 0", "math 1"]
    assert (found.names, len(set(found.sha256)), found.rows) == (("gsm8k.jsonl", "math.jsonl"), 2, 4)
    with pytest.raises(RunError, match="take the files of each form apart"):
        read_label_files([files[0], write_lines(tmp_path / "other.jsonl", [row("plain")])])


@pytest.mark.parametrize(
    ("form", "changed", "reason"),
    [
        ("processbench", {"label": 3}, "'label' names no step, and is not -1"),
        ("processbench", {"label": -2}, "'label' names no step, and is not -1"),
        ("processbench", {"label": True}, "'label' is True and not a whole number"),
        ("processbench", {"label": None}, "'label' is None and not a whole number"),
        ("processbench", {"steps": []}, "'steps' is empty"),
        ("processbench", {"steps": ["a", " \n"]}, "'steps' has a step that is no text, or nothing but white space"),
        ("processbench", {"steps": "a\nb"}, "'steps' is 'a\\nb' and not a list"),
        ("processbench", {"final_answer_correct": "yes"}, "'final_answer_correct' is 'yes' and not true or false"),
        ("processbench", {"problem": ""}, "'problem' is '' and not a text"),
        (
            "mr-gsm8k",
            {"model_output_solution_first_error_step": 3},
            "'model_output_solution_first_error_step' names no",
        ),
        ("mr-gsm8k", {"model_output_solution_first_error_step": "0"}, "'model_output_solution_first_error_step' names"),
        ("mr-gsm8k", {"model_output_solution_first_error_step": "two"}, "is neither a step nor N/A"),
        (
            "mr-gsm8k",
            {"model_output_solution_first_error_step": "N/A"},
            "its solution is right and has a wrong step, or",
        ),
        (
            "mr-gsm8k",
            {"model_output_solution_correctness": "correct"},
            "its solution is right and has a wrong step, or",
        ),
        ("mr-gsm8k", {"model_output_solution_correctness": ...}, "it has no 'model_output_solution_correctness'"),
        ("mr-gsm8k", {"model_output_answer_correctness": "maybe"}, "'model_output_answer_correctness' is neither"),
        ("prmbench", {"error_steps": [4]}, "'error_steps' names what is no step"),
        ("prmbench", {"error_steps": [0]}, "'error_steps' names what is no step"),
        ("prmbench", {"error_steps": ["1"]}, "'error_steps' is '1' and not a whole number"),
        ("prmbench", {"original_process": [1]}, "'original_process' has a step that is no text"),
        ("plain", {"solution": "2 + 3 = 6\n#### 6"}, "'steps' are not those of 'solution'"),
        ("plain", {"first_bad": 2}, "'first_bad' names no step"),
        ("plain", {"labels": [True]}, "it has not as many 'labels' as 'steps'"),
        ("plain", {"labels": [False, True]}, "'first_bad' is not the first wrong one of 'labels'"),
        ("plain", {"labels": [None, True], "first_bad": ...}, "a step before the first wrong one has no label"),
        ("plain", {"labels": [1, 1]}, "'labels' is 1 and not true or false or null"),
        ("plain", {"first_bad": ...}, "it has neither 'first_bad' nor 'labels'"),
        ("plain", {"question": "\ud83d"}, "and not a text"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_left_out(
    tmp_path: Path, form: str, changed: dict[str, Any], reason: str
) -> None:
    good = row(form)
    found = read(tmp_path, good, row(form, **changed), row(form, **changed), form=form)
    assert sum(each.rows for each in found.unused) == 2
    assert reason in found.unused[0].reason
    assert found.unused[0].first == "file.jsonl, row 2"
    assert found.solutions == read(tmp_path, good, form=form).solutions
    with pytest.raises(RunError, match=r"holds no solution that can be used as .*\(file\.jsonl, row 1\)\."):
        read(tmp_path, row(form, **changed), form=form)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "cannot be read: it has no rows."),
        (b"[]", "cannot be read: it has no rows."),
        (b'{"problem": "a"}\n{', "line 2: "),
        (b'[{"problem": "a"},', "cannot be read: "),
        (b'{"label": NaN}', "line 1: NaN is no number"),
        (b'{"a": 1, "a": 2}', "line 1: the key 'a' is given twice."),
        (b"\xff\xfe", "line 1: it is not UTF-8 text."),
        (b'"text"', "has the form of no label file that is known (its first row: no objects;"),
        (b'{"question": "a", "steps": ["b"]}', "processbench: label, problem, steps; mr-gsm8k: "),
        (b'{"problem": "t/0", "first_bad": 0}', "its first row: ['first_bad', 'problem'];"),
        (b"PAR1 and no more", "cannot be read as parquet"),
        (b"[" * 100 + b"]" * 100, "cannot be read: it is nested more than 50 deep."),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(RunError) as refused:
        read_label_files([path])
    assert complaint in str(refused.value)
    assert str(path) in str(refused.value)


def test_places_that_are_no_files_are_one_sentence(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    for path, complaint in (
        (tmp_path / "none.json", "No such file"),
        (tmp_path, "not a plain file"),
        (tmp_path / "large.json", "more than 200,000,000 bytes"),
    ):
        with pytest.raises(RunError, match=complaint):
            read_label_files([path])


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [row("plain", question=f"{at} " + "x" * 5_000) for at in range(100)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "file.parquet", compression="zstd")
    assert (tmp_path / "file.parquet").stat().st_size < 100_000
    monkeypatch.setattr("refine_eval.results.label_files.MOST_BYTES", 100_000)
    with pytest.raises(RunError, match="bytes when unpacked, and may have 100,000"):
        read_label_files([tmp_path / "file.parquet"])


def check(found: LabelFile) -> None:
    assert found.solutions
    for each in found.solutions:
        assert isinstance(each, Labelled)
        assert len(each.good) == len(each.steps) > 0
        assert all(step == step.strip() != "" for step in each.steps)
        assert each.question.strip()
        first = each.first_bad
        assert None not in each.good[: len(each.good) if first is None else first]


@fuzz(content=broken_bytes("".join(json.dumps(each) + "\n" for each in [ROWS["processbench"]] * 2).encode()))
def test_damaged_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    if isinstance(found := accepted_or_refused(lambda: read_label_files([path])), Accepted):
        check(found.value)


@fuzz(rows=broken_tree([*ROWS.values()]))
def test_damaged_values(tmp_path: Path, rows: Any) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(rows))
    for form in ROWS:
        if isinstance(found := accepted_or_refused(partial(read_label_files, [path], form)), Accepted):
            check(found.value)
