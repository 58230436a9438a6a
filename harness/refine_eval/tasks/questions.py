"""What a problem asks, for everybody but the student: the bare question where the task shows no more than that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

Doc = Mapping[str, Any]

_LOOKED_AT = 16
"""So many documents, spread over the split, say what the task writes around every question."""


class Questions:
    """Makes a document's question: its field "question" or "problem" where all else in the prompt is the same for all.

    Where a task shows more of a document (a passage, a table, options), the question is all that it shows.
    """

    def __init__(self, task: Any) -> None:
        """`task` is lm-eval's."""
        self._task = task

    def of(self, doc: Doc) -> str:
        """What critics and refiners read of this document."""
        text, bare = str(self._task.doc_to_text(doc)), _bare(doc)
        if not isinstance(bare, str) or not bare.strip():
            return text.strip()
        return bare.strip() if self._frame is not None and _around(bare, text) == self._frame else text.strip()

    @cached_property
    def _frame(self) -> str | None:
        """What stands around every question; None where that differs, or holds something of a document."""
        docs = self._task.task_docs
        some = [docs[i] for i in range(0, len(docs), max(1, len(docs) // _LOOKED_AT))]
        frames = set()
        for doc in some:
            bare = _bare(doc)
            frame = _around(bare, str(self._task.doc_to_text(doc))) if isinstance(bare, str) else None
            if frame is None or any(_stands_in(leaf, frame) for leaf in _leaves(doc, bare)):
                return None
            frames.add(frame)
        return frames.pop() if len(frames) == 1 else None


def _bare(doc: Doc) -> Any:
    """What a document asks, by itself; None where none of its fields says so."""
    named = {name.lower(): value for name, value in doc.items()}
    return named.get("question", named.get("problem"))


def _around(bare: str, text: str) -> str | None:
    """The text without the question that it shows; None where it does not show it."""
    before, found, after = text.partition(bare.strip())
    return f"{before}\0{after}" if found else None


def _leaves(value: Any, bare: Any) -> Iterator[str]:
    """All texts in a document but its question."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner, bare)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, bare)
    elif isinstance(value, str) and value != bare:
        yield value


def _stands_in(leaf: str, frame: str) -> bool:
    leaf = leaf.strip()
    return len(leaf) > 2 and leaf in frame and re.search(rf"(?<!\w){re.escape(leaf)}(?!\w)", frame) is not None
