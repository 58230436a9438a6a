"""Files and folders that are written whole or not at all, and locks between processes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


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
def replacing_folder(target: Path, wait_s: float = 0, ours: Collection[str] | None = None) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `target` when the block ends well.

    With `ours`, the names of files that the writer writes, whatever else lies in `target` is moved to the new folder:
    it is the user's. Where the block or the move fails, what was there before stays, and after a kill between two moves
    the next writer puts it back. One process at a time: BusyError where another one still writes `target` after
    `wait_s` seconds. Readers use `reading_folder`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target = target.resolve() if target.is_symlink() else target
    new, old = (target.with_name(f".{target.name}.{word}") for word in ("partial", "old"))
    with locked(target.with_name(f".{target.name}.lock"), wait_s, keep=False):
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "a file is there", str(target))
        if old.exists() and not target.exists():
            old.rename(target)
        _remove(old, target, ours)
        shutil.rmtree(new, ignore_errors=True)  # left by a kill
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
                _remove(old, target, ours)


def _remove(old: Path, target: Path, ours: Collection[str] | None) -> None:
    """Removes a folder that was replaced, when what is not `ours` is moved to `target`."""
    if ours is not None and old.is_dir():
        for path in old.iterdir():
            if path.name not in ours and not (target / path.name).exists():
                path.rename(target / path.name)
    shutil.rmtree(old, ignore_errors=True)


def reading_folder(target: Path, read: Callable[[Path], T], wait_s: float = 3) -> T:
    """What `read` makes of a folder that `replacing_folder` may be replacing meanwhile: of the old one or of the new.

    A folder that was replaced under the reader is read again, and one that is between two places is waited for, so an
    error of `read` is one of a folder that lies still.
    """
    until = time.monotonic() + wait_s
    while True:
        before = _version(target)
        try:
            found = read(target)
        except Exception:
            if time.monotonic() > until or (_version(target) == before and not is_between_places(target)):
                raise
        else:
            if _version(target) == before or time.monotonic() > until:
                return found
        time.sleep(0.01)


def _version(folder: Path) -> tuple[int, ...] | None:
    """Changes when a folder is replaced, or a file in it; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def is_between_places(target: Path) -> bool:
    """Whether `replacing_folder` has taken the old folder away, and the new one is not there yet."""
    return not target.exists() and target.with_name(f".{target.name}.old").is_dir()


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder by name, those that `replacing_folder` writes as they are before or after."""
    with os.scandir(folder) as entries:  # they carry what they are: a second look may come after a swap
        found = {entry.name for entry in entries if entry.is_dir()}
    between = {name[1:-4] for name in found if name.startswith(".") and name.endswith(".old")}
    shown = {name for name in found if not name.startswith(".")} | between
    return [folder / name for name in sorted(shown) if name]


def expanded(place: Path | str) -> Path:
    """A path with "~" as the home folder, or as it is where there is no such user.

    Ask `os.path` whether it is there: pathlib raises where a text is too long to be a path.
    """
    return Path(os.path.expanduser(place))


def folder_name(text: str) -> str:
    """A text as a safe name of a folder: letters, digits, ".", "_", "+" and "-"."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.") or "run"


def open_file(path: Path) -> BufferedReader:
    """Opens a file to read; OSError where it is missing or no plain file: a pipe would be waited for for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def read_file(path: Path, most: int) -> bytes:
    """A file's content; OSError where it is missing, no plain file, or has more than `most` bytes."""
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return content


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
