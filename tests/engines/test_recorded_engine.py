"""The recorded engine: real solutions unchanged, and one clear sentence for everything that does not fit."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny

from refine_eval.data import Generation, Problem, Request, Sampling
from refine_eval.engines.recorded import RecordedEngine, read_rows
from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.errors import GenerationError, UsageError

ROWS = [
    {"question": "One?", "first": {"is_correct": True, "solution": "1\n#### 1", "tokens": 5}, "second": "one"},
    {"question": "Two  words?", "first": {"solution": "2\n#### 2", "is_correct": False}, "second": "two"},
]


def ask(question: str, purpose: str = "draft", sample: int = 0, prompt: str = "p", number: int = 0) -> Request:
    problem = Problem(id=f"toy/{number}", task="toy", question=question, prompt=prompt)
    return Request(
        problem=problem, prompt=prompt, sampling=Sampling(max_tokens=9), purpose=purpose, sample=sample, seed=0
    )


def recorded(path: Path, field: str = "first", samples: tuple[str, ...] = ()) -> RecordedEngine:
    engine = RecordedEngine(RecordedEngine.Options(path=str(path), field=field, samples=samples))
    engine.open(tiny.CPU)
    return engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path, *map(json.dumps, ROWS))


def write(folder: Path, *lines: str) -> Path:
    path = folder / "solutions.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_fields_serve_as_drafts_and_samples(path: Path) -> None:
    engine = recorded(path, samples=("second", "first"))
    requests = [ask(" Two words?\n"), ask("One?", "sample", 0), ask("One?", "sample", 1), ask("One?")]
    assert list(engine.generate(requests)) == [
        (0, Generation(text="2\n#### 2", tokens=0, finish_reason="stop")),
        (1, Generation(text="one", tokens=0, finish_reason="stop")),
        (2, Generation(text="1\n#### 1", tokens=5, finish_reason="stop")),
        (3, Generation(text="1\n#### 1", tokens=5, finish_reason="stop")),
    ]
    assert list(engine.generate([])) == []
    engine.close()
    engine.close()


def test_all_real_solutions_come_out_unchanged(data_dir: Path) -> None:
    path = data_dir / "gsm8k" / "example_model_solutions.jsonl"
    fields = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    engine = recorded(path, fields[0], fields[1:])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 1319
    requests = [ask(row["question"]) for row in rows]
    requests += [ask(row["question"], "sample", sample) for row in rows for sample in range(3)]
    texts = [generation.text for _, generation in engine.generate(requests)]
    expected = [row[fields[0]]["solution"] for row in rows]
    assert texts == expected + [row[field]["solution"] for row in rows for field in fields[1:]]
    assert "is_correct" not in repr(vars(engine))
    assert "ground_truth" not in repr(vars(engine))


def test_store_key_depends_on_question_and_field_only(path: Path) -> None:
    engine = recorded(path, samples=("second",))
    key = engine.cache_key_of(ask("One?"))
    assert key == engine.cache_key_of(ask(" One? ", prompt="few shots, then One?", number=8))
    assert key != engine.cache_key_of(ask("Two words?"))
    assert key != engine.cache_key_of(ask("One?", "sample"))


def test_identity_is_of_what_is_served(path: Path, tmp_path: Path) -> None:
    first = recorded(path).identity()
    assert first != recorded(path, samples=("second",)).identity()
    (tmp_path / "copy.jsonl").write_bytes(path.read_bytes())
    assert recorded(tmp_path / "copy.jsonl").identity() == first
    path.write_text(path.read_text().replace("#### 1", "#### 7"))
    assert recorded(path).identity() != first


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask("Three?", number=3), r"no solution for problem toy/3 \('Three\?'"),
        (ask("One?", "sample", 1, number=4), r"Sample 2 of problem toy/4 is asked for and the engine recorded has 1"),
        (ask("One?", "local", number=5), r"cannot write the text that 'local' asks for, for problem toy/5"),
    ],
)
def test_what_the_file_does_not_hold(tmp_path: Path, request_: Request, message: str) -> None:
    path = write(tmp_path, json.dumps(ROWS[0] | {"third": "x"}), json.dumps(ROWS[1]))
    with pytest.raises(GenerationError, match=message) as caught:
        list(recorded(path, samples=("third",)).generate([request_]))
    assert "\n" not in str(caught.value)


def test_a_text_that_a_row_lacks_or_has_as_null_is_left_unwritten(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(ROWS[0] | {"third": "x"}), json.dumps(ROWS[1] | {"first": None}))
    requests = [ask("One?"), ask("Two words?"), ask("Two words?", "sample"), ask("One?", "sample")]
    found = dict(recorded(path, samples=("third",)).generate(requests))
    why = {at: text.unwritten for at, text in found.items() if text.unwritten is not None}
    assert why == {at: f"not in the file (its row has no {name!r})" for at, name in ((1, "first"), (2, "third"))}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "frist"}, r"no field 'frist'. Did you mean 'first'\? Its fields: first, second\."),
        ({"samples": ("secnd",)}, r"Did you mean 'second'\?"),
        ({"field": "is_correct"}, "no field 'is_correct'"),
        ({"field": ""}, "--model-args path=FILE,field=NAME"),
        ({"path": "/no/such/file.jsonl"}, r"Cannot read /no/such/file.jsonl: No such file"),
    ],
)
def test_options_that_do_not_fit(path: Path, options: dict[str, Any], message: str) -> None:
    engine = RecordedEngine(RecordedEngine.Options(**({"path": str(path), "field": "first"} | options)))
    with pytest.raises(UsageError, match=message):
        engine.open(tiny.CPU)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "Three?", "first": ', r"line 3 is not JSON"),
        ("[" * 100_000, r"line 3 is not JSON"),
        ("[1, 2]", r"line 3 is not a JSON object"),
        ('{"first": "x"}', r'line 3: the row has no text under "question"'),
        ('{"question": 3, "first": "x"}', r'line 3: the row has no text under "question"'),
        ('{"question": "Three?", "first": 3}', r"line 3: field 'first' is neither a text nor an object"),
        ('{"question": "Three?", "first": {"solution": null}}', r"line 3: field 'first' is neither"),
        ('{"question": "One? ", "first": "another"}', r"line 3: the question stands in an earlier line"),
    ],
)
def test_corrupt_lines_are_named(path: Path, line: str, message: str) -> None:
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(UsageError, match=message) as caught:
        recorded(path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "solutions.jsonl"
    path.write_bytes(b'{"question": "\xff\xfe"}')
    with pytest.raises(UsageError, match="line 1 is not JSON"):
        recorded(path)
    path.write_text("\n\n")
    with pytest.raises(UsageError, match="holds no rows"):
        recorded(path)


def test_hostile_text_passes_through_untouched(tmp_path: Path) -> None:
    text = "\x1b[2J[bold]x[/bold]\r\n\u2028\u202e####\x00 7"
    row = {"question": "One?", "first": {"solution": text, "tokens": True}}
    ((_, generation),) = recorded(write(tmp_path, json.dumps(row))).generate([ask("One?")])
    assert generation == Generation(text=text, tokens=0, finish_reason="stop")


def test_script_from_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        json.dumps({"question": "One?", "texts": {"draft": "a b", "sample": ["c", "d e f"], "local": "g"}}),
        json.dumps({"id": "toy/9", "texts": {"draft": "by id"}}),
    )
    engine = ScriptedEngine(ScriptedEngine.Options(path=str(path)))
    engine.open(tiny.CPU)
    requests = [ask("One?"), ask("One?", "sample", 1), ask("One?", "local"), ask("Else?", number=9)]
    found = list(engine.generate(requests))
    assert [(index, g.text, g.tokens) for index, g in found] == [
        (0, "a b", 2),
        (1, "d e f", 3),
        (2, "g", 1),
        (3, "by id", 2),
    ]
    for missing in (ask("Two?"), ask("One?", "sample", 2), ask("One?", "global")):
        with pytest.raises(GenerationError, match="toy/0"):
            list(engine.generate([missing]))


def test_script_from_a_function() -> None:
    engine = ScriptedEngine.from_function(lambda request: f"{request.purpose} of {request.problem.id}")
    engine.open(tiny.CPU)
    assert [g.text for _, g in engine.generate([ask("One?", number=2)])] == ["draft of toy/2"]
    with pytest.raises(UsageError, match=r"path=FILE\.jsonl"):
        ScriptedEngine().open(tiny.CPU)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_solutions_are_read_from_plain_files_alone(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Nobody writes to a pipe that was left behind: a run would wait for ever."""
    make(tmp_path / "solutions.jsonl")
    with pytest.raises(UsageError, match=r"Cannot read .*solutions\.jsonl: .*; check the path"):
        list(read_rows(tmp_path / "solutions.jsonl"))
    with pytest.raises(UsageError, match="it is not a plain file"):
        list(read_rows(Path("/dev/zero")))
