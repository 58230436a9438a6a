"""Files of solutions whose steps somebody labelled, in the forms in which they are published, and in a plain one.

JSON (a list, or an object a line) or parquet. A form is known by its keys:

processbench   `problem`, `steps`, `label` (first wrong step from 0, or -1), `final_answer_correct`; Zheng et al. 2024
mr-gsm8k       `question`, `model_output_steps`, `model_output_solution_first_error_step` (from 1, "N/A": none),
               `model_output_solution_correctness`, `model_output_answer_correctness`, `question_type`; Zeng et al. 2023
prmbench       `modified_question`, `modified_process`, `error_steps` (from 1), `classification`, `original_question`,
               `original_process`; Song et al. 2025. The original process is a solution of its own, without a wrong step
plain          `question`, `steps`, `first_bad` (from 0, null: none) or `labels` (a step each), and if known `correct`

In processbench and mr-gsm8k nobody labels steps after the first wrong one, nor in plain files with `first_bad` alone. A
row that contradicts itself or does not fit its steps is left out and counted: nothing is guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from refine_eval.errors import RunError
from refine_eval.files import read_file
from refine_eval.formats import one_line
from refine_eval.reading import Unreadable, from_json
from refine_eval.results.typed import COUNT, FLAG, LIST, OBJECT, TEXT, Fault, Kind, field
from refine_eval.statistics.judged import Labelled
from refine_eval.terminal import shown

MOST_BYTES = 200_000_000
"""Of a file; of parquet also when unpacked."""

NO_STEP = "N/A"
_WORDS = {"correct": True, "right": True, "wrong": False, "incorrect": False}
_PARQUET = b"PAR1"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """How many rows were left out for one reason, and the first of them."""

    rows: int
    reason: str
    first: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """What files of one form say. `sha256` is of each file's content; `rows` counts those that were left out, too."""

    names: tuple[str, ...]
    sha256: tuple[str, ...]
    form: str
    rows: int
    solutions: tuple[Labelled, ...]
    unused: tuple[Unused, ...]


def read_label_files(paths: Sequence[Path], form: str | None = None, limit: int | None = None) -> LabelFile:
    """The labelled solutions of files, all of one form, of each the first `limit` rows.

    RunError for files that cannot be read, whose form nobody knows or that differ in it, and for those of which no row
    can be used.
    """
    contents = [_content(path) for path in paths]
    tables = [_rows(path, content)[:limit] for path, content in zip(paths, contents, strict=True)]
    forms = [form or _form_of(path, rows) for path, rows in zip(paths, tables, strict=True)]
    if len(set(forms)) > 1:
        raise RunError(f"{paths[0]} has the form {forms[0]}, another file has not: take the files of each form apart.")
    solutions: list[Labelled] = []
    faults: dict[str, list[str]] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for path, rows in zip(paths, tables, strict=True):
        for number, row in enumerate(rows, 1):
            place = f"{path.name}, row {number}"
            try:
                for found in FORMS[forms[0]](OBJECT.check(row, "it"), place):
                    _add(found, solutions, seen)
            except Fault as fault:
                faults.setdefault(str(fault), []).append(place)
    unused = [Unused(rows=len(places), reason=reason, first=places[0]) for reason, places in faults.items()]
    if not solutions:
        why = f"{unused[0].reason} ({unused[0].first})"
        raise RunError(f"{paths[0]} holds no solution that can be used as {forms[0]}: {why}.")
    return LabelFile(
        names=tuple(path.name for path in paths),
        sha256=tuple(hashlib.sha256(content).hexdigest() for content in contents),
        form=forms[0],
        rows=sum(map(len, tables)),
        solutions=tuple(solutions),
        unused=tuple(unused),
    )


def _add(found: Labelled, solutions: list[Labelled], seen: set[tuple[str, tuple[str, ...]]]) -> None:
    key = found.question, found.steps
    if key not in seen:
        seen.add(key)
        solutions.append(found)
    elif found.source != _ORIGINAL:  # which stands beside each of its modifications
        raise Fault("the same solution stands before it")


def _content(path: Path) -> bytes:
    try:
        return read_file(path, MOST_BYTES)
    except (OSError, ValueError) as error:  # a path with a NUL
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RunError(f"{path} cannot be read: {why}.") from error


def _rows(path: Path, content: bytes) -> list[Any]:
    try:
        return read_rows(content)
    except Unreadable as error:
        raise RunError(error.of(path)) from error


