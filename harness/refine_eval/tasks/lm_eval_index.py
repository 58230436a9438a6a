"""Which of lm-eval's files defines a task: lm-eval reads all of them to tell, so what it found is kept for its version.

Losing what was kept, or not being able to keep it, only costs time.
"""

from __future__ import annotations

import contextlib
import functools
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval import tasks
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from refine_eval.files import read_file, replace_file

FOLDER = Path(tasks.__file__).parent
"""Where lm-eval has its tasks."""

_MOST_BYTES = 10_000_000


def task_file(name: str) -> Path | None:
    """The YAML file that defines a task of lm-eval; None where lm-eval has no such task."""
    known = _kept().get(name)
    if isinstance(known, str) and _defines(FOLDER / known, name):
        return FOLDER / known
    found = _indexed().get(name)
    return None if found is None else FOLDER / found


def task_names() -> list[str]:
    """The names of all tasks of lm-eval."""
    return list(_indexed())


def _defines(path: Path, name: str) -> bool:
    """Whether a file still defines the task: somebody may have changed it since."""
    try:
        return bool(load_yaml(path, resolve_func=False).get("task") == name)
    except Exception:  # whatever lm-eval makes of a file that is not there or no YAML
        return False


@functools.cache
def _indexed() -> dict[str, str]:
    """Each task's file in `FOLDER`, as lm-eval finds them, which takes seconds; kept for the next process."""
    manager = TaskManager()
    files = {name: manager.task_index[name].yaml_path for name in manager.all_subtasks}
    found = {name: str(path.relative_to(FOLDER)) for name, path in files.items() if path is not None}
    with contextlib.suppress(OSError):
        _place().parent.mkdir(parents=True, exist_ok=True)
        replace_file(_place(), json.dumps(found).encode())
    return found


def _kept() -> dict[str, Any]:
    try:
        found = json.loads(read_file(_place(), _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _place() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("refine-eval")) / f"tasks-of-lm-eval-{version('lm_eval')}.json"
