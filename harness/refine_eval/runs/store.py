"""Every generation and every score, once, by content key (SQLite in WAL mode, shared by all runs and processes).

A key is a hash of all that an output depends on, so nothing is ever updated: a second writer of the same key
wrote the same thing. A run that is killed leaves what it had stored; the next one reads it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from refine_eval.data import Critique, Generation
from refine_eval.errors import StoreError
from refine_eval.files import locked

SCHEMA_VERSION = 1
_WAIT_FOR_OTHER_WRITERS_S = 60.0
_KEYS_PER_QUERY = 500  # SQLite's oldest limit on parameters of one statement is 999

_TABLES = """
CREATE TABLE IF NOT EXISTS generations (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, tokens INTEGER NOT NULL,
    finish_reason TEXT NOT NULL, seconds REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS critiques (
    key BLOB PRIMARY KEY, score REAL NOT NULL, step_scores TEXT NOT NULL,
    first_bad_step INTEGER, seconds REAL NOT NULL
) WITHOUT ROWID;
"""


def content_key(*parts: Any) -> bytes:
    """A 16-byte hash of JSON-serialisable parts; equal parts give equal keys on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Store:
    """A file of generations and critiques by key. Use as a context manager.

    Raises StoreError where the file is corrupt, of another version, or cannot be written (a full disk, say).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._guard():
            path.parent.mkdir(parents=True, exist_ok=True)
            # One process at a time: SQLite does not wait for others when it changes a new file's journal mode.
            with locked(path.with_name(f"{path.name}-lock")):
                self._open()

    def _open(self) -> None:
        # Autocommit: each batch is one transaction, so a kill leaves whole batches.
        self._db = sqlite3.connect(self.path, timeout=_WAIT_FOR_OTHER_WRITERS_S, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise StoreError(
                    f"The store {self.path} is of version {version}, this refine-eval reads version {SCHEMA_VERSION}; "
                    f"name another folder with --results."
                )
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self._db.close()

    def generations(self, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        """The stored generations among `keys`."""
        rows = self._rows("SELECT key, text, tokens, finish_reason, seconds FROM generations", keys)
        return {
            key: Generation(text=text, tokens=tokens, finish_reason=reason, seconds=seconds)
            for key, text, tokens, reason, seconds in rows
        }

    def put_generations(self, items: Iterable[tuple[bytes, Generation]]) -> None:
        """Stores generations; keys that are there already stay as they are."""
        # A lone surrogate from a broken decoder cannot be written as UTF-8: it becomes "?" rather than a lost batch.
        rows = [(k, g.text.encode("utf-8", "replace").decode(), g.tokens, g.finish_reason, g.seconds) for k, g in items]
        self._insert("INSERT OR IGNORE INTO generations VALUES (?, ?, ?, ?, ?)", rows)

    def critiques(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Critique, float]]:
        """The stored critiques among `keys`, each with the seconds it took."""
        rows = self._rows("SELECT key, score, step_scores, first_bad_step, seconds FROM critiques", keys)
        return {
            key: (Critique(score=score, step_scores=tuple(json.loads(steps)), first_bad_step=first), seconds)
            for key, score, steps, first, seconds in rows
        }

    def put_critiques(self, items: Iterable[tuple[bytes, Critique, float]]) -> None:
        """Stores (key, critique, seconds); keys that are there already stay as they are."""
        rows = [(key, c.score, json.dumps(c.step_scores), c.first_bad_step, seconds) for key, c, seconds in items]
        self._insert("INSERT OR IGNORE INTO critiques VALUES (?, ?, ?, ?, ?)", rows)

    def _rows(self, select: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        with self._guard():
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                yield from self._db.execute(f"{select} WHERE key IN ({','.join('?' * len(some))})", some)

    def _insert(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with self._guard(), self._transaction():
            self._db.executemany(statement, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turns SQLite's and the file system's errors into one sentence."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise StoreError(
                    f"Another process holds the store {self.path} and did not let go of it; wait for it to end, or "
                    f"stop it, and run the same command again, or name another folder with --results."
                ) from error
            hint = "free some space" if "full" in str(error) else "check the disk and the folder's permissions"
            raise StoreError(
                f"The store {self.path} cannot be used ({error}): {hint} and run the same command again; "
                f"what was stored before is kept."
            ) from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise StoreError(
                f"The store {self.path} is corrupt ({error}): move it away (mv {self.path} {self.path}.corrupt) and "
                f"run again; run records under runs/ are not affected."
            ) from error
        except OSError as error:
            raise StoreError(
                f"The store {self.path} cannot be opened ({error}); name another folder with --results."
            ) from error


def store_path(results: Path) -> Path:
    """Where the store of a results folder is."""
    return results / "store.sqlite"