def read_rows(content: bytes) -> list[Any]:
    """The rows of JSON, lines of JSON or parquet; Unreadable, with the line, for what is none of them or has no row."""
    if content[:4] == _PARQUET:
        found = _parquet(content)
    else:
        lines = content.splitlines()
        begin = next((line.strip() for line in lines if line.strip()), b"").removeprefix(b"\xef\xbb\xbf")
        if begin.startswith(b"["):
            found = LIST.check(from_json(content), "it")
        else:
            found = [_line(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise Unreadable("it has no rows")
    return found


def _line(line: bytes, number: int) -> Any:
    try:
        return from_json(line)
    except Unreadable as error:
        raise Unreadable(error.why, number) from error


def _parquet(content: bytes) -> list[Any]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise Unreadable("it is parquet, which needs pyarrow: pip install pyarrow, or save it as JSON") from error
    try:
        file = parquet.ParquetFile(BytesIO(content))
        groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
        if (size := sum(group.total_byte_size for group in groups)) <= MOST_BYTES:
            return list(file.read().to_pylist())
    except Exception as error:  # pyarrow raises whatever a damaged file makes it trip over
        raise Unreadable(f"it cannot be read as parquet ({type(error).__name__})") from error
    raise Unreadable(f"it has {size:,} bytes when unpacked, and may have {MOST_BYTES:,}")


def _form_of(path: Path, rows: Sequence[Any]) -> str:
    keys = set(rows[0]) if rows and isinstance(rows[0], dict) else set()
    for form, wanted in _KEYS.items():
        if wanted <= keys and (form != "plain" or keys & {"first_bad", "labels"}):
            return form
    known = "; ".join(f"{form}: {', '.join(sorted(wanted))}" for form, wanted in _KEYS.items())
    seen = shown(sorted(keys)[:8]) if keys else "no objects"
    raise RunError(f"{path} has the form of no label file that is known (its first row: {seen}; {known}).")


def _processbench(row: Row, place: str) -> Iterator[Labelled]:
    steps = _steps(row, "steps")
    label = field(row, "label", _WHOLE)
    if not -1 <= label < len(steps):
        raise Fault("'label' names no step, and is not -1")
    name = row.get("id") if isinstance(row.get("id"), str) else ""
    yield _labelled(
        place,
        field(row, "problem", _SOMETHING),
        steps,
        _up_to(len(steps), None if label == -1 else label),
        _optional(row, "final_answer_correct", FLAG),
        source=_optional(row, "split", TEXT) or (str(name).rpartition("-")[0] or None),
    )


def _mr_gsm8k(row: Row, place: str) -> Iterator[Labelled]:
    steps = _steps(row, "model_output_steps")
    sound = _verdict(row, "model_output_solution_correctness")
    named = _step_from_one(field(row, "model_output_solution_first_error_step", _ANY))
    if named is not None and not 1 <= named <= len(steps):
        raise Fault("'model_output_solution_first_error_step' names no step")
    if sound is None:
        raise Fault("it has no 'model_output_solution_correctness'")
    if sound is not (named is None):
        raise Fault("its solution is right and has a wrong step, or is wrong and has none")
    yield _labelled(
        place,
        field(row, "question", _SOMETHING),
        steps,
        _up_to(len(steps), None if named is None else named - 1),
        _verdict(row, "model_output_answer_correctness"),
        source=_optional(row, "question_type", TEXT),
    )


_ORIGINAL = "original"


def _prmbench(row: Row, place: str) -> Iterator[Labelled]:
    steps = _steps(row, "modified_process")
    wrong = [COUNT.check(step, "error_steps") for step in field(row, "error_steps", LIST)]
    if not all(1 <= step <= len(steps) for step in wrong):
        raise Fault("'error_steps' names what is no step")
    question = _optional(row, "modified_question", _SOMETHING) or field(row, "question", _SOMETHING)
    first = _optional(row, "original_question", _SOMETHING) or question
    original = _steps(row, "original_process") if row.get("original_process") is not None else ()
    yield _labelled(
        place,
        question,
        steps,
        tuple(at not in wrong for at in range(1, len(steps) + 1)),
        None,
        source=_optional(row, "classification", TEXT),
        problem=first,
    )
    if original:
        yield _labelled(place, first, original, (True,) * len(original), None, source=_ORIGINAL)


def _plain(row: Row, place: str) -> Iterator[Labelled]:
    steps = _steps(row, "steps")
    good = _plain_labels(row, len(steps))
    if (text := _optional(row, "solution", TEXT)) is not None and _bare(text) != _bare("".join(steps)):
        raise Fault("'steps' are not those of 'solution'")
    yield _labelled(
        place,
        field(row, "question", _SOMETHING),
        steps,
        good,
        _optional(row, "correct", FLAG),
        source=_optional(row, "source", TEXT),
        problem=_optional(row, "problem", _SOMETHING),
    )


def _plain_labels(row: Row, steps: int) -> tuple[bool | None, ...]:
    first_bad = field(row, "first_bad", COUNT.or_none()) if "first_bad" in row else _UNSAID
    if first_bad is not _UNSAID and first_bad is not None and first_bad >= steps:
        raise Fault("'first_bad' names no step")
    if row.get("labels") is None:
        if first_bad is _UNSAID:
            raise Fault("it has neither 'first_bad' nor 'labels'")
        return _up_to(steps, first_bad)
    labels = [FLAG.or_none().check(label, "labels") for label in field(row, "labels", LIST)]
    if len(labels) != steps:
        raise Fault("it has not as many 'labels' as 'steps'")
    bad = labels.index(False) if False in labels else None
    if None in labels[: steps if bad is None else bad]:
        raise Fault("a step before the first wrong one has no label")
    if first_bad is not _UNSAID and first_bad != bad:
        raise Fault("'first_bad' is not the first wrong one of 'labels'")
    return tuple(labels)


FORMS: Mapping[str, Callable[[Row, str], Iterator[Labelled]]] = {
    "processbench": _processbench,
    "mr-gsm8k": _mr_gsm8k,
    "prmbench": _prmbench,
    "plain": _plain,
}
"""How a row of each form is read: the solutions in it, or a Fault."""

_KEYS = {
    "processbench": {"problem", "steps", "label"},
    "mr-gsm8k": {"question", "model_output_steps", "model_output_solution_first_error_step"},
    "prmbench": {"modified_process", "error_steps"},
    "plain": {"question", "steps"},
}

_UNSAID: Any = object()
_ANY: Kind[Any] = Kind("anything", lambda value: True)
_WHOLE: Kind[int] = Kind("a whole number", lambda value: type(value) is int and abs(value) < 2**63)
_SOMETHING: Kind[str] = Kind("a text", lambda value: TEXT.fits(value) and bool(value.strip()))


def _labelled(
    place: str,
    question: str,
    steps: tuple[str, ...],
    good: tuple[bool | None, ...],
    correct: bool | None,
    source: str | None,
    problem: str | None = None,
) -> Labelled:
    return Labelled(
        id=place,
        problem=one_line(problem or question),
        question=question.strip(),
        steps=steps,
        good=good,
        correct=correct,
        source=source or None,
    )


def _steps(row: Row, name: str) -> tuple[str, ...]:
    found = field(row, name, LIST)
    if not found:
        raise Fault(f"{name!r} is empty")
    if not all(map(_SOMETHING.fits, found)):
        raise Fault(f"{name!r} has a step that is no text, or nothing but white space")
    return tuple(step.strip() for step in found)


def _up_to(steps: int, first_bad: int | None) -> tuple[bool | None, ...]:
    """The labels that the first wrong step says: of steps after it none."""
    if first_bad is None:
        return (True,) * steps
    return (*(True,) * first_bad, False, *(None,) * (steps - first_bad - 1))


def _optional(row: Row, name: str, kind: Kind[Any]) -> Any:
    return None if row.get(name) is None else kind.check(row[name], name)


def _verdict(row: Row, name: str) -> bool | None:
    value = row.get(name)
    if value is None or type(value) is bool:
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _WORDS:
        raise Fault(f"{name!r} is neither correct nor wrong")
    return _WORDS[word]


def _step_from_one(value: Any) -> int | None:
    if value is None or (isinstance(value, str) and value.strip().upper() == NO_STEP):
        return None
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 10:
        return int(value)
    if type(value) is float and value.is_integer():  # what pandas makes of a column with gaps
        return int(value)
    if type(value) is not int:
        raise Fault(f"'model_output_solution_first_error_step' is neither a step nor {NO_STEP}")
    return value


def _bare(text: str) -> str:
    return "".join(text.split())
