"""A hash of the code that a component is made of, so that an edited plugin is not served its old scores."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

_HARNESS = "refine_eval."


@cache
def source_hash(*modules: str) -> str:
    """A hash of a component's code: `modules` are those of its class and of the components it inherits from.

    All modules of the first one's package count, and of the others' packages unless they are the harness's; of a
    module in no package its own file. Files are read once a process. Code without a file, as in a notebook, gets a
    value that no other process has: nobody can say whether it is what it was.
    """
    counted = [name for name in modules if name == modules[0] or not name.startswith(_HARNESS)]
    files = list(dict.fromkeys(map(_file, counted)))
    return "+".join(_hash(file) if file else os.urandom(6).hex() for file in files)


def _file(module: str) -> Path | None:
    """The file of a module, or the `__init__.py` of the outermost package around it that is not a mere namespace."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        file = getattr(sys.modules.get(".".join(parts[:end])), "__file__", None)
        if file and Path(file).is_file():
            return Path(file)
    return None


def _hash(file: Path) -> str:
    if file.stem != "__init__":
        return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    found = {path.relative_to(file.parent).as_posix(): path for path in file.parent.rglob("*.py")}
    digest = hashlib.sha256()
    for name, path in sorted(found.items()):
        if path.is_file() and "__pycache__" not in name:  # editors leave links to nowhere beside open files
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]
