"""Leaks: no training question may be one that a model is later tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from refine_eval.errors import StageError
from refine_eval.formats import one_line
from refine_eval.stages.folder import StageFolder


def check_leaks(questions: Sequence[str], folders: Mapping[str, Sequence[StageFolder]], data_dir: Path | None) -> None:
    """StageError where a training question stands among its task's validation or test questions."""
    from refine_eval.plugin.registry import registry
    from refine_eval.runs.settings import data_folder
    from refine_eval.tasks.task import LmEvalTask

    asked = set(map(one_line, questions))
    for task in {_task(folder) for found in folders.values() for folder in found}:
        lm_task = LmEvalTask(task, registry().benchmarks(), data_dir=data_folder(data_dir))
        for split in ("validation", "test"):
            if lm_task.has(split):
                leaked = asked & {one_line(problem.question) for problem in lm_task.questions(split)}
                if leaked:
                    raise StageError(
                        f"{len(leaked)} training questions are {split} questions of the task {task!r} too, such as "
                        f"{min(leaked)[:80]!r}; collect samples of its training split."
                    )


def _task(folder: StageFolder) -> str:
    """The task that samples or labels are of; labels name their samples' task in their settings."""
    return str(folder.settings["task"])
