"""Any damage to the store's file or its rows: what is served is what was stored, or one sentence says what is wrong."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fuzz import HOSTILE_NUMBERS, HOSTILE_TEXTS, Accepted, accepted_or_refused, broken_bytes, fuzz
from hypothesis import strategies as st

from refine_eval.data import FINISH_REASONS, Critique, Generation
from refine_eval.runs.store import Store, content_key

GENERATIONS = {
    content_key("text", n): Generation(
        text=f"{n} + {n} = {2 * n}\n" * (n % 5) + f"#### {2 * n} \N{HEDGEHOG}",
        tokens=7 * n,
        finish_reason=FINISH_REASONS[n % 2],
        seconds=n / 8,
        prompt_tokens=n or None,
        cached_tokens=n // 2,
        logprobs=(-0.5 * n, None, -2.25) if n % 3 == 1 else None,
        logprob_bound=-7.0 if n % 3 == 1 else None,
    )
    for n in range(40)
}
CRITIQUES = {
    content_key("score", n): (
        Critique(
            score=n / 40,
            step_scores=(0.1, n / 40),
            first_bad_step=n % 2 or None,
            read_tokens=n or None,
            feedback="Look at step 2.\n" * (n % 3) + "\N{HEDGEHOG}" if n % 3 else None,
        ),
        n / 16,
    )
    for n in range(40)
}
STEPS = dict.fromkeys(CRITIQUES, 2)
COLUMNS = {
    "generations": (
        "key",
        "text",
        "tokens",
        "finish_reason",
        "seconds",
        "prompt_tokens",
        "cached_tokens",
        "logprobs",
        "checksum",
    ),
    "critiques": ("key", "score", "step_scores", "first_bad_step", "seconds", "read_tokens", "feedback", "checksum"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "whole.sqlite"
    with Store(path) as store:
        store.put_generations(GENERATIONS.items())
        store.put_critiques((key, *scored) for key, scored in CRITIQUES.items())
    return path


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the system has one: SQLite waits for disks, thousands of times here."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def place(folder: Path, content: bytes) -> Path:
    path = folder / "s.sqlite"
    for file in folder.glob("s.sqlite*"):
        file.unlink()
    path.write_bytes(content)
    return path


def use(path: Path) -> tuple[dict[bytes, Generation], dict[bytes, tuple[Critique, float]]]:
    """What a run does: looks up, writes what is missing; what it then has."""
    with Store(path) as store:
        texts, scored = store.generations([*GENERATIONS]), store.critiques([*CRITIQUES], STEPS)
        store.put_generations((key, GENERATIONS[key]) for key in GENERATIONS.keys() - texts.keys())
        store.put_critiques((key, *CRITIQUES[key]) for key in CRITIQUES.keys() - scored.keys())
    return GENERATIONS | texts, CRITIQUES | scored


def check(path: Path) -> None:
    """Nothing but what was stored, in this run and in the next one."""
    done = accepted_or_refused(lambda: use(path))
    if isinstance(done, Accepted):
        assert done.value == (GENERATIONS, CRITIQUES)
        again = accepted_or_refused(lambda: use(path))
        assert not isinstance(again, Accepted) or again.value == (GENERATIONS, CRITIQUES)


@fuzz(damages=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=12))
def test_bytes_that_flip_in_the_file_change_no_text_and_no_score(
    whole: Path, memory: Path, damages: list[tuple[int, int]]
) -> None:
    content = bytearray(whole.read_bytes())
    for at, byte in damages:
        content[at % len(content)] = byte
    check(place(memory, bytes(content)))


@fuzz(data=st.data())
def test_files_that_were_cut_shifted_or_written_over_change_no_text_and_no_score(
    whole: Path, memory: Path, data: st.DataObject
) -> None:
    check(place(memory, data.draw(broken_bytes(whole.read_bytes()))))


CELLS = st.none() | HOSTILE_NUMBERS | HOSTILE_TEXTS | st.binary(max_size=20)
EDITS = st.lists(
    st.sampled_from([(table, column) for table, columns in COLUMNS.items() for column in columns]).flatmap(
        lambda place: st.tuples(st.just(place), st.integers(0, 39), CELLS)
    ),
    min_size=1,
    max_size=5,
)


def edit(path: Path, edits: list[tuple[tuple[str, str], int, Any]]) -> None:
    keys: Mapping[str, list[bytes]] = {"generations": [*GENERATIONS], "critiques": [*CRITIQUES]}
    db = sqlite3.connect(path, isolation_level=None)
    for (table, column), row, value in edits:
        try:
            db.execute(f"UPDATE {table} SET {column} = ? WHERE key = ?", (value, keys[table][row]))
        except (sqlite3.Error, OverflowError, UnicodeEncodeError):  # nobody could write that
            continue
    db.close()


@fuzz(edits=EDITS)
def test_rows_that_were_edited_change_no_text_and_no_score(whole: Path, memory: Path, edits: Any) -> None:
    path = place(memory, whole.read_bytes())
    edit(path, edits)
    check(path)


@fuzz(edits=EDITS)
def test_rows_of_old_stores_hold_what_they_can_hold(whole: Path, memory: Path, edits: Any) -> None:
    path = place(memory, whole.read_bytes())
    edit(path, edits)
    db = sqlite3.connect(path, isolation_level=None)
    for table in COLUMNS:
        db.execute(f"UPDATE {table} SET checksum = NULL")
    db.execute("PRAGMA application_id=0")  # as in a file from before there were checksums
    db.close()
    texts, scored = use(path)
    for text in texts.values():
        assert isinstance(text.text, str)
        assert text.tokens >= 0
        assert text.finish_reason in FINISH_REASONS
    for critique, seconds in scored.values():
        assert 0 <= critique.score <= 1
        assert len(critique.step_scores) == 2
        assert all(0 <= score <= 1 for score in critique.step_scores)
        assert critique.first_bad_step in (None, 0, 1)
        assert abs(seconds) < float("inf")
    assert use(path) == (texts, scored)
