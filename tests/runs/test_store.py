"""The store: written once, read back, shared by processes, honest about corruption."""

import multiprocessing
import sqlite3
import time
from pathlib import Path

import pytest

from refine_eval.data import Critique, Generation
from refine_eval.errors import StoreError
from refine_eval.runs.store import Store, content_key


def generation(i: int) -> Generation:
    return Generation(text=f"1+{i}={i + 1}\n#### {i + 1}", tokens=12, finish_reason="stop", seconds=0.25)


def test_what_is_put_is_got_back(tmp_path: Path) -> None:
    keys = [content_key("g", i) for i in range(1200)]  # more than one query's worth of keys
    with Store(tmp_path / "s.sqlite") as store:
        store.put_generations((key, generation(i)) for i, key in enumerate(keys))
        critique = Critique(score=0.75, step_scores=(1.0, 0.1), first_bad_step=1)
        store.put_critiques([(keys[0], critique, 0.5)])
    with Store(tmp_path / "s.sqlite") as store:
        found = store.generations([*keys, content_key("unknown")])
        assert found == {key: generation(i) for i, key in enumerate(keys)}
        assert store.critiques(keys[:2]) == {keys[0]: (critique, 0.5)}


def test_a_key_is_written_once(tmp_path: Path) -> None:
    key = content_key("same")
    with Store(tmp_path / "s.sqlite") as store:
        store.put_generations([(key, generation(1))])
        store.put_generations([(key, generation(2))])
        assert store.generations([key])[key] == generation(1)


def test_keys_depend_on_every_part() -> None:
    assert content_key("a", 1) == content_key("a", 1)
    assert len({content_key("a", 1), content_key("a", 2), content_key("a", "1"), content_key("a1")}) == 4


def test_a_lone_surrogate_does_not_lose_the_batch(tmp_path: Path) -> None:
    keys = [content_key(i) for i in range(2)]
    broken = Generation(text="ok \ud800", tokens=1, finish_reason="stop")
    with Store(tmp_path / "s.sqlite") as store:
        store.put_generations([(keys[0], broken), (keys[1], generation(1))])
        assert store.generations(keys)[keys[0]].text == "ok ?"


def _write(path: Path, first: int) -> None:
    with Store(path) as store:
        for i in range(first, first + 100):
            store.put_generations([(content_key(i), generation(i))])


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, first)) for first in (0, 50)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with Store(path) as store:
        assert len(store.generations([content_key(i) for i in range(150)])) == 150


def test_a_corrupt_store_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"this is no database " * 500)
    with pytest.raises(StoreError, match=r"corrupt.*move it away"):
        Store(path)


def test_a_store_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="version 99"):
        Store(path)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.put_generations([(content_key(0), generation(0))])
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count={pages + 1}")  # SQLite's own way to be full
        with pytest.raises(StoreError, match="free some space"):
            store.put_generations((content_key(i), generation(i)) for i in range(1, 10_000))
        assert store.generations([content_key(0)]) == {content_key(0): generation(0)}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--results"):
        Store(tmp_path / "file" / "s.sqlite")


def test_a_hundred_thousand_candidates_fit(tmp_path: Path) -> None:
    """The bounds are the promise in docs/design.md: 60 s and 500 MB."""
    path = tmp_path / "s.sqlite"
    keys = [content_key(i) for i in range(100_000)]
    text = "Natalia sold 48/2 = 24 clips in May.\n" * 6
    start = time.perf_counter()
    with Store(path) as store:
        for at in range(0, len(keys), 500):
            store.put_generations(
                (key, Generation(text=f"{text}{key.hex()}", tokens=90, finish_reason="stop"))
                for key in keys[at : at + 500]
            )
        found = store.generations(keys)
    assert all(found[key].text.endswith(key.hex()) for key in keys)
    assert time.perf_counter() - start < 60
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 500e6
