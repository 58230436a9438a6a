"""Folders and files that are written whole or not at all."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from refine_eval.files import (
    BusyError,
    folder_name,
    folders_in,
    locked,
    open_file,
    read_file,
    reading_folder,
    replace_file,
    replacing_folder,
)


def write(target: Path, text: str) -> None:
    with replacing_folder(target) as folder:
        (folder / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("failing", [1, 2])
def test_the_old_folder_stays_where_a_move_fails(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "one", "old")
    real, calls = Path.rename, 0

    def rename(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path / "one", "new")
    assert (tmp_path / "one" / "file").read_text() == "old"
    assert names(tmp_path) == ["one"]


def test_the_old_folder_is_kept_even_where_it_cannot_be_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "one", "old")
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if target.name == "one":
            raise OSError(5, "Input/output error")
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="Input/output error"):
            write(tmp_path / "one", "new")
    assert names(tmp_path) == [".one.old"]
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "one"):
        raise RuntimeError("the next writer fails, too")
    assert (tmp_path / "one" / "file").read_text() == "old"


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    for left in (".one.partial", ".one.old"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "other").write_text("left")
    write(tmp_path / "one", "new")
    assert names(tmp_path) == ["one"]
    assert names(tmp_path / "one") == ["file"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from refine_eval.files import replacing_folder\n"
        f"with replacing_folder(Path({str(tmp_path / 'one')!r})) as new: (new / 'file').write_text('other')"
    )
    with replacing_folder(tmp_path / "one") as folder:
        done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, timeout=60)
        assert "BusyError: another process" in done.stderr
        (folder / "file").write_text("mine")
    assert (tmp_path / "one" / "file").read_text() == "mine"
    assert subprocess.run([sys.executable, "-c", other], timeout=60).returncode == 0
    assert (tmp_path / "one" / "file").read_text() == "other"


def test_a_lock_is_held_by_one_and_tells_its_descriptor(tmp_path: Path) -> None:
    with locked(tmp_path / "lock") as descriptor:
        assert Path(f"/dev/fd/{descriptor}").exists()
        with pytest.raises(BusyError), locked(tmp_path / "lock", wait_s=0):
            pass
    with locked(tmp_path / "lock", wait_s=0):
        pass


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "one", b"old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            replace_file(tmp_path / "one", b"new")
    assert (tmp_path / "one").read_bytes() == b"old"
    assert names(tmp_path) == ["one"]


def test_what_is_not_the_writers_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "one"
    write(target, "old")
    (target / "report.html").write_text("mine")
    (target / "notes").mkdir()
    (target / "notes" / "a").write_text("mine, too")
    with replacing_folder(target, ours=["file"]) as folder:
        (folder / "file").write_text("new")
    assert names(target) == ["file", "notes", "report.html"]
    assert (target / "file").read_text() == "new"
    assert (target / "notes" / "a").read_text() == "mine, too"
    assert names(tmp_path) == ["one"]


def test_what_is_not_the_writers_is_kept_after_a_kill_between_the_moves(tmp_path: Path) -> None:
    write(tmp_path / "one", "new")
    (tmp_path / ".one.old").mkdir()
    (tmp_path / ".one.old" / "report.html").write_text("mine")
    (tmp_path / ".one.old" / "file").write_text("old")
    with replacing_folder(tmp_path / "one", ours=["file"]) as folder:
        (folder / "file").write_text("newer")
    assert (tmp_path / "one" / "report.html").read_text() == "mine"
    assert (tmp_path / "one" / "file").read_text() == "newer"


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("mine")
    with pytest.raises(NotADirectoryError), replacing_folder(tmp_path / "one"):
        pass
    assert (tmp_path / "one").read_text() == "mine"


def test_a_link_stays_one(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "old")
    (tmp_path / "one").symlink_to("elsewhere")
    write(tmp_path / "one", "new")
    assert (tmp_path / "one").is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_text() == "new"


def test_a_reader_during_swaps_sees_one_whole_folder(tmp_path: Path) -> None:
    """Two files of one writer each: neither is missing, and they are of the same writer."""
    target = tmp_path / "one"

    def write_pair(number: int) -> None:
        with replacing_folder(target, wait_s=60) as folder:
            (folder / "a").write_text(str(number))
            (folder / "b").write_text(str(number))

    def read_pair(folder: Path) -> tuple[str, str]:
        first = (folder / "a").read_text()
        time.sleep(0.0005)
        return first, (folder / "b").read_text()

    write_pair(0)
    done = threading.Event()

    def swap() -> None:
        number = 0
        while not done.is_set():
            write_pair(number := number + 1)

    reads: list[str] = []
    writer = threading.Thread(target=swap)
    writer.start()
    try:
        while len(reads) < 50:
            first, second = reading_folder(target, read_pair)
            assert first == second
            assert all(folders_in(tmp_path) == [target] for _ in range(20))
            reads.append(first)
    finally:
        done.set()
        writer.join()
    assert len(set(reads)) > 1, "no swap came between"


def test_a_folder_that_is_missing_is_missing_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(FileNotFoundError):
        reading_folder(tmp_path / "one", lambda folder: (folder / "a").read_text())
    assert time.monotonic() - start < 1


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"12345")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a plain file"):
            open_file(path)
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_file(tmp_path / "long", 4)
    assert read_file(tmp_path / "long", 5) == b"12345"


@pytest.mark.parametrize(
    ("text", "name"), [("a/b c", "a-b-c"), ("../../etc", "etc"), ("", "run"), ("x+y_1.2", "x+y_1.2")]
)
def test_any_text_is_a_safe_name_of_a_folder(text: str, name: str) -> None:
    assert folder_name(text) == name
