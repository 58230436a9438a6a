"""What a signal does to this process for a while."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def handled(number: int, handler: Any) -> Iterator[None]:
    """In the block a signal has this handler, behind it the one that it had."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
