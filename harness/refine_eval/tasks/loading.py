"""How a task is loaded: lm-eval's definition, a benchmark's documents, the same documents every time."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from refine_eval.errors import RefineEvalError, TaskError, first_line, suggestion
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.benchmark_contract import local_documents
from refine_eval.tasks.bounds import list_punctuation_once
from refine_eval.tasks.lm_eval_index import FOLDER, task_file, task_names
from refine_eval.tasks.quiet import quiet
from refine_eval.tasks.splits import task_and_split

_SEED = 0
"""What lm-eval's command line gives Python's generator before it loads a task."""


def load(
    name: str, benchmarks: Mapping[str, Benchmark], data_dir: Path | None, tell: Callable[[str], None] | None = None
) -> Any:
    """An lm-eval task object, from the one file that defines it: to read all of lm-eval's takes seconds."""
    _compile_templates_once()
    list_punctuation_once()
    benchmark = benchmarks.get(name)
    try:
        with quiet(tell), _seeded():
            if benchmark is None:
                check_name(name, benchmarks)
                loaded = TaskManager(include_defaults=False).load([str(task_file(name))])
                return _processed_alike(loaded["tasks"][name])
            path = FOLDER / benchmark.yaml
            config = load_yaml(path)
            if data_dir is not None and benchmark.local_data is not None:
                documents = local_documents(benchmark, data_dir)
                if not documents.get(config.get("test_split") or config.get("validation_split") or "test", [None]):
                    raise TaskError(
                        f"The test file of task {name!r} in {data_dir} ({benchmark.data}) is empty; it may be a "
                        "download that was cut off."
                    )
                config = {**config, "custom_dataset": lambda **_: _datasets(documents)}
            loaded = TaskManager(include_defaults=False).load([config])
            return _processed_alike(next(iter(loaded["tasks"].values())))
    except RefineEvalError:
        raise
    except (ImportError, AssertionError) as error:
        raise TaskError(
            f"Task {name!r} needs a package that is not here ({first_line(error)}); for mathematical tasks it comes "
            "with pip install 'refine-eval[math]'"
        ) from error
    except (OSError, ConnectionError, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise TaskError(
            f"The data of task {name!r} is not available ({detail}): connect to the network, or pass --data-dir DIR "
            f"(or set REFINE_EVAL_DATA) with the files that `refine-eval tasks list` names."
        ) from error


def check_name(name: str, benchmarks: Mapping[str, Benchmark]) -> None:
    """TaskError for a task that neither a plugin nor lm-eval has."""
    task, _ = task_and_split(name)
    if task not in benchmarks and task_file(task) is None:
        known = [*benchmarks, *task_names()]
        raise TaskError(f"No task is called {name!r}.{suggestion(name, known)} See: refine-eval tasks list")


@functools.cache
def _compile_templates_once() -> None:
    """lm-eval compiles a template anew for every document and example, which is most of its time before a run."""
    from lm_eval.utils import env

    env.from_string = functools.lru_cache(maxsize=256)(env.from_string)


def _datasets(documents: Mapping[str, list[dict[str, str]]]) -> Any:
    import datasets

    return {split: datasets.Dataset.from_list(rows) for split, rows in documents.items()}


@contextmanager
def _seeded() -> Iterator[None]:
    """Python's own generator as lm-eval starts it, and then as it was."""
    state = random.getstate()
    random.seed(_SEED)
    try:
        yield
    finally:
        random.setstate(state)


def _processed_alike(task: Any) -> Any:
    """An lm-eval task whose process_docs makes the same documents of a split at every call, and in every process.

    GPQA draws the order of its choices there, without a seed of its own.
    """
    process = task.config.process_docs
    if process is not None:

        def alike(dataset: Any) -> Any:
            with quiet(), _seeded():
                return process(dataset)

        task.config.process_docs = alike
        task.task_docs = task.eval_docs
    return task
