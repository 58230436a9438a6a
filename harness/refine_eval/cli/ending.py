"""The end of a command whose plugins left threads running: its outcome is written, so it ends."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

_PATIENCE_S = 1.0
"""So long threads may take to end after the command."""
_BEFORE_S = 5.0
"""A process that has not begun to end by then goes on: the command was called in a larger program."""
_LOOK_EVERY_S = 0.05


def end_in_spite_of_threads(code: int) -> None:
    """From now on watches, beside, whether Python waits at its end for threads; if so, ends the process with `code`.

    Threads of pools end when Python asks them to. One that does not would keep a command for ever that is done.
    """
    threading.Thread(target=_watch, args=(code, threading.main_thread()), daemon=True).start()


def _watch(code: int, main: threading.Thread) -> None:
    began = time.monotonic()
    waits_since: float | None = None
    while waits_since is None or time.monotonic() - waits_since < _PATIENCE_S:
        time.sleep(_LOOK_EVERY_S)
        if not _waits_for_threads(main):
            if time.monotonic() - began > _BEFORE_S:
                return
        elif waits_since is None:
            waits_since = time.monotonic()
    left = [each.name for each in threading.enumerate() if not each.daemon and each is not main]
    with contextlib.suppress(OSError, ValueError):  # closed by now, or full
        print(f"Warning: a thread that a plugin left running is cut off: {', '.join(left)[:200]!r}.", file=sys.stderr)
        sys.stderr.flush()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def _waits_for_threads(main: threading.Thread) -> bool:
    """Whether the program has ended, and Python's own end of threading is all that the main thread does."""
    frame = sys._current_frames().get(main.ident or 0)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame is not None and frame.f_globals is vars(threading)
