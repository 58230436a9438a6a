"""The rows of samples.jsonl and labels.jsonl: typed records here, lines of JSON in a stage's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refine_eval.data import LabelledSample, QuestionSamples, Sample, TrainingData
from refine_eval.errors import StageError
from refine_eval.stages.folder import StageFolder

SAMPLES = "samples.jsonl"
LABELS = "labels.jsonl"


def samples_to_json(row: QuestionSamples) -> dict[str, Any]:
    """A line of samples.jsonl."""
    samples = [{"text": s.text, "right": s.correct, "tokens": s.tokens} for s in row.samples]
    return {"id": row.id, "question": row.question, "samples": samples}


def samples_from_json(row: Mapping[str, Any]) -> QuestionSamples:
    """The inverse of `samples_to_json`."""
    samples = tuple(Sample(text=s["text"], correct=s["right"], tokens=s["tokens"]) for s in row["samples"])
    return QuestionSamples(id=row["id"], question=row["question"], samples=samples)


def labels_to_json(row: LabelledSample) -> dict[str, Any]:
    """A line of labels.jsonl."""
    return {
        "id": row.id,
        "question": row.question,
        "steps": list(row.steps),
        "right": row.correct,
        "labels": list(row.labels),
        "verified": {str(length): list(rest) for length, rest in sorted(row.verified.items())},
    }


def labels_from_json(row: Mapping[str, Any]) -> LabelledSample:
    """The inverse of `labels_to_json`."""
    return LabelledSample(
        id=row["id"],
        question=row["question"],
        steps=tuple(row["steps"]),
        correct=row["right"],
        labels=tuple(row["labels"]),
        verified={int(length): tuple(rest) for length, rest in row["verified"].items()},
    )


def read_samples(folder: StageFolder) -> list[QuestionSamples]:
    """The rows of an output of `collect`."""
    return [samples_from_json(row) for row in folder.rows(SAMPLES)]


def read_labels(folder: StageFolder) -> list[LabelledSample]:
    """The rows of an output of `label`."""
    return [labels_from_json(row) for row in folder.rows(LABELS)]


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
