"""What decides a run: which task and which student, how to refine, and where the record goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA_DIR_VARIABLE = "REFINE_EVAL_DATA"


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Which task, which student, and how.

    `model_options` are values for the engine's Options; without `pretrained` a task's bundled student is used where
    it has one. `workers` replicas of the engine run as Ray actors, on the cluster at `ray_address` or here; they change
    no outcome and no key. The store is kept under `results`.
    """

    task: str
    model: str = "transformers"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    num_fewshot: int | None = None
    max_gen_toks: int | None = None
    filter: str | None = None
    data_dir: Path | None = None
    seed: int = 0
    batch_size: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    workers: int | None = None
    ray_address: str | None = None
    results: Path = Path("results")


@dataclass(frozen=True, kw_only=True)
class RunSettings(SessionSettings):
    """All that decides a run's outcome, and where it goes.

    `when`, `where`, `choose` name critics, `refiners` and `selectors` the other components (the first selector
    makes the choice). `options[(kind, name)]` are values for that component's Options. `command` is what to type to
    run it again.
    """

    when: str = "orm"
    where: str = "sorm"
    choose: str = "orm"
    refiners: tuple[str, ...] = ("local", "global")
    selectors: tuple[str, ...] = ("rerank",)
    options: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    refine_below: float | None = None
    rounds: int = 1
    limit: int | None = None
    name: str | None = None
    command: str = ""


def data_folder(given: Path | None) -> Path | None:
    """The folder with local data files: the one given, else that of REFINE_EVAL_DATA; None: the hub."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    return given or (Path(folder) if folder else None)
