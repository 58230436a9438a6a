"""What every command that generates needs: the task, the student's engine, the store, and a runtime that ties them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from refine_eval.plugin.boundary import close_quietly
from refine_eval.plugin.components import Engine, Splitter
from refine_eval.plugin.registry import Registry
from refine_eval.plugin.templates import system_text
from refine_eval.runs.assembly import make_splitter
from refine_eval.runs.runtime import RunRuntime, Tasks
from refine_eval.runs.settings import SessionSettings, data_folder
from refine_eval.runs.store import Store, store_path
from refine_eval.terminal import Progress

if TYPE_CHECKING:
    from refine_eval.tasks.task import LmEvalTask


class KeptStudent:
    """A student that stays open from one run to the next: loading a model can take longer than the run."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._student: Engine | None = None
        self._how: tuple[Any, ...] = ()

    def or_new(self, student: Engine, settings: SessionSettings) -> Engine:
        """The open student where this one would be the same; else this one, and the other is closed."""
        of_replicas = settings.workers, settings.ray_address
        computing = settings.seed, settings.device, settings.dtype, settings.batch_size
        how = type(student), student.name, student.options, student.chat, of_replicas, computing
        if self._student is None or how != self._how:
            self.close()
            self._how = how
        return self._student or student

    @contextmanager
    def lent_to(self, runtime: RunRuntime) -> Iterator[None]:
        """Gives a runtime the open student, if there is one, and takes its student back before it is closed."""
        if self._student is not None:
            runtime.engines[None] = self._student
        try:
            yield
        finally:
            self._student = runtime.engines.pop(None, None)

    def close(self) -> None:
        """Closes the student, if one is open."""
        if self._student is not None and (trouble := close_quietly(self._student)):
            self._progress.warn(f"Warning: {trouble}")
        self._student = None


@contextmanager
def session(
    settings: SessionSettings,
    student: Engine,
    registry: Registry,
    progress: Progress,
    kept: KeptStudent | None = None,
) -> Iterator[tuple[LmEvalTask, RunRuntime]]:
    """The task, loaded, and a runtime on an open store; at the end the store and all engines are closed.

    `kept`, where there is one, keeps the student open.
    """
    splitter = make_splitter(settings, registry)
    from refine_eval.tasks.prompting import Prompting
    from refine_eval.tasks.task import LmEvalTask  # takes seconds

    task = LmEvalTask(
        settings.task,
        registry.benchmarks(),
        data_dir=data_folder(settings.data_dir),
        num_fewshot=settings.num_fewshot,
        filter_name=settings.filter,
        metric=settings.metric,
        correct_above=settings.correct_above,
        max_gen_toks=settings.max_gen_toks,
        prompting=Prompting.of(
            messages=student.chat is not None,
            system_instruction=system_text(settings.system_instruction),
            fewshot_as_multiturn=settings.fewshot_as_multiturn,
        ),
        gen_kwargs=settings.gen_kwargs,
        note=progress.note,
    )
    with (
        contextlib.closing(task),
        opened(settings, student, task, registry, progress, splitter) as runtime,
        contextlib.nullcontext() if kept is None else kept.lent_to(runtime),
    ):
        yield task, runtime


@contextmanager
def opened(
    settings: SessionSettings,
    student: Engine,
    tasks: Tasks,
    registry: Registry,
    progress: Progress,
    splitter: Splitter | None = None,
) -> Iterator[RunRuntime]:
    """A runtime of these tasks on an open store; the store and all engines are closed at the end."""
    with Store(store_path(settings.results), progress.note) as store:
        runtime = RunRuntime(
            student=student,
            registry=registry,
            store=store,
            tasks=tasks,
            progress=progress,
            seed=settings.seed,
            device=settings.device,
            dtype=settings.dtype,
            batch_size=settings.batch_size,
            splitter=splitter,
            think_end_token=settings.think_end_token,
            judge_thoughts=settings.judge_thoughts,
        )
        with contextlib.closing(runtime):
            yield runtime
