"""What rows answer rightly is read from grades and choices alone, checked, and remembered by the hashes of records."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import SETTINGS, TRACES, write

from refine_eval.errors import RunError
from refine_eval.results import memory, ranking, row_shares
from refine_eval.results.ledger import problem_shares
from refine_eval.results.manifest import MANIFEST, write_manifest
from refine_eval.results.published import publish, read_outcomes
from refine_eval.results.records import RunRecord, read_run
from refine_eval.results.row_shares import key, outcomes_file, read_shares

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


def by_traces(record: RunRecord) -> Any:
    assert record.folder is not None
    traces = read_outcomes(record.folder).traces
    return {
        key(row): problem_shares(traces, [t.correct[row.answer(t).id][record.filter] for t in traces])
        for row in record.rows
    }


@pytest.mark.parametrize("name", ["apples-glore", "tiny-0-early-control", "smollm2-svamp-0-glore"])
def test_published_records_are_read_as_all_their_outcomes_are(name: str) -> None:
    record = read_run(PUBLISHED / name)
    assert read_shares(record) == by_traces(record)


def test_all_forms_of_a_record_say_the_same(tmp_path: Path) -> None:
    repeats = [
        replace(t, problem=replace(t.problem, id=f"t/{n // 2}{'@1' if n % 2 else ''}", repeat=n % 2))
        for n, t in enumerate(TRACES)
    ]
    for name, traces in (("plain", TRACES), ("repeats", repeats)):
        folder = write(tmp_path, name, list(traces))
        record = read_run(folder)
        found = read_shares(record)
        assert found == by_traces(record)
        if name == "repeats":
            assert found["draft", "draft"] == {"t/0": (0.5, 1.0), "t/1": (0.5, 1.0)}
        small = read_run(publish(folder, tmp_path, None, with_traces=False))
        assert read_shares(small) == found
        packed = folder / "traces.jsonl"
        packed.with_name("traces.jsonl.gz").write_bytes(gzip.compress(packed.read_bytes()))
        packed.unlink()
        (folder / MANIFEST).unlink()
        write_manifest(folder)
        assert read_shares(read_run(folder)) == found


def test_a_record_of_an_old_version_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, "old")
    (folder / MANIFEST).unlink()
    text = (folder / "run.yaml").read_text().replace("format: 1\n", "")
    (folder / "run.yaml").write_text(text)
    record = read_run(folder)
    monkeypatch.setattr(row_shares, "_line", None)
    assert read_shares(record) == by_traces(record)


def changed(line: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    change(line)
    return line


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: line.pop("problem"), "it has no 'problem'"),
        (lambda line: line.update(problem=" "), "'problem' is ' ' and not a name"),
        (lambda line: line.update(repeat=-1), "'repeat' is -1"),
        (lambda line: line.update(correct=[]), "'correct' is [] and not an object"),
        (lambda line: line["correct"].pop("draft"), "it has no 'draft'"),
        (lambda line: line["correct"]["draft"].update(strict=1), "'strict' is 1 and not true or false"),
        (lambda line: line.update(selected={}), "it has no answer of one of its table's rows ('rerank')"),
        (lambda line: line["selected"].update(rerank="9.x.0"), "it has no answer of one of its table's rows ('9.x.0')"),
        (lambda line: line["candidates"].append(3), "'candidate' is 3 and not an object"),
        (lambda line: line.update(problem="t/1"), "the problem 't/1' is there twice"),
        (
            lambda line: line["correct"]["draft"].update(strict=True),
            "the figures of 'draft' in its table are not those",
        ),
    ],
    ids=range(11),
)
def test_what_cannot_be_right_is_refused_whatever_its_hash(change: Any, why: str, tmp_path: Path) -> None:
    folder = write(tmp_path, "one")
    path = folder / "traces.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(changed(json.loads(first), change)), *rest]) + "\n")
    (folder / MANIFEST).unlink()
    write_manifest(folder)
    with pytest.raises(RunError, match="is corrupt") as raised:
        read_shares(read_run(folder))
    assert why in str(raised.value)


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "\ud800"], ids=["deep", "cut", "half a pair"])
def test_lines_that_are_no_json(content: str, tmp_path: Path) -> None:
    folder = write(tmp_path, "one")
    (folder / "traces.jsonl").write_bytes(content.encode("utf-8", "surrogatepass") + b"\n")
    (folder / MANIFEST).unlink()
    write_manifest(folder)
    with pytest.raises(RunError, match="is corrupt"):
        read_shares(read_run(folder))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "refine-eval" / "from-records.json"


def settings(seed: int) -> Any:
    return {**SETTINGS, "seed": seed}


@pytest.mark.usefixtures("cache")
def test_what_is_remembered_is_not_read_again_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        write(tmp_path, f"run-{seed}", settings=settings(seed))
    records = [read_run(folder) for folder in sorted((tmp_path / "runs").iterdir())]
    with memory.remembering():
        first = ranking.rankings(records)
    monkeypatch.setattr(ranking, "read_shares", None)
    with memory.remembering():
        assert ranking.rankings(records) == first
    with pytest.raises(TypeError):
        ranking.rankings(records)


@pytest.mark.usefixtures("cache")
def test_other_outcomes_are_not_taken_for_those_that_are_remembered(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, f"run-{seed}", settings=settings(seed))
    folders = sorted((tmp_path / "runs").iterdir())
    with memory.remembering():
        before = ranking.rankings(list(map(read_run, folders)))
    shutil.rmtree(folders[1])
    right = {name: {"strict": True, "flexible": True} for name in TRACES[0].correct}
    other = [replace(TRACES[0], correct=right), *TRACES[1:]]
    write(tmp_path, "run-1", other, settings(1))
    records = list(map(read_run, folders))
    with memory.remembering():
        after = ranking.rankings(records)
    assert after != before
    assert after == ranking.rankings(records)


def test_a_memory_that_is_lost_odd_or_cannot_be_kept_only_costs_time(cache: Path) -> None:
    def made(value: Any) -> Any:
        with memory.remembering():
            return memory.recall(lambda kept: isinstance(kept, list), lambda: value, "of", "this")

    assert made([1]) == [1]
    assert made([2]) == [1], "remembered"
    for odd in ("", "[]", "[" * 100_000, json.dumps(dict.fromkeys(json.loads(cache.read_text()), 3))):
        cache.write_text(odd)
        assert made([3]) == [3]
    cache.unlink()
    cache.mkdir()
    assert made([4]) == [4]
    cache.rmdir()
    assert made((5,)) == (5,), "which JSON would change"
    assert made([float("nan")]) != [4]
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_what_is_asked_twice_in_one_command_is_worked_out_once() -> None:
    with memory.remembering():
        made = [memory.recall(lambda kept: True, lambda: number, "of", "this") for number in (1, 2)]  # noqa: B023
    assert made == [1, 1]


def test_more_than_can_be_kept_is_forgotten(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST_KEPT", 2)
    for number in range(4):
        with memory.remembering():
            memory.recall(lambda kept: True, lambda: number, str(number))  # noqa: B023
    assert sorted(json.loads(cache.read_text()).values()) == [2, 3]


def test_outcomes_are_found_in_any_form(tmp_path: Path) -> None:
    assert outcomes_file(tmp_path) is None
    for name in ("traces.jsonl.gz", "traces.jsonl", "outcomes.jsonl.gz"):
        (tmp_path / name).touch()
        assert outcomes_file(tmp_path) == tmp_path / name
