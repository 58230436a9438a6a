"""The hashes of a record's files: whether they are as they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from refine_eval.errors import RunError
from refine_eval.files import open_file, read_file
from refine_eval.reading import from_json
from refine_eval.results.typed import OBJECT, TEXT, Fault, field

MANIFEST = "manifest.json"

_MOST_BYTES = 1_000_000


def write_manifest(folder: Path) -> None:
    """Writes the hashes of a record's files beside them."""
    files = {path.name: _hash(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", "utf-8")


def read_manifest(folder: Path) -> Mapping[str, str] | None:
    """The hash of each file of a record; None for one of an old version, which has no manifest.

    RunError where something of that name is no manifest.
    """
    path = folder / MANIFEST
    try:
        files = field(OBJECT.check(from_json(read_file(path, _MOST_BYTES).decode()), MANIFEST), "files", OBJECT)
        return {name: field(files, name, TEXT) for name in files}
    except FileNotFoundError:
        if path.is_symlink():
            raise corrupt(path, "it is a link to nowhere") from None
        return None
    except (OSError, ValueError) as error:
        raise corrupt(path, error) from error


def check_unchanged(folder: Path, names: Sequence[str]) -> None:
    """RunError where one of a record's files is not as it was written, or is missing; an older record cannot tell."""
    files = read_manifest(folder)
    for name in names if files is not None else ():
        path = folder / name
        try:
            if files is None or name not in files:
                raise Fault(f"{MANIFEST} does not name it")
            changed = files[name] != _hash(path)
        except (OSError, Fault) as error:
            raise corrupt(path, error) from error
        if changed:
            raise corrupt(path, "it was edited or cut short after it was written")


def corrupt(path: Path, why: object) -> RunError:
    """The sentence on a record that cannot be used."""
    said = f"{why.strerror or why}" if isinstance(why, OSError) else " ".join(str(why).split())[:300]
    return RunError(
        f"The run record {path} is corrupt ({said}): restore it, or delete that run's folder and run it again; what it "
        f"generated is in the store."
    )


def _hash(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
