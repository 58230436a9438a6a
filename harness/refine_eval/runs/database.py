"""The store's file, opened: its journal by what the disk can do, its tables made or brought up to date.

SQLite's write-ahead log (WAL) needs memory that all who use the file share, so it serves the processes of one machine;
on network disks it fails, or two machines ruin the file. There the store has a rollback journal, which needs only locks
and is somewhat slower.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from refine_eval.errors import StoreError
from refine_eval.files import locked
from refine_eval.runs.rows import TABLES

SCHEMA_VERSION = 5
"""2: rows have checksums. 3: they tell how many tokens were read. 4: critiques may be in words, and generations how
likely choices are. 5: and what a server calls the model's thought. Stores of an older version are brought up to it when
they are opened to be written."""

_CHECKED_FROM_THE_START = 0x72666576  # "rfev", SQLite's application_id
"""Stands in files that never held a row without a checksum: one that has none there was damaged, or edited."""

_OLDEST_VERSION = 1
_NEW_FILE = 0
_WAIT_FOR_OTHERS_S = 60.0

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre", "gpfs", "beegfs"),
    *("orangefs", "pvfs2", "ocfs2", "gfs2"),
)
_WITHOUT_SHARED_MEMORY = ("locking protocol", "disk I/O error", "unable to open database file")
"""How SQLite says that the write-ahead log does not work here."""


def open_database(path: Path, say: Callable[[str], None]) -> tuple[sqlite3.Connection, bool]:
    """The store's file, and whether it can only be read; `say` gets a sentence where it has the slower journal.

    Autocommit, and texts as bytes. StoreError where it is of another version; SQLite's and the system's errors come
    through.
    """
    if path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _open_to_read(path), True
    path.parent.mkdir(parents=True, exist_ok=True)
    # One process at a time: SQLite does not wait for others when it changes a new file's journal mode.
    with locked(path.with_name(f"{path.name}-lock")):
        return _open_to_write(path, say), False


def _open_to_write(path: Path, say: Callable[[str], None]) -> sqlite3.Connection:
    network = network_file_system(path.parent)
    why = f"lies on a network disk ({network})" if network else ""
    if not network:
        try:
            with _connected(str(path)) as db:
                _use_write_ahead_log(db)
                _make_tables(db, path)
            return db
        except sqlite3.OperationalError as error:
            if str(error) not in _WITHOUT_SHARED_MEMORY:
                raise
            why = f"lies on a disk that cannot share memory between processes ({error})"
    with _connected(str(path)) as db:
        if _use_rollback_journal(db):
            say(f"The store {path} {why}: it has SQLite's rollback journal, which is slower.")
        _make_tables(db, path)
    return db


def _open_to_read(path: Path) -> sqlite3.Connection:
    # With a log beside it somebody may be writing; without one there is nothing but the file, and SQLite need not make
    # its own files there, which it could not.
    alone = not path.with_name(f"{path.name}-wal").exists()
    with _connected(f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}", uri=True) as db:
        _version(db, path)
    return db


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A store's file as it lies there: its version, its journal ("wal", "delete"), whether somebody writes to it."""

    version: int
    journal: str
    is_held: bool


def look_into(path: Path, wait_s: float = 0.2) -> Look:
    """What the file of a store says of itself, without a change to it; errors as those of `open_database`."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=wait_s)) as db:
        db.isolation_level, db.text_factory = None, bytes
        version, journal, is_held = _version(db, path), _journal(db).decode(), False
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            is_held = True
    return Look(version=version, journal=journal, is_held=is_held)


@contextmanager
def _connected(name: str, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection, closed where the block fails and left open where it does not."""
    db = sqlite3.connect(name, timeout=_WAIT_FOR_OTHERS_S, isolation_level=None, uri=uri)
    db.text_factory = bytes
    try:
        yield db
    except BaseException:
        db.close()
        raise


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """For new files and those that have it: where there is a rollback journal, another machine may need it."""
    if _journal(db) != b"wal" and db.execute("PRAGMA user_version").fetchone()[0] == _NEW_FILE:
        db.execute("PRAGMA journal_mode=WAL")
    if _journal(db) == b"wal":
        # Not so with a rollback journal, which a power cut could then spoil.
        db.execute("PRAGMA synchronous=NORMAL")


def _use_rollback_journal(db: sqlite3.Connection) -> bool:
    """Whether it had another one; StoreError's cause where somebody else has the file open with its log."""
    db.execute("PRAGMA locking_mode=EXCLUSIVE")  # so SQLite reads a log that is there without shared memory
    changed = db.execute("PRAGMA user_version").fetchone()[0] == _NEW_FILE or _journal(db) == b"wal"
    db.execute("PRAGMA journal_mode=DELETE")
    db.execute("PRAGMA locking_mode=NORMAL")
    db.execute("PRAGMA user_version").fetchone()  # the lock goes when the file is next used
    return changed


def _journal(db: sqlite3.Connection) -> bytes:
    return bytes(db.execute("PRAGMA journal_mode").fetchone()[0])


def _version(db: sqlite3.Connection, path: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version != _NEW_FILE and not _OLDEST_VERSION <= version <= SCHEMA_VERSION:
        raise StoreError(
            f"The store {path} is of version {version}, this refine-eval reads versions {_OLDEST_VERSION} to "
            f"{SCHEMA_VERSION}; name another folder with --results."
        )
    return version


def _make_tables(db: sqlite3.Connection, path: Path) -> None:
    with transaction(db):
        version = _version(db, path)
        if version == SCHEMA_VERSION:
            return
        if version == _NEW_FILE:
            db.execute(f"PRAGMA application_id={_CHECKED_FROM_THE_START}")
        for table in TABLES:
            typed = [f"{name} {kind}" for name, kind in table.columns]
            later = [("checksum", "BLOB"), *table.added]
            db.execute(
                f"CREATE TABLE IF NOT EXISTS {table.name} ({', '.join(['key BLOB PRIMARY KEY', *typed])}) WITHOUT ROWID"
            )
            there = columns_of(db, table.name)
            for name, kind in later:
                if name not in there:
                    db.execute(f"ALTER TABLE {table.name} ADD COLUMN {name} {kind}")
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def may_lack_checksums(db: sqlite3.Connection) -> bool:
    """Whether rows may be from before there were checksums."""
    return bool(db.execute("PRAGMA application_id").fetchone()[0] != _CHECKED_FROM_THE_START)


def columns_of(db: sqlite3.Connection, table: str) -> frozenset[str]:
    """The columns that a table has; those of an old store that can only be read lack some."""
    return frozenset(bytes(name).decode() for _, name, *_ in db.execute(f"PRAGMA table_info({table})"))


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of a block's statements or none."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def network_file_system(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of network disk on which a folder lies; None for local ones, and where the system does not say."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return None
    for line in lines:
        # id, parent, device, root, place, options, further fields, "-", kind, source, options: proc(5)
        mount, _, described = line.partition(" - ")
        fields, kind = mount.split(), described.split(" ")[0]
        if len(fields) > 2 and fields[2] == wanted and (kind in _NETWORK or kind.startswith("fuse.")):
            return kind
    return None
