"""Every generation and every score, once, by content key (SQLite, shared by all runs and processes).

A key is a hash of all that an output depends on, so nothing is ever updated: a second writer of the same key
wrote the same thing. A run that is killed leaves what it had stored; the next one reads it. A row that was damaged
is as good as none: what belongs there is written again, and takes its place.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from refine_eval.data import Critique, Generation
from refine_eval.errors import StoreError
from refine_eval.runs.database import columns_of, may_lack_checksums, open_database, transaction
from refine_eval.runs.rows import CRITIQUES, GENERATIONS, TABLES, Table

T = TypeVar("T")

_KEYS_PER_QUERY = 500  # SQLite's oldest limit on parameters of one statement is 999
_ANOTHER_SCHEMA = ("no such table", "no such column", "has no column")


def content_key(*parts: Any) -> bytes:
    """A 16-byte hash of JSON-serialisable parts; equal parts give equal keys on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Store:
    """A file of generations and critiques by key. Use as a context manager.

    A file or folder that cannot be written is read as far as that goes. `say` is told what users should know: that the
    disk makes it slower, and, when it is closed, how many rows were damaged. Raises StoreError where the file is
    corrupt, of another version, or cannot be written (a full disk, say).
    """

    def __init__(self, path: Path, say: Callable[[str], None] = lambda sentence: None) -> None:
        self.path = path
        self._say = say
        self._damaged: set[tuple[str, bytes]] = set()
        self._replaced: set[tuple[str, bytes]] = set()
        with self._guard():
            self._db, self.read_only = open_database(path, say)
            self._unchecked = may_lack_checksums(self._db)
            self._columns = {
                table.name: ", ".join(name if name in there else "NULL" for name in ("key", *table.names, "checksum"))
                for table in TABLES
                for there in [columns_of(self._db, table.name)]
            }

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; may be called twice."""
        self._db.close()
        if self._damaged:
            one = len(self._damaged) == 1
            self._say(
                f"{len(self._damaged)} damaged {'row' if one else 'rows'} of the store {self.path} "
                f"{'was' if one else 'were'} left out"
                f"{' and written anew' if self._replaced == self._damaged else ''}."
            )
            self._damaged = set()

    def generations(self, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        """The stored generations among `keys`."""
        return self._get(GENERATIONS, keys)

    def put_generations(self, items: Iterable[tuple[bytes, Generation]]) -> None:
        """Stores generations; keys that are there already stay as they are. StoreError for one that is not valid."""
        self._put(GENERATIONS, items)

    def critiques(
        self, keys: Sequence[bytes], steps: Mapping[bytes, int] | None = None
    ) -> dict[bytes, tuple[Critique, float]]:
        """The stored critiques among `keys`, each with the seconds it took.

        `steps` says how many step scores each must have; a row with another number of them is damaged.
        """
        found = self._get(CRITIQUES, keys)
        for key in [key for key in found if steps and len(found[key][0].step_scores) != steps[key]]:
            del found[key]
            self._damaged.add((CRITIQUES.name, key))
        return found

    def put_critiques(self, items: Iterable[tuple[bytes, Critique, float]]) -> None:
        """Stores (key, critique, seconds) as `put_generations` does."""
        self._put(CRITIQUES, ((key, (critique, seconds)) for key, critique, seconds in items))

    def _get(self, table: Table[T], keys: Sequence[bytes]) -> dict[bytes, T]:
        found: dict[bytes, T] = {}
        select = f"SELECT {self._columns[table.name]} FROM {table.name}"
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start : start + _KEYS_PER_QUERY]
            with self._guard():
                rows = self._db.execute(f"{select} WHERE key IN ({','.join('?' * len(some))})", some).fetchall()
            for row in rows:
                item = table.item(row, self._unchecked)
                if item is None:
                    self._damaged.add((table.name, row[0]))
                else:
                    found[row[0]] = item
        return found

    def _put(self, table: Table[T], items: Iterable[tuple[bytes, T]]) -> None:
        rows = [table.row(key, item) or self._refuse(table, item) for key, item in items]
        if self.read_only and rows:
            raise StoreError(
                f"The store {self.path} can only be read, and it does not hold all that is needed; name another folder "
                f"with --results, or copy this one there first to use what it holds."
            )
        names = ("key", *table.names, "checksum")
        into = f"INTO {table.name} ({', '.join(names)}) VALUES ({','.join('?' * len(names))})"
        anew = {row[0] for row in rows if (table.name, row[0]) in self._damaged}
        with self._guard(), transaction(self._db):
            self._db.executemany(
                f"INSERT {into} ON CONFLICT (key) DO NOTHING", [row for row in rows if row[0] not in anew]
            )
            self._db.executemany(f"INSERT OR REPLACE {into}", [row for row in rows if row[0] in anew])
        self._replaced |= {(table.name, key) for key in anew}

    def _refuse(self, table: Table[T], item: T) -> tuple[Any, ...]:
        raise StoreError(f"This cannot be stored among the {table.name}, as no run could use it: {str(item)[:200]}")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turns SQLite's and the file system's errors into one sentence."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(self._complaint(error)) from error
        except UnicodeDecodeError as error:  # SQLite's own message quotes the damage
            raise StoreError(self._corrupt("its schema is not text")) from error
        except OSError as error:
            raise StoreError(
                f"The store {self.path} cannot be opened ({error}); name another folder with --results."
            ) from error

    def _complaint(self, error: sqlite3.DatabaseError) -> str:
        said = str(error)
        if not isinstance(error, sqlite3.OperationalError) or any(words in said for words in _ANOTHER_SCHEMA):
            return self._corrupt(said)
        if "locked" in said or "busy" in said:
            return (
                f"Another process holds the store {self.path} and did not let go of it; wait for it to end, or "
                f"stop it, and run the same command again, or name another folder with --results."
            )
        if said == "locking protocol":
            return (
                f"The disk of the store {self.path} does not let processes lock files; name a folder on another disk "
                f"with --results."
            )
        hint = "free some space" if "full" in said else "check the disk and the folder's permissions"
        return (
            f"The store {self.path} cannot be used ({said}): {hint} and run the same command again; "
            f"what was stored before is kept."
        )

    def _corrupt(self, how: str) -> str:
        return (
            f"The store {self.path} is corrupt ({how[:200]}): move it away (mv {self.path} {self.path}.corrupt) and "
            f"run again; run records under runs/ are not affected."
        )


def store_path(results: Path) -> Path:
    """Where the store of a results folder is."""
    return results / "store.sqlite"
