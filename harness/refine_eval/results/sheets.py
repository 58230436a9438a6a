"""Rows of plain values as CSV and parquet, for spreadsheets and programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from refine_eval.errors import RefineEvalError
from refine_eval.terminal import strip_control

Columns = Mapping[str, Literal["text", "whole", "number", "flag"]]
"""The columns of a table, in order, and what stands in each; any value may be None."""


def csv_bytes(columns: Columns, rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A CSV file. Texts have no control characters, and none is a formula: one that would be begins with '."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_no_formula(row[name]) for name in columns] for row in rows)
    return out.getvalue().encode()


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = strip_control(value)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    """Whether a text is a number and nothing else, such as the answer -5."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def parquet_bytes(columns: Columns, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A parquet file; RefineEvalError where pyarrow is not installed."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise RefineEvalError("A parquet file needs pyarrow: pip install pyarrow; or write CSV.") from error
    types = {"text": arrow.string(), "whole": arrow.int64(), "number": arrow.float64(), "flag": arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    out = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema), out)
    return out.getvalue()
