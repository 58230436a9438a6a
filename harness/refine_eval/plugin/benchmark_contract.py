"""The entrance of what benchmarks' functions say: checked here, plain and typed behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from refine_eval.errors import PluginError
from refine_eval.plugin.benchmark import Benchmark, Documents
from refine_eval.plugin.boundary import blamed, called
from refine_eval.plugin.values import short, whole


def exact_first_bad_step(benchmark: Benchmark, gold: str, steps: Sequence[str]) -> int | None:
    """What a benchmark's `first_bad_step` says; PluginError where it fails or says what no step is.

    As many as there are steps stands for a step that is missing at the end.
    """
    assert benchmark.first_bad_step is not None
    with blamed(benchmark, "in first_bad_step()"):
        found = benchmark.first_bad_step(gold, steps)
        if found is None:
            return None
        step = whole(found)
        if step is None or not 0 <= step <= len(steps):
            raise PluginError(f"{called(benchmark)} named step {short(found)} of a solution with {len(steps)} steps.")
        return step


def local_documents(benchmark: Benchmark, data_dir: Path) -> Documents:
    """What a benchmark reads from a folder. OSError and ValueError, of files that are not there or not whole, pass."""
    assert benchmark.local_data is not None
    trouble: OSError | ValueError | None = None
    with blamed(benchmark, "in local_data()"):
        try:
            found = benchmark.local_data(data_dir)
        except (OSError, ValueError) as error:
            trouble = error
        else:
            if not isinstance(found, Mapping) or not all(map(_is_split, found.items())):
                raise PluginError(
                    f"{called(benchmark)} must return splits by name, each a list of dicts, from local_data(), not "
                    f"{short(found)}."
                )
            return found
    raise trouble


def _is_split(item: tuple[object, object]) -> bool:
    name, rows = item
    return isinstance(name, str) and isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
