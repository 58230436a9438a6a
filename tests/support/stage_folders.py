"""Stage folders as `collect` and `label` write them, for trainers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from refine_eval.stages.folder import StageFolder, read_folder, stage_of, write_folder
from refine_eval.stages.rows import training_data
from refine_eval.training_rows import TrainingData

QUESTION = "how many apples has Ann now?"


def collected(
    path: Path,
    rows: Sequence[tuple[str, Sequence[tuple[str, bool]]]],
    cuts: Callable[[str], Sequence[int]] | None = None,
    **settings: Any,
) -> Path:
    """`cuts` says where a text is cut into steps, where rows say so."""
    lines = [
        {
            "id": f"apples:train/{n}",
            "question": q,
            "samples": [
                {"text": t, "right": r, "tokens": 3, **({"cuts": list(cuts(t))} if cuts else {})} for t, r in found
            ],
        }
        for n, (q, found) in enumerate(rows)
    ]
    write_folder(
        path,
        stage="collect",
        settings={"task": "apples", "split": "train", **settings},
        inputs={},
        counts={},
        rows={"samples.jsonl": lines},
    )
    return path


def labelled(path: Path, labels: Sequence[Sequence[float]] = ((1, 0, 0), (1, 1, 1))) -> Path:
    rows = [
        {
            "id": f"apples:train/{n}",
            "question": QUESTION,
            "steps": ["1+2=3", f"3*4={n}", f"#### {n}"],
            "right": row[-1] == 1,
            "labels": list(row),
            "verified": {"1": ["3*4=12", "#### 12"]} if row[-1] != 1 else {},
        }
        for n, row in enumerate(labels)
    ]
    write_folder(path, stage="label", settings={"task": "apples"}, inputs={}, counts={}, rows={"labels.jsonl": rows})
    return path


SAMPLES = [
    (QUESTION, [("1+2=3\n#### 3", True), ("1+2=4\n#### 4", False), ("1+2=4\n#### 4", False), ("1+2=5\n#### 5", False)]),
    ("how many?", [("1+1=2\n#### 2", True), ("1+1=2\n#### 2", True)]),
]


def folder_of(path: Path) -> Any:
    return read_folder(path, stage_of(path))


def data_of(*paths: Path) -> TrainingData:
    """What a trainer reads of these folders."""
    folders: dict[str, list[StageFolder]] = {}
    for path in paths:
        folders.setdefault(stage_of(path), []).append(folder_of(path))
    return training_data(folders)
