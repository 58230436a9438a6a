"""Which of a task's metrics says what is right, and what it says: only a yes or no can be graded a text at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from refine_eval.errors import TaskError, suggestion

MATH_VERIFY = "math_verify"
"""What lm-eval calls the metric by math-verify; it decides wherever a task has it (minerva_math and its like)."""

_OVER_ALL = frozenset(
    (
        *("bits_per_byte", "bleu", "brier_score", "bypass", "chrf", "chrf++", "f1", "matthews_corrcoef"),
        *("perplexity", "ter", "weighted_perplexity"),
    )
)
"""lm-eval's aggregations that make a figure of all problems at once: a single text has no score of its own."""


class Metric:
    """One of a task's metrics, as the judge of single texts.

    `correct_above`: the score from which a text counts as right; None: the metric must be a yes or no.
    """

    def __init__(
        self, task: Any, task_name: str, name: str | None, correct_above: float | None, found: Iterable[str] = ()
    ) -> None:
        """`task` is lm-eval's; `found` are names that its process_results was seen to give.

        TaskError for a name that the task does not have, and for a metric that cannot judge a single text.
        """
        self._task_name = task_name
        self.names = list(dict.fromkeys([*task._metric_fn_list, *found]))
        """The task's metrics, in lm-eval's order."""
        given = [known for known in self.names if known in set(found)] or self.names
        default = MATH_VERIFY if MATH_VERIFY in given else given[0]
        if name is not None and name not in self.names:
            raise TaskError(
                f"Task {task_name!r} has no metric {name!r}.{suggestion(name, self.names)} It has: "
                f"{', '.join(self.names)}."
            )
        self.name = name or default
        self.is_default = self.name == default
        self.correct_above = correct_above
        self.less_is_better = task._higher_is_better.get(self.name) is False
        if _aggregation(task, self.name) in _OVER_ALL:
            raise self._over_all()
        if self.less_is_better and correct_above is not None:
            raise TaskError(
                f"Of the metric {self.name!r} of task {task_name!r} less is better, so --correct-above cannot say from "
                f"where a text counts as right; {self._instead()}."
            )

    @property
    def label(self) -> str:
        """What tables say of it: the name, and from where a text counts as right."""
        return self.name if self.correct_above is None else f"{self.name} from {self.correct_above:g}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a record says of it: nothing where it is the task's own way."""
        chosen = {} if self.is_default else {"metric": self.name}
        return chosen if self.correct_above is None else {**chosen, "correct_above": self.correct_above}

    def is_right(self, values: Mapping[str, Any]) -> bool:
        """What process_results gave for a text, as right or wrong. TaskError where it is neither."""
        if self.name not in values:
            raise TaskError(
                f"Task {self._task_name!r} gave no value of its metric {self.name!r} for a text; {self._instead()}."
            )
        value = _unwrapped(values[self.name])
        if isinstance(value, str) or value is None:
            said = f"the text {value[:40]!r}" if isinstance(value, str) else "nothing"
            raise TaskError(
                f"The metric {self.name!r} of task {self._task_name!r} gives {said} where right or wrong is needed; "
                f"{self._instead()}."
            )
        if isinstance(value, list | tuple | dict):
            raise self._over_all()
        number = float(value)
        if self.correct_above is not None:
            return number >= self.correct_above
        if number not in (0.0, 1.0):
            raise self._no_yes_or_no(number)
        return (number == 0.0) if self.less_is_better else (number == 1.0)

    def _over_all(self) -> TaskError:
        return TaskError(
            f"The metric {self.name!r} of task {self._task_name!r} is computed over all problems at once, so it cannot "
            f"say whether a single text is right; {self._instead()}."
        )

    def _no_yes_or_no(self, number: float) -> TaskError:
        what = f"The metric {self.name!r} of task {self._task_name!r} gives scores such as {number:g}, not a yes or no"
        if self.less_is_better:
            return TaskError(f"{what}, and less is better; {self._instead()}.")
        return TaskError(f"{what}; say with --correct-above X from where a text counts as right, or {self._instead()}.")

    def _instead(self) -> str:
        others = [name for name in self.names if name != self.name]
        return f"choose another with --metric ({', '.join(others)})" if others else "choose another task"


def _aggregation(task: Any, name: str) -> str | None:
    """lm-eval's name of the metric's aggregation; None for a function of the task's own."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    used = task._aggregation_list.get(name)
    return next((known for known, function in AGGREGATION_REGISTRY.items() if function is used), None)


def _unwrapped(value: Any) -> Any:
    """A value that stands alone in a list, a tuple or a dict, by itself; numpy's numbers and arrays as Python's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    while isinstance(value, list | tuple | dict) and len(value) == 1:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return value
