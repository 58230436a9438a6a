"""Output folders of training stages: complete or absent, with what they were made from, and seen to be unchanged.

A folder holds its rows in jsonl files and `stage.yaml`: the stage, its settings, the hashes of its inputs, counts,
and a hash of each file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from refine_eval.errors import StageError
from refine_eval.store import content_key

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


def write_folder(
    path: Path,
    *,
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, StageFolder],
    counts: Mapping[str, Any],
    rows: Mapping[str, Iterable[Mapping[str, Any]]],
) -> StageFolder:
    """Writes a stage's folder beside its place and moves it there; StageError where that fails (a full disk, say)."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, found in rows.items():
            with (partial / name).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        info = {
            "stage": stage,
            "settings": dict(settings),
            "inputs": {name: folder.digest for name, folder in inputs.items()},
            "counts": dict(counts),
            "files": {file.name: _hash(file) for file in sorted(partial.iterdir())},
        }
        (partial / INFO).write_text(yaml.safe_dump(info, sort_keys=False, allow_unicode=True), encoding="utf-8")
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    except OSError as error:
        raise StageError(
            f"The {stage} output {path} cannot be written ({error}); free some space or name another folder and type "
            "the same command again: what was generated is stored."
        ) from error
    return read_folder(path, stage)


def read_folder(path: Path, stage: str) -> StageFolder:
    """A finished folder of `stage`; StageError where it is missing, of another stage, or was edited."""
    make = f"refine-eval {stage} ... --out {path}"
    if not (path / INFO).is_file():
        raise StageError(f"{path} holds no finished {stage} output; make it with: {make}")
    try:
        info = yaml.safe_load((path / INFO).read_text(encoding="utf-8"))
        folder = StageFolder(
            path=path, **{key: info[key] for key in ("stage", "settings", "inputs", "counts", "files")}
        )
        changed = [name for name, digest in folder.files.items() if _hash(path / name) != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise StageError(f"{path / INFO} cannot be read ({error!r}); make it again with: {make}") from error
    if folder.stage != stage:
        raise StageError(f"{path} is the output of {folder.stage!r}, and one of {stage!r} is needed.")
    if changed:
        raise StageError(f"{path / changed[0]} was edited after it was made; make it again with: {make}")
    return folder


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
