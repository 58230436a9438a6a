"""Columns of the table, and what stands under it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import TRACES, write

from refine_eval.costs import CutOff
from refine_eval.data import Trace
from refine_eval.errors import RunError, UsageError
from refine_eval.results.ledger import rows
from refine_eval.results.manifest import write_manifest
from refine_eval.results.records import read_run
from refine_eval.results.table import COLUMNS, USUAL, cells, header, known_columns, notes, plain, read_columns
from refine_eval.results.viewer import Viewed, page


def cut(trace: Trace, *names: str) -> Trace:
    """The trace with these candidates cut off."""
    return replace(
        trace,
        candidates=tuple(
            replace(c, solution=replace(c.solution, finish_reason="length")) if c.id in names else c
            for c in trace.candidates
        ),
    )


def test_columns_are_shown_in_the_order_in_which_they_are_named() -> None:
    table = rows(TRACES, "strict")
    assert header(["strict", "flexible"], "strict", ("tokens", "others", "answer")) == [
        "tokens",
        "flexible %",
        "answer",
    ]
    assert cells(table[0], "strict", ("tokens", "others", "answer")) == ["10.0", "100.0", "draft"]
    assert plain(table, "strict", ("answer", "right")).splitlines()[1] == "draft               2"
    assert read_columns(" tokens, answer,tokens,") == ("tokens", "answer")
    assert set(USUAL) < set(COLUMNS)


@pytest.mark.parametrize(
    ("given", "said"),
    [("answer,acuracy", "no column 'acuracy'. Did you mean 'accuracy'? It has: answer, right,"), (" ,", "no column.")],
)
def test_a_column_that_is_not_there_is_said_with_those_that_are(given: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_columns(given)
    assert said in str(raised.value)


def test_a_row_counts_its_own_answers_that_were_cut_off() -> None:
    traces = [cut(TRACES[0], "draft"), cut(TRACES[1], "draft", "1.local.0"), cut(TRACES[2], "1.local.1"), TRACES[3]]
    table = rows(traces, "strict")
    assert [(row.name, row.cut_off) for row in table] == [("draft", 2), ("local", 1), ("rerank", 2), ("gate", 2)]
    assert [cells(row, "strict", ("cut-off",)) for row in table] == [["50.0"], ["25.0"], ["50.0"], ["50.0"]]


def test_the_note_tells_the_share_of_every_stage_where_any_text_was_cut_off() -> None:
    stages = [CutOff(stage="draft", texts=3, of=24), CutOff(stage="sample", texts=0, of=48)]
    assert notes([], stages) == ["cut off at the length limit: draft 12.5 % (3 of 24), sample 0.0 % (0 of 48)"]
    assert notes([], stages[1:]) == []


def rewritten(folder: Path, metrics: Any) -> Path:
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    return folder


def old(folder: Path) -> Path:
    """A record as versions wrote it that did not count what was cut off."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for row in metrics["rows"]:
        for name in ("cut_off", "read_tokens", "flops"):
            del row[name]
    return rewritten(folder, metrics)


def test_records_with_and_without_the_figures_are_read_side_by_side(tmp_path: Path) -> None:
    new, before = read_run(write(tmp_path, "new")), read_run(old(write(tmp_path, "old")))
    assert [row.cut_off for row in new.rows] == [0] * 4
    assert [row.cut_off for row in before.rows] == [None] * 4
    assert cells(before.rows[0], "strict", ("answer", "cut-off")) == ["draft", "-"]
    assert known_columns(before.rows) == USUAL
    assert known_columns(new.rows) == (*USUAL, "cut-off")
    assert before.cut_off == ()
    head = '<th scope="col">cut off %</th>'
    assert [head in page([Viewed(record=each, traces=TRACES)]) for each in (before, new)] == [False, True]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stage": "draft", "texts": 3, "of": 2}, "3 of 2 texts of the stage 'draft' are cut off"),
        ({"stage": "draft", "texts": 0, "of": 0}, "0 of 0 texts"),
        ({"stage": "", "texts": 0, "of": 1}, "'stage'"),
        ({"stage": "draft", "texts": -1, "of": 1}, "'texts'"),
        ("draft", "'cut_off'"),
    ],
)
def test_figures_that_cannot_be_are_faults(given: object, said: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    rewritten(folder, {**metrics, "cut_off": [given]})
    with pytest.raises(RunError, match=said):
        read_run(folder)


def test_what_is_not_known_is_a_dash_and_a_line_says_why() -> None:
    known = replace(rows(TRACES, "strict")[0], read_tokens=12.25, flops=1.5e9)
    assert cells(known, "strict", ("read", "flops")) == ["12.2", "1.50e+09"]
    half = plain([known, replace(known, name="local", kind="refiner", flops=None)], "strict", ("answer", "flops"))
    assert half.splitlines()[1:] == [
        "draft        1.50e+09",
        "local alone         -",
        "- not known: the engine does not say, or an older version wrote it",
    ]
    assert "not known" not in plain([known], "strict", ("answer", "flops"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cached_tokens": 11}, "what the model 'student' read does not fit together"),
        ({"unknown": 3}, "does not fit together"),
        ({"tokens": -1}, "'tokens'"),
        ({"name": ""}, "'name'"),
        ({"parameters": "7B"}, "'parameters'"),
    ],
)
def test_usage_that_cannot_be_is_a_fault(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    model = {"name": "student", "parameters": None, "texts": 2, "prompt_tokens": 10, "cached_tokens": 10}
    metrics = json.loads((folder / "metrics.json").read_text())
    usage = {"models": [model | {"tokens": 1, "unknown": 0}]}
    assert read_run(rewritten(folder, metrics | {"usage": usage})).usage[0].cached_tokens == 10
    usage["models"][0] |= changes
    with pytest.raises(RunError, match=said):
        read_run(rewritten(folder, metrics | {"usage": usage}))


@pytest.mark.parametrize(("name", "value"), [("read_tokens", -1), ("flops", "many"), ("flops", True)])
def test_figures_of_rows_that_cannot_be_are_faults(name: str, value: object, tmp_path: Path) -> None:
    folder = write(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["rows"][1][name] = value
    with pytest.raises(RunError, match=f"'{name}'"):
        read_run(rewritten(folder, metrics))
