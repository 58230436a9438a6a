"""Disks that are not local, or that cannot be written: which journal the store has, and who may read it."""

import multiprocessing
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from refine_eval.data import Generation
from refine_eval.errors import StoreError
from refine_eval.runs import database
from refine_eval.runs.database import network_file_system
from refine_eval.runs.store import Store, content_key

KEY = content_key("one")
GOOD = Generation(text="#### 3", tokens=2, finish_reason="stop")


def journal(path: Path) -> str:
    db = sqlite3.connect(path)
    try:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])
    finally:
        db.close()


def put(path: Path, number: int) -> None:
    with Store(path) as store:
        for i in range(20):
            store.put_generations([(content_key(number, i), GOOD)])


def mounted(folder: Path, kind: str, place: Path) -> Path:
    """A list of mounts as Linux has it, in which the folder's disk is of some kind."""
    device = folder.stat().st_dev
    mounts = place / "mountinfo"
    mounts.write_text(
        "22 27 0:21 / /proc rw,relatime - proc proc rw\nnonsense\n"
        f"30 27 {os.major(device)}:{os.minor(device)} / /home rw,relatime shared:1 - {kind} server:/home rw,vers=4.2\n"
    )
    return mounts


def test_network_disks_are_told_by_the_list_of_mounts(tmp_path: Path) -> None:
    for kind, network in (("nfs4", True), ("fuse.sshfs", True), ("lustre", True), ("ext4", False), ("fuseblk", False)):
        found = network_file_system(tmp_path, mounted(tmp_path, kind, tmp_path))
        assert found == (kind if network else None)
    assert network_file_system(tmp_path, tmp_path / "not Linux") is None


def test_a_store_on_a_network_disk_has_a_rollback_journal_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "network_file_system", lambda folder: "nfs4")
    path, said = tmp_path / "s.sqlite", list[str]()
    for _ in range(2):
        with Store(path, said.append) as store:
            store.put_generations([(KEY, GOOD)])
            assert store.generations([KEY]) == {KEY: GOOD}
    assert said == [
        f"The store {path} lies on a network disk (nfs4): it has SQLite's rollback journal, which is slower."
    ]
    assert journal(path) == "delete"
    assert not path.with_name("s.sqlite-wal").exists()


def test_a_store_with_a_log_that_lands_on_a_network_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "killed" / "s.sqlite"
    with Store(tmp_path / "s.sqlite") as store:
        store.put_generations([(KEY, GOOD)])
        path.parent.mkdir()
        for end in ("", "-wal"):  # as a kill leaves them: the text is in the log only
            path.with_name(f"s.sqlite{end}").write_bytes((tmp_path / f"s.sqlite{end}").read_bytes())
    monkeypatch.setattr(database, "network_file_system", lambda folder: "nfs4")
    with Store(path) as store, Store(path) as other:
        assert store.generations([KEY]) == other.generations([KEY]) == {KEY: GOOD}
        other.put_generations([(content_key("two"), GOOD)])
        assert len(store.generations([KEY, content_key("two")])) == 2
    assert journal(path) == "delete"


def test_a_rollback_journal_stays_where_another_machine_has_the_disk_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.sqlite"
    with monkeypatch.context() as patched:
        patched.setattr(database, "network_file_system", lambda folder: "nfs4")
        there = Store(path)
    with there, Store(path) as here:
        here.put_generations([(KEY, GOOD)])
        assert there.generations([KEY]) == {KEY: GOOD}
    assert journal(path) == "delete"


def test_processes_share_a_store_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.sqlite"
    with monkeypatch.context() as patched:
        patched.setattr(database, "network_file_system", lambda folder: "nfs4")
        Store(path).close()
    writers = [multiprocessing.get_context("fork").Process(target=put, args=(path, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with Store(path) as store:
        assert len(store.generations([content_key(n, i) for n in range(2) for i in range(20)])) == 40
    assert journal(path) == "delete"


class NoSharedMemory(sqlite3.Connection):
    """A disk on which SQLite's log fails: at once, or when it is first used."""

    complaint = "locking protocol"
    fails_on = "PRAGMA journal_mode=WAL"
    log = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql == "PRAGMA locking_mode=EXCLUSIVE":
            type(self).log = False
        if sql == "PRAGMA journal_mode=WAL":
            type(self).log = True
        if sql == self.fails_on and type(self).log:
            raise sqlite3.OperationalError(self.complaint)
        return super().execute(sql, *parameters)


@pytest.mark.parametrize("fails_on", ["PRAGMA journal_mode=WAL", "BEGIN IMMEDIATE"])
@pytest.mark.parametrize("complaint", ["locking protocol", "disk I/O error", "unable to open database file"])
def test_where_the_log_fails_there_is_a_rollback_journal(
    fails_on: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **named: connect(*a, **named, factory=NoSharedMemory))
    monkeypatch.setattr(NoSharedMemory, "fails_on", fails_on)
    monkeypatch.setattr(NoSharedMemory, "complaint", complaint)
    path, said = tmp_path / "s.sqlite", list[str]()
    with Store(path, said.append) as store:
        store.put_generations([(KEY, GOOD)])
        assert store.generations([KEY]) == {KEY: GOOD}
    assert len(said) == 1
    assert complaint in said[0]
    monkeypatch.undo()
    assert journal(path) == "delete"


class NoLocks(sqlite3.Connection):
    """A disk on which nothing can be locked."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql.startswith(("PRAGMA journal_mode", "BEGIN")):
            raise sqlite3.OperationalError("locking protocol")
        return super().execute(sql, *parameters)


def test_where_nothing_can_be_locked_another_disk_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda *a, **named: connect(*a, **named, factory=NoLocks))
        with pytest.raises(StoreError, match=r"does not let processes lock files; name a folder on another disk"):
            Store(tmp_path / "s.sqlite")
    import filelock

    def unsupported(self: Any) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr(filelock.FileLock, "_acquire", unsupported)
    with pytest.raises(StoreError, match=r"does not let processes lock files.*--results"):
        Store(tmp_path / "s.sqlite")


@pytest.mark.parametrize("cannot_write", ["file", "folder"])
def test_a_store_that_can_only_be_read_is_read(
    cannot_write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.put_generations([(KEY, GOOD)])
    refused = path if cannot_write == "file" else tmp_path
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != refused)  # root may write everything
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    with Store(path) as store:
        assert store.generations([KEY, content_key("two")]) == {KEY: GOOD}
        store.put_generations([])
        with pytest.raises(StoreError, match="can only be read, and it does not hold all that is needed"):
            store.put_generations([(content_key("two"), GOOD)])
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_readers_see_what_a_writer_has_in_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as writer:
        writer.put_generations([(KEY, GOOD)])
        monkeypatch.setattr(os, "access", lambda place, mode: False)
        with Store(path) as reader:
            assert reader.generations([KEY]) == {KEY: GOOD}
