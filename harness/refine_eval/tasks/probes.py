"""What a task's metrics say of a few texts, before anything is generated."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

_DOCUMENTS = 8
_SECONDS = 1.0


def metrics_seen(
    task: Any, filtered: Callable[[dict[str, Any], str], Mapping[str, Any]], filter_name: str
) -> dict[str, list[Any]]:
    """The values of each metric on gold answers, halves of them and those of other problems; {} where it cannot tell.

    So a score that is no yes or no shows before a model has written a text. `task` is lm-eval's.
    """
    seen: dict[str, list[Any]] = {}
    if getattr(task, "UNSAFE_CODE", False):  # it would run the texts
        return seen
    start = time.monotonic()
    docs = [task.task_docs[i] for i in range(min(_DOCUMENTS, len(task.task_docs)))]
    golds = [_text(task.doc_to_target(doc)) for doc in docs]
    for index, doc in enumerate(docs):
        words = golds[index].split()
        for text in (golds[index], " ".join(words[: (len(words) + 1) // 2]), golds[index - 1], ""):
            if time.monotonic() - start > _SECONDS:
                return seen
            try:
                values = task.process_results(doc, [filtered(doc, text)[filter_name]])
                of_one = {name: _single(task, name, golds[index], text) or [value] for name, value in values.items()}
            except Exception:  # a task's own code may expect more of a text: it will say so when it grades
                continue
            for name, scores in of_one.items():
                seen.setdefault(name, []).extend(scores)
    return seen


def _single(task: Any, name: str, gold: str, text: str) -> list[Any]:
    """The score against one gold answer where lm-eval makes 1 of any score above 0, as it does with several of them."""
    if not task.multiple_target or task.config.process_results is not None or name == "exact_match":
        return []
    score = task._metric_fn_list[name](references=[gold], predictions=[text], **task._metric_fn_kwargs[name])
    return [score.get(name) if isinstance(score, Mapping) else score]


def _text(gold: Any) -> str:
    return str(gold[0] if isinstance(gold, list) and gold else gold)
