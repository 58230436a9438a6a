"""What decides a run: which task and which student, how to refine, and where the record goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refine_eval.data import Dtype
from refine_eval.errors import UsageError
from refine_eval.plugin.fields import check_settings, option
from refine_eval.results.records import run_name

DATA_DIR_VARIABLE = "REFINE_EVAL_DATA"


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Which task, which student, and how.

    `model_options` are values for the engine's Options; without `pretrained` a task's bundled student is used where
    it has one. `workers` replicas of the engine run as Ray actors, on the cluster at `ray_address` or here; they change
    no outcome and no key. The store is kept under `results`.
    """

    task: str = option("apples", "Task name. See: refine-eval tasks list")
    num_fewshot: int | None = option(
        None, "Few-shot examples.", min=0, flags=("--num-fewshot", "--num_fewshot"), shown="the task's"
    )
    max_gen_toks: int | None = option(
        None,
        "Longest solution, in tokens.",
        min=1,
        flags=("--max-gen-toks", "--max_gen_toks"),
        shown="the task's, or 256",
    )
    filter: str | None = option(
        None, "The task's answer filter that decides right and wrong.", shown="flexible-extract where there is one"
    )
    metric: str | None = option(
        None,
        "The task's metric that decides right and wrong.",
        shown="the task's first, or math_verify where it has that",
    )
    correct_above: float | None = option(
        None,
        "Score from which a text counts as right, for a metric that is no yes or no.",
        min=-(10**9),
        max=10**9,
        flags=("--correct-above", "--correct_above"),
        shown="only a yes or no decides",
    )
    data_dir: Path | None = option(
        None,
        "Folder with local data files instead of the hub.",
        flags=("--data-dir", "--data_dir"),
        shown=f"${DATA_DIR_VARIABLE}",
    )
    model: str = option("transformers", "Engine of the student. See: refine-eval plugins list")
    model_options: Mapping[str, Any] = option(
        {},
        "The engine's options, name=value,name=value: pretrained=FOLDER or a hub name.",
        flags=("--model-args", "--model_args"),
        shown="the task's bundled student",
    )
    seed: int = option(0, "Seed of everything that is sampled.", min=0)
    batch_size: int | None = option(
        None,
        "Sequences at once.",
        min=1,
        max=65_536,
        flags=("--batch-size", "--batch_size"),
        shown="chosen, halved when memory runs out",
    )
    device: str = option("auto", "cpu, cuda, cuda:1, mps or auto.")
    dtype: Dtype = option("auto", "What models compute in.")
    workers: int | None = option(None, "Engine replicas as Ray actors, here or with --ray-address on a cluster.", min=1)
    ray_address: str | None = option(
        None,
        "HOST:PORT of a Ray cluster that this machine is part of, or auto.",
        flags=("--ray-address", "--ray_address"),
        shown="Ray on this machine",
        metavar="ADDRESS",
    )
    results: Path = option(
        Path("results"),
        "Where run records and the store are kept.",
        flags=("--results", "--output-path", "--output_path"),
    )

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit."""
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class RunSettings(SessionSettings):
    """All that decides a run's outcome, and where it goes.

    `when`, `where`, `choose` name critics, `refiners` and `selectors` the other components (the first selector
    makes the choice). `options[(kind, name)]` are values for that component's Options. `command` is what to type to
    run it again.
    """

    limit: int | None = option(None, "Only the first N problems of each task.", min=1, flags=("--limit", "-L"))
    when: str = option("orm", "Critic that says whether to refine a draft.", shown="--critic, or {}")
    where: str = option("sorm", "Critic that finds the first bad step.", shown="--critic, or {}")
    choose: str = option("orm", "Critic whose scores the selector reads.", shown="--critic, or {}")
    refiners: tuple[str, ...] = option(
        ("local", "global"), "Refiner; may be given more than once.", flags=("--refiner",), shown="{}"
    )
    selectors: tuple[str, ...] = option(
        ("rerank",),
        "Selector; the first makes the choice, more get rows of their own.",
        flags=("--selector",),
        shown="{}",
    )
    refine_below: float | None = option(
        None, "Refine only drafts that the when critic scores below this.", min=0, max=1, shown="refine all"
    )
    rounds: int = option(1, "Rounds of critique and refine; each begins from the last round's choice.", min=1)
    name: str | None = option(
        None, "Name of the run record; with several tasks, -TASK is added.", shown="made from the settings"
    )
    overwrite: bool = option(False, "Replace the record of another run that has this --name.")
    options: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit, and for a name that no folder can have."""
        super().__post_init__()
        if self.name and self.name != run_name(self.name):
            raise UsageError(
                f"--name {self.name!r} cannot name a folder; letters, digits and . _ + - can: {run_name(self.name)!r}."
            )


def data_folder(given: Path | None) -> Path | None:
    """The folder with local data files: the one given, else that of REFINE_EVAL_DATA; None: the hub."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    return given or (Path(folder) if folder else None)
