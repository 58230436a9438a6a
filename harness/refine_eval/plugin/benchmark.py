"""What a plugin says of a task it brings: name, lm-eval definition, local data, what else it knows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Documents = Mapping[str, list[dict[str, Any]]]
"""Split name ("train", "test", ...) -> the documents of the split, as the lm-eval task's templates read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """An lm-eval task as `refine-eval tasks list` shows it and `refine-eval run --tasks` runs it.

    `yaml` is the lm-eval task file (a path relative to lm-eval's own tasks folder for a task that lm-eval has
    itself); `data` says in words where the documents come from by default. `local_data(folder)` reads them from
    the folder given by `--data-dir`; it raises TaskError where they are not there. `student` is the folder of a
    bundled model that knows this task. `first_bad_step(gold answer text, steps)` is the exact first wrong step of
    a solution (from 0; None: all right), where a program can tell. `steps` names the splitter that cuts its solutions
    into steps. `needs` says in words what the task needs beside its data: an extra of the installation, a chat model.
    `max_gen_toks` is the longest solution, in tokens, where the task file sets none.
    """

    name: str
    description: str
    data: str
    yaml: Path
    local_data: Callable[[Path], Documents] | None = None
    student: Path | None = None
    first_bad_step: Callable[[str, Sequence[str]], int | None] | None = None
    steps: str = "lines"
    needs: str = ""
    max_gen_toks: int | None = None
