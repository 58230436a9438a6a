"""Folders and files that are written whole or not at all."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from refine_eval.files import BusyError, locked, replace_file, replacing_folder


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
