"""What every command that generates needs: the task, the student's engine, the store, and a runtime that ties them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine_eval.plugin.components import Engine
from refine_eval.plugin.options import make_options
from refine_eval.plugin.registry import Registry
from refine_eval.runtime import RunRuntime
from refine_eval.store import Store, store_path
from refine_eval.terminal import Progress

if TYPE_CHECKING:
    from refine_eval.lm_eval_bridge import LmEvalTask

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


def make_student(settings: SessionSettings, registry: Registry, progress: Progress) -> Engine:
    """The student's engine, not open yet; UsageError or PluginError where it cannot be."""
    benchmark = registry.benchmarks().get(settings.task)
    model_options = dict(settings.model_options)
    kind = registry.named_component(Engine, settings.model)
    if benchmark and benchmark.student and kind.takes_model:
        model_options.setdefault("pretrained", str(benchmark.student))
    student = kind(make_options(kind, model_options))
    if settings.workers is None and not settings.ray_address:
        return student
    from refine_eval.engines.replicas import ReplicatedEngine

    return ReplicatedEngine(student, workers=settings.workers, address=settings.ray_address, note=progress.note)


def data_folder(given: Path | None) -> Path | None:
    """The folder with local data files: the one given, else that of REFINE_EVAL_DATA; None: the hub."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    return given or (Path(folder) if folder else None)


@contextmanager
def session(
    settings: SessionSettings, student: Engine, registry: Registry, progress: Progress
) -> Iterator[tuple[LmEvalTask, RunRuntime]]:
    """The task, loaded, and a runtime on an open store; the store and all engines are closed at the end."""
    from refine_eval.lm_eval_bridge import LmEvalTask  # takes seconds

    task = LmEvalTask(
        settings.task,
        registry.benchmarks(),
        data_dir=data_folder(settings.data_dir),
        num_fewshot=settings.num_fewshot,
        filter_name=settings.filter,
        max_gen_toks=settings.max_gen_toks,
    )
    with Store(store_path(settings.results)) as store:
        runtime = RunRuntime(
            student=student,
            registry=registry,
            store=store,
            tasks=task,
            progress=progress,
            seed=settings.seed,
            device=settings.device,
            dtype=settings.dtype,
            batch_size=settings.batch_size,
        )
        try:
            yield task, runtime
        finally:
            runtime.close()
