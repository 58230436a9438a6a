"""The answer that a task finds in a text: by its filter, or, where none of it extracts, as its metric finds it."""

from __future__ import annotations

import inspect
import re
import string
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lm_eval.filters.extraction import WhitespaceFilter
from lm_eval.filters.selection import MajorityVoteFilter, TakeFirstFilter, TakeKFilter
from lm_eval.filters.transformation import LowercaseFilter, UppercaseFilter

from refine_eval.tasks.answers import Found, is_number, normal_answer
from refine_eval.tasks.metrics import MATH_VERIFY
from refine_eval.tasks.repeats import texts_read

Doc = Mapping[str, Any]

_NOTHING = "\0"
"""Stands for "no answer" in a filter that would otherwise put a text of its own there."""

_PASSING = (TakeFirstFilter, TakeKFilter, MajorityVoteFilter, WhitespaceFilter, LowercaseFilter, UppercaseFilter)
"""lm-eval's filters that leave the whole text."""

LONGEST_FORMULA = 300
"""Characters of an answer that is still read as a formula; whatever is longer is a text."""


class Extraction:
    """What one filter of a task, and the metric behind it, find in texts."""

    def __init__(self, task: Any, ensemble: Any, metric: str, ask: Callable[[str], str | None]) -> None:
        """`task` is lm-eval's, `ensemble` one of its filters, `metric` the name of the metric that decides.

        `ask` gives the answer that math-verify finds in a text, for tasks whose metric it is.
        """
        self._filters = [_without_fallback(each) for each in ensemble.filters]
        self._texts = texts_read([ensemble])
        extracts = not all(_kind(each) in _PASSING for each in ensemble.filters)
        self._formulas = None if extracts else _Formulas.of(task, ask if metric == MATH_VERIFY else None)
        own_way = callable(task.config.process_results) or metric != "exact_match"
        self._ignored: Mapping[str, Any] = {} if own_way else task._metric_fn_kwargs.get(metric, {})
        self.is_mathematical = self._formulas is not None or metric == MATH_VERIFY
        """Whether answers are formulas, which are equal where their values are."""

    def find(self, doc: Doc, text: str, filtered: Any) -> Found | None:
        """The answer in a text; `filtered` is what the task's own filter made of it. None: there is none."""
        answer = self._answer(doc, text)
        if answer is None:
            return None
        if self._formulas is not None:
            return self._formulas.find(doc, text, answer)
        value = normal_answer(answer)
        if value is None:
            return None
        spelling = _as_compared(_first(filtered) or "", **self._ignored)
        return Found(value=value, spelling=spelling, plain=is_number(value) and spelling == value)

    def _answer(self, doc: Doc, text: str) -> str | None:
        """What the filter finds; None where it finds nothing and would put a fallback there."""
        found: Any = [[text] * self._texts]
        for each in self._filters:
            found = list(each().apply(found, [doc]))
        answer = _first(found[0])
        return None if answer is None or _NOTHING in answer or not answer.strip() else answer


