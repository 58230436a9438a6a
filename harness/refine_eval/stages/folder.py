"""Output folders of training stages: complete or absent, with what they were made from, and seen to be unchanged.

A folder holds its rows in jsonl files and `stage.yaml`: the stage, its settings, the hashes of its inputs, counts,
and a hash of each file.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from refine_eval.errors import StageError
from refine_eval.files import replacing_folder
from refine_eval.reading import Unreadable, from_json, from_yaml, read_bytes
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
        """The rows of one of its files; StageError, with the line, for one that is no JSON object."""
        for _, row in self.numbered_rows(name):
            yield row

    def numbered_rows(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows with their lines, from 1."""
        try:
            with (self.path / name).open("rb") as file:
                for number, line in enumerate(file, 1):
                    row = from_json(line)
                    if not isinstance(row, dict):
                        raise Unreadable("it is not a JSON object")
                    yield number, row
        except OSError as error:
            raise StageError(f"{self.path / name} cannot be read ({error}); make {self.path} again.") from error
        except Unreadable as error:
            raise self.damaged(name, number, error) from error

    def damaged(self, name: str, line: int, why: object) -> StageError:
        """The error for a row that cannot be read."""
        return StageError(f"{self.path / name}, line {line} is damaged ({why}); make {self.path} again.")


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
        found = _info(path)["stage"]
    except (OSError, ValueError):
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
        return str(_info(path)["stage"])
    except (OSError, ValueError) as error:
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
        folder = StageFolder(path=path, **_info(path))
        changed = [name for name, digest in folder.files.items() if _hash(path / name) != digest]
    except (OSError, ValueError) as error:
        raise StageError(f"{path / INFO} cannot be read ({error!r}); {again}") from error
    if folder.stage != stage:
        raise StageError(f"{path} is the output of {folder.stage!r}, and one of {stage!r} is needed.")
    if changed:
        raise StageError(f"{path / changed[0]} was edited after it was made; {again}")
    return folder


_INFO_KINDS: Mapping[str, type] = {"stage": str, "settings": dict, "inputs": dict, "counts": dict, "files": dict}


def _info(path: Path) -> dict[str, Any]:
    """What a folder's stage.yaml says; ValueError where it says something else than `write_folder` writes."""
    found = from_yaml(read_bytes(path / INFO), written_here=True)
    if not isinstance(found, dict):
        raise Unreadable("it is no mapping")
    for key, kind in _INFO_KINDS.items():
        if not isinstance(found.get(key), kind):
            raise Unreadable(f"its {key!r} is {reprlib.repr(found.get(key))}")
    for key in ("inputs", "files"):
        if not all(isinstance(text, str) for pair in found[key].items() for text in pair):
            raise Unreadable(f"its {key!r} has something else than hashes")
    return {key: found[key] for key in _INFO_KINDS}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
