"""Tasks that ask for several texts of each problem: lm-eval's `repeats`, and the filters that read several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.filters.selection import TakeKFilter

from refine_eval.tasks.prompting import drawn_as


def own_drawing(task: Any, given: Mapping[str, Any]) -> tuple[float, float]:
    """Temperature and top-p of an lm-eval task's drafts where no option of ours says them; temperature 0 is greedy.

    They are those of `gen_kwargs` (`given`), else, of a task that repeats its problems, its own. All other tasks have
    greedy drafts.
    """
    arguments = task.config.generation_kwargs or {}
    drawn = drawn_as(arguments, given if task.config.repeats == 1 else arguments)
    return drawn.get("temperature", 0.0), drawn.get("top_p", 1.0)


def texts_read(ensembles: Iterable[Any]) -> int:
    """How many texts of a problem the filters need at least: one alone is graded as if all were like it."""
    return max((_needed(each) for ensemble in ensembles for each in ensemble.filters), default=1)


def _needed(filter_class: Any) -> int:
    takes = isinstance(filter_class, partial) and filter_class.func is TakeKFilter
    return int(filter_class.keywords.get("k", 1)) if takes else 1


def numbered(requests: Sequence[Instance]) -> list[int]:
    """For each request how often its document was asked for before: lm-eval asks for repeats one after the other."""
    seen: Counter[int] = Counter()
    numbers = []
    for request in requests:
        numbers.append(seen[request.doc_id])
        seen[request.doc_id] += 1
    return numbers
