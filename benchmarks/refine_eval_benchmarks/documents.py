"""Documents of a data set from files with its own column names: jsonl, csv or parquet, as the hub has them."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine_eval import Documents, TaskError

HUB = "https://huggingface.co/datasets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where a data set lies in a data folder, and which of its columns a task reads.

    `folder`/SPLIT.jsonl, .csv or .parquet (or the hub's SPLIT-00000-of-00001.parquet) for each of `splits`, of which
    those in `may_lack` need not be there. `columns` hold texts or numbers; those in `may_be_null` may be null, and be
    missing where they are not among `columns`.
    """

    hub: str
    folder: str
    splits: tuple[str, ...]
    columns: tuple[str, ...]
    may_be_null: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """What `tasks list` says of them."""
        names = ",".join(self.splits)
        return f"hub: {self.hub}; DIR/{self.folder}/{'{' + names + '}' if len(self.splits) > 1 else names}.jsonl"

    def read(self, data_dir: Path) -> Documents:
        """The documents of each split; TaskError, with file and line, where they are not there or do not fit."""
        return {split: self._split(data_dir / self.folder, split) for split in self.splits}

    def _split(self, folder: Path, split: str) -> list[dict[str, Any]]:
        paths = [path for suffix in _READERS if (path := folder / f"{split}{suffix}").is_file()]
        paths = paths[:1] or sorted(folder.glob(f"{split}-*.parquet"))
        if not paths and split in self.may_lack:
            return []
        if not paths:
            raise TaskError(
                f"There is no {folder / split}.jsonl (.csv and .parquet will do, too); put the split {split!r} of "
                f"{HUB}{self.hub} there, or leave out --data-dir and REFINE_EVAL_DATA to take the data from the hub."
            ) from FileNotFoundError(folder)
        return [self._document(path, number, row) for path in paths for number, row in _rows(path)]

    def _document(self, path: Path, number: int, row: object) -> dict[str, Any]:
        if not isinstance(row, dict):
            raise TaskError(f"{path}, line {number} is not an object with the columns {', '.join(self.columns)}.")
        document = {name: _value(row.get(name)) for name in dict.fromkeys((*self.columns, *self.may_be_null))}
        for name in self.columns:
            if name not in row:
                named = ", ".join(map(str, list(row)[:8])) or "nothing"
                raise TaskError(f"{path}, line {number} has no column {name!r}; it has {named[:200]}.")
            if not document[name] and name not in self.may_be_null:
                raise TaskError(f"{path}, line {number} has neither a text nor a number in its column {name!r}.")
        return document


def _value(value: object) -> str | None:
    """Texts as they are, whole numbers in digits (parquet and pandas have 18 as 18.0), None for anything else."""
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    """(line or row from 1, row) of a file."""
    try:
        yield from _READERS[path.suffix](path)
    except OSError as error:
        raise TaskError(
            f"Cannot read {path} ({error.strerror or error}); see that it is whole and readable."
        ) from error


def _jsonl(path: Path) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TaskError(f"{path}, line {number} is not JSON ({error}); put the whole file there.") from error


def _csv(path: Path) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    line = 1
    try:
        line += reader.fieldnames is not None
        for row in reader:
            yield reader.line_num, {name: value for name, value in row.items() if name is not None}
            line = reader.line_num + 1
    except csv.Error as error:
        raise TaskError(f"{path}, line {line} is not a row of a csv file ({error}).") from error


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    try:
        rows = read_table(path).to_pylist()
    except ArrowException as error:
        raise TaskError(f"{path} is not a parquet file that can be read; put the whole file there.") from error
    yield from enumerate(rows, 1)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 text; put the original file there.") from error


_READERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
