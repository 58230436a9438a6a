"""A run's answers as lm-eval's own results and samples files: graded and written by lm-eval itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate as lm_eval_evaluate
from lm_eval.loggers.evaluation_tracker import EvaluationTracker
from lm_eval.utils import sanitize_model_name

import refine_eval
from refine_eval.errors import TaskError
from refine_eval.tasks.bounds import is_read
from refine_eval.tasks.evaluate import GeneratingLM
from refine_eval.tasks.quiet import quiet
from refine_eval.tasks.task import LmEvalTask


class _RecordedLM(GeneratingLM):
    """An lm-eval model that answers what was recorded: a text for each problem id."""

    def __init__(self, task: LmEvalTask, texts: Mapping[str, str]) -> None:
        super().__init__()
        self._task, self._texts = task, texts

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The recorded text of each request, in order; TaskError for a problem that has none."""
        ids = [problem.id for problem in self._task.problems(requests)]
        if odd := [each for each in ids if each not in self._texts]:
            raise TaskError(f"The run has no answer to {odd[0]}: {_other_data(self._task)}")
        return [text if is_read(text) else "" for text in map(self._texts.__getitem__, ids)]


def write_lm_eval_files(
    place: Path,
    name: str,
    task: LmEvalTask,
    answers: Mapping[str, tuple[str, Mapping[str, bool]]],
    *,
    limit: int | None,
    repeats: int,
) -> list[Path]:
    """Writes results_*.json and samples_*.jsonl to PLACE/NAME; returns their paths.

    `answers`: problem id -> (text, whether it is right under each filter). TaskError where the task asks or grades
    otherwise than in the run, as other data does, and where the files cannot be written.
    """
    task.task.set_config(key="repeats", value=repeats)
    model = _RecordedLM(task, {problem: text for problem, (text, _) in answers.items()})
    with quiet(task.note):
        found = lm_eval_evaluate(model, {task.name: task.task}, limit=limit, log_samples=True, **asdict(task.prompting))
    for problem, (text, right) in answers.items():
        if task.grade(problem, text) != right:
            raise TaskError(f"The answer to {problem} is graded otherwise than in the run: {_other_data(task)}")
    results: dict[str, Any] = dict(found)
    samples = results.pop("samples")
    results["config"] = {"model": "refine-eval", "model_args": f"version={refine_eval.__version__}", "limit": limit}
    tracker = EvaluationTracker(output_path=str(place))
    about = tracker.general_config_tracker
    about.model_source, about.model_name, about.model_name_sanitized = "refine-eval", name, sanitize_model_name(name)
    about.system_instruction = task.prompting.system_instruction
    about.fewshot_as_multiturn = task.prompting.fewshot_as_multiturn
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples(task_name=task.name, samples=samples[task.name])
    folder = place / sanitize_model_name(name)
    date = getattr(tracker, "date_id", "")
    paths = [folder / f"results_{date}.json", folder / f"samples_{task.name}_{date}.jsonl"]
    if missing := [path for path in paths if not path.is_file()]:  # lm-eval only logs why
        raise TaskError(f"lm-eval did not write {missing[0]}; see that the folder can be written.")
    return paths


def _other_data(task: LmEvalTask) -> str:
    return f"the data of {task.name} is not what it was then; name that of the run with --data-dir."
