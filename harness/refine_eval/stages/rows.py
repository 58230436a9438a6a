"""The rows of samples.jsonl and labels.jsonl: typed records here, lines of JSON in a stage's folder."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from refine_eval.cuts import are_cuts
from refine_eval.errors import StageError
from refine_eval.stages.folder import StageFolder
from refine_eval.training_rows import LabelledSample, QuestionSamples, Sample, TrainingData

T = TypeVar("T")

SAMPLES = "samples.jsonl"
LABELS = "labels.jsonl"


def samples_to_json(row: QuestionSamples) -> dict[str, Any]:
    """A line of samples.jsonl."""
    samples = [
        {"text": s.text, "right": s.correct, "tokens": s.tokens, **({} if s.cuts is None else {"cuts": list(s.cuts)})}
        for s in row.samples
    ]
    asked = {} if row.asked is None else {"asked": row.asked}
    return {"id": row.id, "question": row.question, **asked, "samples": samples}


def samples_from_json(row: Mapping[str, Any]) -> QuestionSamples:
    """The inverse of `samples_to_json`."""
    samples = tuple(map(_sample, _list(row["samples"])))
    asked = _text(row["asked"]) if "asked" in row else None
    return QuestionSamples(id=_text(row["id"]), question=_text(row["question"]), samples=samples, asked=asked)


def _sample(row: Mapping[str, Any]) -> Sample:
    found = Sample(
        text=_text(row["text"]),
        correct=_truth(row["right"]),
        tokens=_count(row["tokens"]),
        cuts=tuple(map(_count, _list(row["cuts"]))) if "cuts" in row else None,
    )
    if found.cuts is not None and not are_cuts(found.cuts, found.text):
        raise ValueError(f"cuts that do not fit its text: {reprlib.repr(list(found.cuts))}")
    return found


def labels_to_json(row: LabelledSample) -> dict[str, Any]:
    """A line of labels.jsonl."""
    return {
        "id": row.id,
        "question": row.question,
        "steps": list(row.steps),
        "right": row.correct,
        "labels": list(row.labels),
        "verified": {str(length): list(rest) for length, rest in sorted(row.verified.items())},
        **({"exact": True} if row.exact else {}),
    }


def labels_from_json(row: Mapping[str, Any]) -> LabelledSample:
    """The inverse of `labels_to_json`."""
    found = LabelledSample(
        id=_text(row["id"]),
        question=_text(row["question"]),
        steps=tuple(map(_text, _list(row["steps"]))),
        correct=_truth(row["right"]),
        labels=tuple(map(_share, _list(row["labels"]))),
        verified={int(length): tuple(map(_text, _list(rest))) for length, rest in row["verified"].items()},
        exact=_truth(row.get("exact", False)),
    )
    if len(found.labels) != len(found.steps):
        raise ValueError(f"{len(found.labels)} labels of {len(found.steps)} steps")
    if any(not 0 <= length <= len(found.steps) for length in found.verified):
        raise ValueError("a verified prefix that is longer than the solution")
    return found


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list is {reprlib.repr(value)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is {reprlib.repr(value)}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"a truth value is {reprlib.repr(value)}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise TypeError(f"a number of tokens is {reprlib.repr(value)}")
    return value


def _share(value: Any) -> float:
    if (isinstance(value, int | float) and not isinstance(value, bool)) and 0 <= value <= 1:
        return value
    raise TypeError(f"a label is {reprlib.repr(value)}")


def read_samples(folder: StageFolder) -> list[QuestionSamples]:
    """The rows of an output of `collect`; StageError, with the line, for one that is damaged."""
    return _read(folder, SAMPLES, samples_from_json)


def read_labels(folder: StageFolder) -> list[LabelledSample]:
    """The rows of an output of `label`; StageError, with the line, for one that is damaged."""
    return _read(folder, LABELS, labels_from_json)


def _read(folder: StageFolder, name: str, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    found = []
    for number, row in folder.numbered_rows(name):
        try:
            found.append(read(row))
        except KeyError as error:
            raise folder.damaged(name, number, f"it has no {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise folder.damaged(name, number, error) from error
    return found


def training_data(folders: Mapping[str, Iterable[StageFolder]]) -> TrainingData:
    """What trainers read of outputs of `collect` and `label`, by stage."""
    return TrainingData(
        samples=tuple(row for folder in folders.get("collect", ()) for row in read_samples(folder)),
        labels=tuple(row for folder in folders.get("label", ()) for row in read_labels(folder)),
    )


def check_outcomes(rows: Sequence[QuestionSamples], need: str) -> None:
    """StageError where a student never, or always, succeeds: `need` says what cannot be trained then."""
    outcomes = {sample.correct for row in rows for sample in row.samples}
    if outcomes != {True, False}:
        never, lacks = ("never", "no right sample") if True not in outcomes else ("always", "no wrong sample")
        raise StageError(
            f"The student {never} succeeds: collect has {lacks}, and {need}. Collect more samples, at a "
            f"{'lower' if never == 'never' else 'higher'} temperature, or from another student."
        )
