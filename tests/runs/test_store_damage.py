"""Damaged rows and stores of older versions: left out, said and replaced, or served as ever; never a wrong text."""

import json
import os
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import refine_eval

from refine_eval.data import Critique, Generation
from refine_eval.errors import StoreError
from refine_eval.runs.database import SCHEMA_VERSION
from refine_eval.runs.rows import CRITIQUES, GENERATIONS
from refine_eval.runs.store import Store, content_key

GOOD = Generation(
    text="Ann has 3.\n#### 3", tokens=9, finish_reason="stop", seconds=0.25, prompt_tokens=7, cached_tokens=3
)
SCORED = (
    Critique(score=0.5, step_scores=(0.75, 0.25), first_bad_step=1, read_tokens=11, feedback="Step 2 is wrong."),
    0.125,
)
KEY, OTHER = content_key("one"), content_key("two")
LIMIT = 6
RUN = ("run", "--limit", str(LIMIT), "--critic", "orm", "--refiner", "resample", "--resample-samples", "1")
NAMED = (*RUN, "--name", "r", "--json")

VERSION_1 = """
CREATE TABLE generations (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, tokens INTEGER NOT NULL,
    finish_reason TEXT NOT NULL, seconds REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE critiques (
    key BLOB PRIMARY KEY, score REAL NOT NULL, step_scores TEXT NOT NULL, first_bad_step INTEGER, seconds REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version=1;
"""


def filled(path: Path) -> Path:
    with Store(path) as store:
        store.put_generations([(KEY, GOOD), (OTHER, GOOD)])
        store.put_critiques([(KEY, *SCORED), (OTHER, *SCORED)])
    return path


def edit(path: Path, statement: str, *values: Any) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(statement, values)
    db.close()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("text", "Ann has 4.\n#### 4"),
        ("text", b"\xff\xfe"),
        ("text", 7),
        ("tokens", 10),
        ("tokens", -1),
        ("tokens", "nine"),
        ("finish_reason", "length"),
        ("finish_reason", "tired"),
        ("seconds", 0.5),
        ("seconds", float("inf")),
        ("prompt_tokens", 8),
        ("prompt_tokens", None),
        ("prompt_tokens", 2),
        ("cached_tokens", -1),
        ("cached_tokens", None),
        ("checksum", b"12345678"),
        ("key", content_key("three")),
    ],
)
def test_a_damaged_generation_is_left_out_said_once_and_replaced(change: str, value: Any, tmp_path: Path) -> None:
    path, said = filled(tmp_path / "s.sqlite"), list[str]()
    edit(path, f"UPDATE generations SET {change} = ? WHERE key = ?", value, KEY)
    wanted = content_key("three") if change == "key" else KEY
    with Store(path, said.append) as store:
        assert store.generations([wanted, OTHER]) == {OTHER: GOOD}
        assert store.generations([wanted]) == {}
        store.put_generations([(wanted, GOOD)])
        assert store.generations([wanted]) == {wanted: GOOD}
    assert said == [f"1 damaged row of the store {path} was left out and written anew."]
    with Store(path, said.append) as store:
        assert store.generations([wanted, OTHER]) == {wanted: GOOD, OTHER: GOOD}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("score", 0.75),
        ("score", 7.0),
        ("step_scores", "[0.75, 0.2]"),
        ("step_scores", "[0.75, NaN]"),
        ("step_scores", "[0.75, true]"),
        ("step_scores", "[" * 100_000),
        ("step_scores", b"\xff"),
        ("step_scores", "0.5"),
        ("step_scores", 5),
        ("first_bad_step", 0),
        ("first_bad_step", 9),
        ("seconds", "soon"),
        ("read_tokens", "many"),
        ("read_tokens", -1),
        ("feedback", b"\xff"),
        ("feedback", "Step 1 is wrong."),
        ("verdicts", "[3, 2]"),
        ("verdicts", "7"),
        ("verdicts", "[0, 2]"),
    ],
)
@pytest.mark.parametrize("checksum", [True, False], ids=["with", "without"])
def test_damaged_critiques_are_left_out(change: str, value: Any, checksum: bool, tmp_path: Path) -> None:
    path, said = filled(tmp_path / "s.sqlite"), list[str]()
    edit(path, f"UPDATE critiques SET {change} = ? WHERE key = ?", value, KEY)
    if not checksum:
        edit(path, "UPDATE critiques SET checksum = NULL")
        edit(path, "PRAGMA application_id=0")  # as in a file from before there were checksums
    with Store(path, said.append) as store:
        believable = {
            **{"score": 0.75, "step_scores": "[0.75, 0.2]", "first_bad_step": 0},
            **{"feedback": "Step 1 is wrong.", "verdicts": "[0, 2]"},
        }
        if not checksum and believable.get(change) == value:
            assert store.critiques([KEY]) != {KEY: SCORED}, "nobody can know"
            return
        assert store.critiques([KEY, OTHER]) == {OTHER: SCORED}
        store.put_critiques([(KEY, *SCORED)])
        assert store.critiques([KEY, OTHER]) == {KEY: SCORED, OTHER: SCORED}
    assert said == [f"1 damaged row of the store {path} was left out and written anew."]


