"""Each fault of a record that no hash vouches for is found, and said in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import write

from refine_eval.errors import RunError
from refine_eval.results.manifest import write_manifest
from refine_eval.results.records import read_run, read_traces

Lines = list[Any]


def old(folder: Path) -> Path:
    """A record as old versions wrote it: without hashes."""
    (folder / "manifest.json").unlink()
    text = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text(text.removeprefix("format: 1\n"))
    return folder


def test_records_of_old_versions_are_read(tmp_path: Path) -> None:
    new = write(tmp_path)
    table, traces = read_run(new).rows, read_traces(new)
    assert (read_run(old(new)).rows, read_traces(new)) == (table, traces)


def test_keys_of_a_newer_version_are_no_fault(tmp_path: Path) -> None:
    folder = old(write(tmp_path))
    table = read_run(folder).rows
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["rows"][0]["calibration"] = metrics["more"] = 1
    (folder / "metrics.json").write_text(json.dumps(metrics))
    rows = [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    rows[0]["more"] = rows[1]["candidates"][0]["more"] = {}
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_run(folder).rows == table
    assert len(read_traces(folder)) == len(rows)


def test_a_newer_format_is_refused_with_a_word_about_the_version(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "run.yaml").write_text("format: 2\nnothing: else\n")
    with pytest.raises(RunError, match=r"by a newer version of refine-eval \(format 2; this version reads format 1\)"):
        read_run(folder)


def test_a_record_that_must_have_hashes_has_them(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"manifest\.json is missing"):
        read_run(folder)
    with pytest.raises(RunError, match=r"manifest\.json is missing"):
        read_traces(folder)


@pytest.mark.parametrize("name", ["run.yaml", "metrics.json", "results_lm_eval.json", "traces.jsonl"])
def test_every_file_is_held_to_its_hash(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(RunError, match=rf"{name} is corrupt \(.*(edited or cut short)"):
        read_run(folder)


def candidate(key: str, value: Any) -> Callable[[Lines], Any]:
    return lambda lines: lines[0]["candidates"][1].__setitem__(key, value)


def line(key: str, value: Any) -> Callable[[Lines], Any]:
    return lambda lines: lines[0].__setitem__(key, value)


FAULTS: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "a line twice": (lambda lines: lines.append(lines[0]), "the problem 't/0' is there twice"),
    "a line less": (lambda lines: lines.pop(), "figures of 'draft' in its table are not those of its traces"),
    "no lines": (lambda lines: lines.clear(), "it has no lines"),
    "two candidates of one id": (
        lambda lines: lines[0]["candidates"].append(lines[0]["candidates"][1]),
        "'1.local.0' is there twice",
    ),
    "no draft": (lambda lines: lines[0]["candidates"].pop(0), "no draft"),
    "an unknown origin": (candidate("origin", "elsewhere"), "unknown origin 'elsewhere'"),
    "a parent that is not there": (candidate("parent", "0.local.0"), "refines '0.local.0', which is not there"),
    "a choice that is not there": (line("selected", {"rerank": "x", "gate": "draft"}), "choice is the candidate 'x'"),
    "no choice": (line("selected", {}), "it has no choice"),
    "another selector": (line("selected", {"vote": "draft"}), "choice of other selectors than the first"),
    "no grades": (line("correct", {}), "its grades are not of its candidates"),
    "other filters": (
        lambda lines: lines[1]["correct"]["draft"].pop("flexible"),
        "not graded under the filters of the first one",
    ),
    "a grade that is a number": (
        lambda lines: lines[0]["correct"]["draft"].__setitem__("strict", 1),
        "'strict' is 1 and not true or false",
    ),
    "another grade": (
        lambda lines: lines[0]["correct"]["draft"].__setitem__("strict", True),
        "figures of 'draft' in its table are not those of its traces",
    ),
    "another choice": (
        lambda lines: lines[0]["selected"].__setitem__("rerank", "draft"),
        "figures of 'rerank' in its table are not those of its traces",
    ),
    "more tokens": (candidate("tokens", 11), "figures of 'local' in its table are not those of its traces"),
    "fewer than no tokens": (candidate("tokens", -1), "'tokens' is -1 and not a whole number from 0"),
    "tokens that are true": (candidate("tokens", True), "'tokens' is True and not a whole number"),
    "a text that is none": (candidate("text", None), "'text' is None and not a text"),
    "half an emoji": (candidate("text", "\ud83d"), "'text' is .* and not a text"),
    "a missing key": (lambda lines: lines[0].pop("refined"), "it has no 'refined'"),
    "a score that is not a number": (
        line("critiques", {"draft": {"when": {"score": float("nan"), "step_scores": [], "first_bad_step": None}}}),
        "NaN is no number",
    ),
    "a score beyond 1": (
        line("critiques", {"draft": {"when": {"score": 1.5, "step_scores": [], "first_bad_step": None}}}),
        "'score' is 1.5 and not a number from 0 to 1",
    ),
    "a critique of nobody": (
        line("critiques", {"x": {"when": {"score": 0.5, "step_scores": [], "first_bad_step": None}}}),
        "critique is of the candidate 'x', which is not there",
    ),
    "a line that is a list": (lambda lines: lines.__setitem__(0, []), r"'the line' is \[\] and not an object"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_traces_is_named(fault: str, tmp_path: Path) -> None:
    folder = old(write(tmp_path))
    lines = [json.loads(text) for text in (folder / "traces.jsonl").read_text().splitlines()]
    edit, told = FAULTS[fault]
    edit(lines)
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    for read in (read_run, read_traces):
        with pytest.raises(RunError, match=told) as raised:
            read(folder)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"gained": 1', '"gained": 2', "do not fit each other"),
        ('"problems": 4', '"problems": 5', "not those of its traces"),
        ('"problems": 4', '"problems": 0', "do not fit each other"),
        ('"strict": 2', '"strict": 9', "do not fit each other"),
        ('"p_value": 1.0', '"p_value": 0.01', "not those of its traces"),
        ('"p_value": 1.0', '"p_value": NaN', "NaN is no number"),
        ('"tokens": 10.0', '"tokens": 9.0', "not those of its traces"),
        ('"tokens": 10.0', '"tokens": "many"', "'tokens' is 'many' and not a number from 0"),
        ('"name": "gate"', '"name": "vote"', "other rows than its traces"),
        ('"name": "gate"', '"name": "rerank"', "'rerank' is in its table twice"),
        ('"kind": "draft"', '"kind": "selector"', "does not begin with the draft"),
        ('"filter": "strict"', '"filter": "loose"', "do not fit each other"),
        ('"filter": "strict"', '"filter": "strict", "filter": "flexible"', "the key 'filter' is given twice"),
    ],
)
def test_a_fault_in_the_table_is_named(before: str, after: str, told: str, tmp_path: Path) -> None:
    folder = old(write(tmp_path))
    text = (folder / "metrics.json").read_text()
    assert before in text
    (folder / "metrics.json").write_text(text.replace(before, after))
    with pytest.raises(RunError, match=told):
        read_run(folder)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("[]", r"'run.yaml' is \[\] and not an object"),
        ("command: a\ntask: {}\nmodel: {name: m}\nmachine: m", "it has no 'name'"),
        ("command: a\ntask: {name: t}\nmodel: {name: 3}\nmachine: m", "'name' is 3 and not a name"),
        ("command: a\ntask: {name: t}\nmodel: {name: m}", "it has no 'machine'"),
        ("a: &a [*a]", "a value that holds itself"),
        ("a: " + "[" * 5000, "nested more than 50 deep"),
        ("a: b: c", "cannot be read as YAML"),
        ("#" * 100_001, "it has more than 100,000 bytes"),
    ],
)
def test_a_fault_in_the_settings_is_named(settings: str, told: str, tmp_path: Path) -> None:
    folder = old(write(tmp_path))
    (folder / "run.yaml").write_text(settings)
    with pytest.raises(RunError, match=told):
        read_run(folder)


def test_what_is_not_of_a_record_is_not_in_its_hashes(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "report.html").write_text("a page")
    write(tmp_path)
    assert "report.html" not in (folder / "manifest.json").read_text()
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    (folder / "report.html").write_text("another page")
    assert read_run(folder).name == "one"
