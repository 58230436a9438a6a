"""Outputs of stages are others' files when they are read: typed rows, or one sentence with the line."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz import as_json, broken_bytes, broken_tree, fuzz
from hypothesis import strategies as st
from stage_folders import SAMPLES, collected, labelled

from refine_eval.errors import StageError
from refine_eval.stages.folder import check_place, read_folder, stage_of
from refine_eval.stages.rows import read_labels, read_samples
from refine_eval.training_rows import LabelledSample, QuestionSamples

READERS: dict[str, Callable[[Path], list[Any]]] = {
    "samples.jsonl": lambda path: read_samples(read_folder(path, "collect")),
    "labels.jsonl": lambda path: read_labels(read_folder(path, "label")),
}


def made(folder: Path, name: str) -> Path:
    return collected(folder / name, SAMPLES) if name == "samples.jsonl" else labelled(folder / name)


def written(folder: Path, name: str, content: bytes) -> Path:
    """A stage's output whose rows were replaced by somebody who knows of the hash."""
    path = folder / name
    if not path.exists():
        made(folder, name)
    (path / name).write_bytes(content)
    info = yaml.safe_load((path / "stage.yaml").read_text())
    info["files"][name] = hashlib.sha256(content).hexdigest()
    (path / "stage.yaml").write_text(yaml.safe_dump(info))
    return path


@pytest.mark.parametrize(
    ("name", "key", "value", "says"),
    [
        ("samples.jsonl", "id", 3, "a text is 3"),
        ("samples.jsonl", "samples", None, "is damaged"),
        ("samples.jsonl", "samples", [{"text": "a", "right": 1, "tokens": 3}], "a truth value is 1"),
        ("samples.jsonl", "samples", [{"text": "a", "right": True, "tokens": -3}], "a number of tokens is -3"),
        ("samples.jsonl", "samples", [{"text": "a", "right": True}], "it has no 'tokens'"),
        ("labels.jsonl", "labels", [1, 0, 2], "a label is 2"),
        ("labels.jsonl", "labels", [1, True, 0], "a label is True"),
        ("labels.jsonl", "labels", [1, 0], "2 labels of 3 steps"),
        ("labels.jsonl", "verified", {"9": ["a"]}, "a verified prefix that is longer"),
        ("labels.jsonl", "steps", "abc", "a list is 'abc'"),
    ],
)
def test_a_row_of_other_types_is_one_sentence(tmp_path: Path, name: str, key: str, value: Any, says: str) -> None:
    rows = [json.loads(line) for line in (made(tmp_path, name) / name).read_text().splitlines()]
    rows[1][key] = value
    path = written(tmp_path, name, b"\n".join(json.dumps(row).encode() for row in rows))
    with pytest.raises(StageError) as raised:
        READERS[name](path)
    assert f"{name}, line 2 is damaged (" in str(raised.value)
    assert says in str(raised.value)
    assert f"make {path} again" in str(raised.value)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a": NaN}', "[1]", "\udcff", '{"a": 1, "a": 2}'])
def test_a_line_that_is_no_row_is_one_sentence(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, "samples.jsonl", line.encode("utf-8", "surrogateescape"))
    with pytest.raises(StageError, match=r"samples.jsonl, line 1 is damaged"):
        read_samples(read_folder(path, "collect"))


def rows_of(name: str) -> list[Any]:
    texts = ("1+1=2", "#### 2")
    samples = [{"text": "\n".join(texts), "right": True, "tokens": 3}]
    if name == "samples.jsonl":
        return [{"id": f"t/{n}", "question": "How many?", "samples": samples} for n in range(3)]
    label = {"steps": list(texts), "right": True, "labels": [1.0, 1], "verified": {"1": ["#### 2"]}}
    return [{"id": f"t/{n}", "question": "How many?", **label} for n in range(3)]


def _joined(rows: Any) -> bytes:
    return b"\n".join(map(as_json, rows if isinstance(rows, list) else [rows]))


@fuzz(
    content=st.one_of(
        [
            st.tuples(st.just(name), broken_bytes(b"\n".join(map(as_json, rows_of(name)))))
            | st.tuples(st.just(name), broken_tree(rows_of(name)).map(_joined))
            for name in READERS
        ]
    )
)
def test_damaged_rows_are_typed_or_refused(tmp_path: Path, content: tuple[str, bytes]) -> None:
    name, lines = content
    path = written(tmp_path, name, lines)
    try:
        rows = READERS[name](path)
    except StageError as error:
        check_sentence(error)
    else:
        assert all(isinstance(row, QuestionSamples | LabelledSample) for row in rows)
        assert all(isinstance(row.id, str) and isinstance(row.question, str) for row in rows)


INFO = {
    "stage": "collect",
    "settings": {"task": "apples"},
    "inputs": {},
    "counts": {"rows": 2},
    "files": {"a": "0" * 64},
}


@fuzz(content=broken_bytes(yaml.safe_dump(INFO).encode()) | broken_tree(INFO).map(as_json))
def test_a_damaged_stage_yaml_is_refused_or_of_an_edited_folder(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stage.yaml").write_bytes(content)
    for read in (
        lambda: read_folder(tmp_path, "collect"),
        lambda: stage_of(tmp_path),
        lambda: check_place(tmp_path, "label"),
    ):
        try:
            read()
        except StageError as error:
            check_sentence(error)


def check_sentence(error: StageError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 1_000