def test_a_critique_with_scores_for_another_number_of_steps_is_damaged(tmp_path: Path) -> None:
    path, said = filled(tmp_path / "s.sqlite"), list[str]()
    with Store(path, said.append) as store:
        assert store.critiques([KEY, OTHER], {KEY: 3, OTHER: 2}) == {OTHER: SCORED}
    assert said == [f"1 damaged row of the store {path} was left out."]


def test_what_could_not_be_read_again_is_not_stored_in_silence(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        for bad in (
            Generation(text="a", tokens=1, finish_reason="stop", seconds=float("nan")),
            Generation(text="a", tokens=-1, finish_reason="stop"),
            Generation(text="a", tokens=2**63, finish_reason="stop"),
            Generation(text="a", tokens=1, finish_reason="tired"),
        ):
            with pytest.raises(StoreError, match="cannot be stored among the generations"):
                store.put_generations([(KEY, bad)])
        with pytest.raises(StoreError, match="cannot be stored among the critiques"):
            store.put_critiques([(KEY, Critique(score=1.5, step_scores=()), 0.0)])


def test_minus_zero_is_not_damage(tmp_path: Path) -> None:
    """SQLite keeps it as 0."""
    with Store(tmp_path / "s.sqlite") as store:
        store.put_critiques([(KEY, Critique(score=-0.0, step_scores=(-0.0,)), -0.0)])
        assert store.critiques([KEY])


def version_1(path: Path) -> Path:
    """The store as an older refine-eval would have left it."""
    old = path.with_name("old.sqlite")
    db = sqlite3.connect(old, isolation_level=None)
    db.executescript(VERSION_1)
    db.execute("ATTACH ? AS new", (str(path),))
    for table, columns in (
        ("generations", "key, text, tokens, finish_reason, seconds"),
        ("critiques", "key, score, step_scores, first_bad_step, seconds"),
    ):
        db.execute(f"INSERT INTO main.{table} SELECT {columns} FROM new.{table}")
    db.close()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return old.rename(path)


def test_a_store_of_version_1_is_served_and_gets_checksums_for_what_is_new(tmp_path: Path) -> None:
    path, said = version_1(filled(tmp_path / "s.sqlite")), list[str]()
    old = replace(GOOD, prompt_tokens=None, cached_tokens=0)
    with Store(path, said.append) as store:
        assert store.generations([KEY, OTHER]) == {KEY: old, OTHER: old}
        assert store.critiques([KEY]) == {KEY: (replace(SCORED[0], feedback=None), 0.125)}
        store.put_generations([(content_key("new"), GOOD)])
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*), count(checksum) FROM generations").fetchone() == (3, 1)
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    db.close()
    assert said == []