class _Formulas:
    """Extraction by a task whose process_results does it, with `is_equiv` to compare (MATH, AIME, minerva_math)."""

    def __init__(
        self, process: types.FunctionType, known: Mapping[str, Any], ask: Callable[[str], str | None] | None
    ) -> None:
        self._ask = ask
        self._compared: list[Any] = []

        def is_equiv(answer: Any, *_: Any, **__: Any) -> bool:
            self._compared.append(answer)
            return False

        # The task's own function, which shows us what it extracted. math-verify, where it asks that too, costs more
        # than all else and says nothing of it.
        stubs = {name: lambda *_, **__: False for name in ("parse", "verify") if name in known}
        own = {**known, **stubs, "is_equiv": is_equiv}
        self._process = types.FunctionType(
            process.__code__, own, process.__name__, process.__defaults__, process.__closure__
        )
        self._last_boxed, self._remove_boxed = known["last_boxed_only_string"], known["remove_boxed"]
        self._normal = known.get("normalize_final_answer") or known.get("strip_string") or str.strip

    @classmethod
    def of(cls, task: Any, ask: Callable[[str], str | None] | None) -> _Formulas | None:
        """None for a task that extracts nothing in its process_results, or not in this way."""
        process = task.config.process_results
        known = getattr(process, "__globals__", {})
        needed = {"is_equiv", "last_boxed_only_string", "remove_boxed"}
        if not isinstance(process, types.FunctionType) or not needed <= known.keys():
            return None
        return cls(process, known, ask)

    def find(self, doc: Doc, text: str, whole: str) -> Found | None:
        """What stands in the last box; without one what the task, or math-verify in its place, finds."""
        compared = self._extracted(doc, text)
        answer = self._boxed(text) or self._unboxed(compared, whole)
        if answer is None or not (answer := answer.strip().strip("$").strip()):
            return None
        formula = self._normalised(answer)
        number = normal_answer(answer)
        value = number if number is not None and is_number(number) else formula
        spelling = self._normalised(compared or "")
        return Found(value=value, spelling=spelling, plain=spelling in (value, formula)) if value else None

    def _unboxed(self, compared: str | None, whole: str) -> str | None:
        """The answer in a text without a whole box."""
        if compared is not None and compared.strip() != whole.strip() and not compared.startswith("[invalid"):
            return compared
        if self._ask is not None:
            return self._ask(whole)
        # A text that is nothing but an answer.
        boxed = "\\boxed" in whole or "\\fbox" in whole
        is_answer = "\n" not in whole.strip() and len(whole) <= LONGEST_FORMULA and not boxed
        return whole if is_answer else None

    def _extracted(self, doc: Doc, text: str) -> str | None:
        self._compared.clear()
        try:
            self._process(doc, [text])
        except Exception:  # whatever the task's own code makes of this text: it will say so when it grades
            return None
        found = self._compared[0] if self._compared else None
        return found if isinstance(found, str) else None

    def _boxed(self, text: str) -> str | None:
        try:
            found = self._last_boxed(text)
            inner = None if found is None else self._remove_boxed(found)
        except (AssertionError, IndexError, TypeError):
            return None
        # "\boxed 7" has no end: it is the line.
        return inner.strip().partition("\n")[0] if isinstance(inner, str) and inner.strip() else None

    def _normalised(self, answer: str) -> str:
        """The answer in the task's own spelling; as it is where it is too long for a formula, or none."""
        if len(answer) > LONGEST_FORMULA:
            return answer
        try:
            return str(self._normal(answer))
        except (AssertionError, IndexError, ValueError):
            return answer


def _kind(each: Any) -> Any:
    return each.func if isinstance(each, partial) else each


def _without_fallback(each: Any) -> Any:
    """One of a filter's parts, putting `_NOTHING` where it found nothing."""
    kind = _kind(each)
    if not inspect.isclass(kind):
        return each
    takes = inspect.signature(kind.__init__).parameters
    marks: dict[str, Any] = {name: _NOTHING for name in ("fallback", "default_value") if name in takes}
    given = each.keywords if isinstance(each, partial) else {}
    if isinstance(given.get("fallback", getattr(takes.get("fallback"), "default", None)), list):
        marks["fallback"] = [_NOTHING]
    return partial(kind, *getattr(each, "args", ()), **{**given, **marks}) if marks else each


def _first(found: Any) -> str | None:
    """The first answer of a filter that leaves a list, or the one of a filter that does not; None for none."""
    if isinstance(found, list | tuple):
        found = found[0] if found else None
    return None if found is None else str(found)


def _as_compared(
    answer: str,
    regexes_to_ignore: list[str] | None = None,
    ignore_case: bool = False,
    ignore_punctuation: bool = False,
    ignore_numbers: bool = False,
    **_: Any,
) -> str:
    """An answer without what lm-eval's exact_match ignores (lm_eval/api/metrics.py)."""
    for pattern in regexes_to_ignore or ():
        answer = re.sub(pattern, "", answer)
    if ignore_case:
        answer = answer.lower()
    gone = (string.punctuation if ignore_punctuation else "") + (string.digits if ignore_numbers else "")
    return answer.translate(str.maketrans("", "", gone))
