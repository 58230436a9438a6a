"""What was worked out from records, kept by the hashes of what it was worked out from: done once for each content.

`with remembering():` around a command makes `recall` keep its values in the user's cache folder; without it `recall`
works everything out. Losing the memory, or not being able to keep it, only costs time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from refine_eval.files import read_file, replace_file
from refine_eval.plugin.fingerprint import source_hash

T = TypeVar("T")

_MOST_BYTES = 200_000_000
_MOST_KEPT = 50_000
"""Values; of older ones those that this command did not ask for are forgotten first."""


@dataclass(slots=True)
class _Memory:
    code: str
    """A hash of this code: another version may work out something else."""
    known: dict[str, Any]
    asked: dict[str, Any] = field(default_factory=dict)


_memory: ContextVar[_Memory | None] = ContextVar("memory", default=None)


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """What is recalled in the block is known to the next one, in this process or another."""
    import platformdirs

    path = Path(platformdirs.user_cache_dir("refine-eval")) / "from-records.json"
    try:
        read = json.loads(read_file(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        read = {}
    memory = _Memory(code=source_hash(__name__), known=read if isinstance(read, dict) else {})
    token = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(token)
        if memory.asked.keys() - memory.known.keys():
            kept = dict([*memory.known.items(), *memory.asked.items()][-_MOST_KEPT:])
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, json.dumps(kept).encode())


def recall(fits: Callable[[Any], bool], make: Callable[[], T], *of: str) -> T:
    """What `make` gives, which depends on nothing but `of`: hashes and names. Not kept where JSON would change it.

    `fits` says whether what was kept is such a value.
    """
    memory = _memory.get()
    if memory is None:
        return make()
    key = hashlib.sha256("\0".join([memory.code, *of]).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    kept = memory.asked if key in memory.asked else memory.known
    if key in kept and fits(kept[key]):
        found: T = kept[key]
        memory.asked[key] = found
        return found
    made = make()
    with contextlib.suppress(TypeError, ValueError, RecursionError):
        if json.loads(json.dumps(made, allow_nan=False)) == made:
            memory.asked[key] = made
    return made
