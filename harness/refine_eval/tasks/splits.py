"""Which problems of a task are run: those that lm-eval evaluates, or another split's, as in "gsm8k:train"."""

from __future__ import annotations

from collections.abc import Mapping

from refine_eval.plugin.benchmark import Benchmark

SPLITS = {"train": "training", "validation": "validation", "test": "test"}
"""Our names of splits, and lm-eval's."""


def task_and_split(named: str) -> tuple[str, str | None]:
    """A task and the split to run, as `--tasks` names them: "gsm8k:train"; None for the problems that lm-eval runs."""
    task, _, split = named.rpartition(":")
    return (task, split) if task and split in SPLITS else (named, None)


def benchmark_of(named: str, benchmarks: Mapping[str, Benchmark]) -> Benchmark | None:
    """The benchmark of a task, whichever split of it was named; None for a task that no plugin brings."""
    return benchmarks.get(task_and_split(named)[0])