VERSION_2 = VERSION_1.replace("seconds REAL NOT NULL", "seconds REAL NOT NULL, checksum BLOB").replace("=1;", "=2;")


def version_2(path: Path) -> Path:
    """A store whose rows were written, with checksums, before there was a word of what was read."""
    old = path.with_name("old.sqlite")
    db = sqlite3.connect(old, isolation_level=None)
    db.executescript(VERSION_2)
    plain = replace(GOOD, prompt_tokens=None, cached_tokens=0)
    score = Critique(score=0.5, step_scores=(0.75, 0.25), first_bad_step=1, read_tokens=None)
    for table, item in ((GENERATIONS, plain), (CRITIQUES, (score, 0.125))):
        row = table.row(KEY, item)  # type: ignore[arg-type]
        assert row is not None
        known = [name for name in ("key", *table.names, "checksum") if name not in dict(table.added)]
        values = [v for name, v in zip(("key", *table.names, "checksum"), row, strict=True) if name in known]
        db.execute(f"INSERT INTO {table.name} ({', '.join(known)}) VALUES ({','.join('?' * len(known))})", values)
    db.close()
    return old.rename(path)


@pytest.mark.parametrize("writable", [True, False])
def test_rows_of_before_say_nothing_of_what_was_read(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, said = version_2(tmp_path / "s.sqlite"), list[str]()
    if not writable:
        monkeypatch.setattr(os, "access", lambda *_: False)
    with Store(path, said.append) as store:
        assert store.read_only is not writable
        found, (critique, _) = store.generations([KEY])[KEY], store.critiques([KEY])[KEY]
        assert (found.prompt_tokens, found.cached_tokens, found.read_tokens) == (None, 0, None)
        assert critique.read_tokens is None
        if writable:
            store.put_generations([(KEY, GOOD), (OTHER, GOOD)])
            assert [store.generations([key])[key].prompt_tokens for key in (KEY, OTHER)] == [None, 7]
    assert said == []


# Whole runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    refine_eval(*NAMED, cwd=folder)
    return folder


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's store alone."""
    (tmp_path / "results").mkdir()
    source = sqlite3.connect(finished / "results" / "store.sqlite")
    target = sqlite3.connect(tmp_path / "results" / "store.sqlite")
    source.backup(target)
    source.close()
    target.close()
    return tmp_path


def traces(folder: Path) -> bytes:
    return (folder / "results" / "runs" / "r" / "traces.jsonl").read_bytes()


def assert_same(found: bytes, expected: bytes) -> None:
    """Equal but for a score's last decimal, which depends on what the critic scores at the same time."""
    score = re.compile(rb"\d\.\d+")
    assert score.sub(b"", found) == score.sub(b"", expected)
    assert [*map(float, score.findall(found))] == pytest.approx([*map(float, score.findall(expected))], abs=2e-6)


def generated(stdout: str) -> int:
    return int(json.loads(stdout)[0]["generated"])


def test_a_run_on_damaged_rows_ends_as_on_a_whole_store(finished: Path, again: Path) -> None:
    store = again / "results" / "store.sqlite"
    edit(store, "UPDATE generations SET text = text || '9' WHERE key IN (SELECT key FROM generations LIMIT 2)")
    edit(store, "UPDATE critiques SET score = 1 - score WHERE key IN (SELECT key FROM critiques LIMIT 1)")
    done = refine_eval(*NAMED, cwd=again)
    assert generated(done.stdout) == 2
    assert done.stderr.count("3 damaged rows of the store results/store.sqlite were left out and written anew.") == 1
    assert_same(traces(again), traces(finished))
    done = refine_eval(*NAMED, cwd=again)
    assert generated(done.stdout) == 0
    assert "damaged" not in done.stderr


def test_a_run_on_an_older_store_writes_nothing(finished: Path, again: Path) -> None:
    version_1(again / "results" / "store.sqlite")
    assert generated(refine_eval(*NAMED, cwd=again).stdout) == 0
    assert traces(again) == traces(finished)
