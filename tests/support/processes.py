"""Whether processes have ended."""

import time
from pathlib import Path


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def assert_all_end(processes: set[int], within: float = 10) -> None:
    deadline = time.monotonic() + within
    while left := {pid for pid in processes if alive(pid)}:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)
