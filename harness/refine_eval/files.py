"""Files and folders that are written whole or not at all, and locks between processes."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class BusyError(OSError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, wait_s: float = -1, keep: bool = True) -> Iterator[int]:
    """Holds the lock file `path`, created where it is missing; yields its descriptor, for child processes to hold too.

    Waits `wait_s` seconds for another holder (-1: for ever), then raises BusyError. Without `keep` the file is removed.
    """
    from filelock import FileLock, Timeout  # not needed to show help

    descriptors: list[int] = []
    lock = FileLock(path, timeout=wait_s, on_acquired=descriptors.append)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"another process holds {path}") from error
    except NotImplementedError as error:  # how filelock says so
        raise OSError(errno.ENOLCK, "the disk does not let processes lock files", str(path)) from error
    try:
        yield descriptors[-1]
    finally:
        if not keep:
            with suppress(OSError):
                path.unlink()  # while it is held: who waits for it sees that, and makes a new one
        lock.release()


@contextmanager
def replacing_folder(target: Path, wait_s: float = 0) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `target` when the block ends well.

    Where the block or the move fails, what was there before stays, and after a kill between two moves the next writer
    puts it back. One process at a time: BusyError where another one still writes `target` after `wait_s` seconds.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    new, old = (target.with_name(f".{target.name}.{word}") for word in ("partial", "old"))
    with locked(target.with_name(f".{target.name}.lock"), wait_s, keep=False):
        if old.exists() and not target.exists():
            old.rename(target)
        for left_by_a_kill in (new, old):
            shutil.rmtree(left_by_a_kill, ignore_errors=True)
        new.mkdir()
        try:
            yield new
            if target.exists():
                target.rename(old)
            try:
                new.rename(target)
            except OSError:
                if old.exists():
                    old.rename(target)
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
            if target.exists():  # else the old one is all there is
                shutil.rmtree(old, ignore_errors=True)


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file as a whole; OSError where that fails, and what was there before stays."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        partial.chmod(0o644)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
