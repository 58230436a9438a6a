"""A run as a model of lm-eval, so that lm-eval itself scores the run's choice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate as lm_eval_evaluate

import refine_eval
from refine_eval.data import Problem, Trace
from refine_eval.errors import TaskError
from refine_eval.tasks.bounds import is_read, unread_note
from refine_eval.tasks.prompting import rendered
from refine_eval.tasks.quiet import quiet
from refine_eval.tasks.task import LmEvalTask
from refine_eval.terminal import Progress


class GeneratingLM(LM):  # type: ignore[misc]  # lm_eval ships no types
    """What lm-eval asks of a model beside the texts, which subclasses write."""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages, kept as they are for the engine."""
        return rendered(chat_history)

    @property
    def tokenizer_name(self) -> str:
        """Of lm-eval's cache of requests, which is not used."""
        return ""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not for generated solutions: raises TaskError."""
        raise TaskError("refine-eval refines generated solutions; tasks scored by log-likelihood have none.")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Not for generated solutions: raises TaskError."""
        raise TaskError("refine-eval refines generated solutions; tasks scored by log-likelihood have none.")


class RefinedLM(GeneratingLM):
    """An lm-eval model whose answer is the run's choice. Keeps the traces, graded."""

    def __init__(self, task: LmEvalTask, run: Callable[[Sequence[Problem]], list[Trace]], progress: Progress) -> None:
        super().__init__()
        self._task = task
        self._run = run
        self._progress = progress
        self.traces: list[Trace] = []

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The text of the first selector's choice for each request, in order."""
        with contextlib.redirect_stderr(self._progress.stream):
            traces = self._run(self._task.problems(requests))
            self.traces = [self._task.graded(trace) for trace in traces]
        unread = sum(not is_read(c.solution.text) for trace in self.traces for c in trace.candidates)
        if unread:
            self._progress.note(unread_note(unread))
        texts = [trace.choice.solution.text for trace in self.traces]
        return [text if is_read(text) else "" for text in texts]


def evaluate(
    task: LmEvalTask,
    run: Callable[[Sequence[Problem]], list[Trace]],
    *,
    limit: int | None,
    progress: Progress,
) -> tuple[list[Trace], dict[str, Any]]:
    """Runs the task through lm-eval's evaluator: graded traces, and lm-eval's results of the run's choice."""
    model = RefinedLM(task, run, progress)
    with quiet(task.note):
        results = lm_eval_evaluate(
            model, {"tasks": {task.name: task.task}}, limit=limit, log_samples=False, **asdict(task.prompting)
        )
    results["config"] = {"model": "refine-eval", "model_args": f"version={refine_eval.__version__}", "limit": limit}
    # Through JSON, as lm-eval's own tracker writes it: functions and paths become text.
    return model.traces, json.loads(json.dumps(results, default=str))
