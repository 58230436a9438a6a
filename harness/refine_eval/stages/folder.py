"""Output folders of training stages: complete or absent, with what they were made from, and seen to be unchanged.

A folder holds its rows in jsonl files and `stage.yaml`: the stage, its settings, the hashes of its inputs, counts,
and a hash of each file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from refine_eval.errors import StageError
from refine_eval.files import replacing_folder
from refine_eval.runs.store import content_key

INFO = "stage.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFolder:
    """A finished stage's folder, as its `stage.yaml` describes it."""

    path: Path
    stage: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    counts: Mapping[str, Any]
    files: Mapping[str, str]

    @property
    def digest(self) -> str:
        """A hash of the folder's content, by which later stages name it."""
        return content_key(self.stage, dict(self.files)).hex()

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The rows of one of its files."""
        with (self.path / name).open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """StageError where files cannot be written (a full disk, say); torch and safetensors each say it differently."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # torch's writer of files
            raise
        raise StageError(
            f"{what} cannot be written ({error}); free some space or name another folder and run the same command "
            "again: what was generated is stored."
        ) from error


def check_place(path: Path, stage: str) -> None:
    """StageError where a stage's output cannot go to `path`: only an older output of the stage is ever replaced."""
    if not path.name or path.name == "..":
        raise StageError(f"{path} cannot be replaced by the {stage} output; name a folder of its own with --out.")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        found = yaml.safe_load((path / INFO).read_text(encoding="utf-8"))["stage"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        found = None
    if found != stage:
        what = f"the output of {found!r}" if found else "something else"
        raise StageError(
            f"{path} holds {what}, which the {stage} output would replace; name another folder with --out, or move "
            "it away."
        )


def write_folder(
    path: Path,
    *,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, StageFolder],
    counts: Mapping[str, Any],
    rows: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    fill: Callable[[Path], None] = lambda folder: None,
) -> StageFolder:
    """Writes a stage's folder beside its place and moves it there; StageError where that fails (a full disk, say).

    `rows` are jsonl files by name; `fill` writes further files, such as a model's, into the folder it is given.
    """
    check_place(path, stage)
    with writing(f"The {stage} output {path}"), replacing_folder(path) as folder:
        fill(folder)
        for name, found in (rows or {}).items():
            with (folder / name).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        info = {
            "stage": stage,
            "settings": dict(settings),
            "inputs": {name: read.digest for name, read in inputs.items()},
            "counts": dict(counts),
            "files": {file.name: _hash(file) for file in sorted(folder.iterdir())},
        }
        (folder / INFO).write_text(yaml.safe_dump(info, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return read_folder(path, stage)


def stage_of(path: Path) -> str:
    """Which stage's output a folder is; StageError where it is none's."""
    try:
        return str(yaml.safe_load((path / INFO).read_text(encoding="utf-8"))["stage"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise StageError(f"{path} holds no finished output of a stage: it has no {INFO} that can be read.") from error


def read_folder(path: Path, stage: str, again: str | None = None) -> StageFolder:
    """A finished folder of `stage`; StageError where it is missing, of another stage, or was edited.

    `again` is how it is made again, where that is not by the stage's own command.
    """
    make = f"refine-eval {stage} ... --out {path}"
    again = again or f"make it again with: {make}"
    if not (path / INFO).is_file():
        raise StageError(f"{path} holds no finished {stage} output; make it with: {make}")
    try:
        info = yaml.safe_load((path / INFO).read_text(encoding="utf-8"))
        folder = StageFolder(
            path=path, **{key: info[key] for key in ("stage", "settings", "inputs", "counts", "files")}
        )
        changed = [name for name, digest in folder.files.items() if _hash(path / name) != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise StageError(f"{path / INFO} cannot be read ({error!r}); {again}") from error
    if folder.stage != stage:
        raise StageError(f"{path} is the output of {folder.stage!r}, and one of {stage!r} is needed.")
    if changed:
        raise StageError(f"{path / changed[0]} was edited after it was made; {again}")
    return folder


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
