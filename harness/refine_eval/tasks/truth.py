"""What a task knows of its test problems: questions, gold solutions, and the first wrong step of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from refine_eval.data import DRAFT, Problem, Trace
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.benchmark_contract import exact_first_bad_step
from refine_eval.tasks.splits import benchmark_of

if TYPE_CHECKING:
    from refine_eval.tasks.task import LmEvalTask


class Known(NamedTuple):
    """A test problem's question and gold solution."""

    question: str
    gold: str


def known_problems(task: str, benchmarks: Mapping[str, Benchmark], data_dir: Path | None = None) -> dict[str, Known]:
    """A task's test problems by id, as runs have it; TaskError where the task or its data is not at hand."""
    from refine_eval.tasks.task import LmEvalTask  # takes seconds

    loaded = LmEvalTask(task, benchmarks, data_dir=data_dir)
    questions = loaded.questions("test")
    return {f"{task}/{n}": Known(found.question, loaded.gold_text(found)) for n, found in enumerate(questions)}


def loaded_problems(
    said: Mapping[str, Any], benchmarks: Mapping[str, Benchmark], data_dir: Path | None = None
) -> tuple[LmEvalTask, dict[str, Problem]]:
    """The task of a record, graded as its run.yaml says, and its test problems by id; TaskError as `known_problems`."""
    task = loaded_task(said, benchmarks, data_dir)
    return task, {f"{task.name}/{n}": found for n, found in enumerate(task.questions("test"))}


def loaded_task(
    said: Mapping[str, Any], benchmarks: Mapping[str, Benchmark], data_dir: Path | None = None
) -> LmEvalTask:
    """The task of a record, asked and graded as its run.yaml says; TaskError where it or its data is not at hand."""
    from refine_eval.tasks.prompting import Prompting
    from refine_eval.tasks.task import LmEvalTask

    return LmEvalTask(
        str(said["name"]),
        benchmarks,
        data_dir=data_dir,
        num_fewshot=said.get("num_fewshot"),
        filter_name=said.get("filter"),
        metric=said.get("metric"),
        correct_above=said.get("correct_above"),
        max_gen_toks=said.get("max_gen_toks"),
        prompting=Prompting.of(
            messages=said.get("apply_chat_template") is not None,
            system_instruction=said.get("system_instruction"),
            fewshot_as_multiturn=said.get("fewshot_as_multiturn"),
        ),
        gen_kwargs=said.get("gen_kwargs"),
    )


def knows_steps(task: str, benchmarks: Mapping[str, Benchmark]) -> bool:
    """Whether the first wrong step of any text is known exactly, wherever refine-eval is installed."""
    benchmark = benchmark_of(task, benchmarks)
    return benchmark is not None and benchmark.first_bad_step is not None and benchmark.local_data is None


def first_bad_steps(
    task: str, benchmarks: Mapping[str, Benchmark], traces: Sequence[Trace]
) -> dict[str, int | None] | None:
    """The first wrong step of each draft by problem id (None: there is none); None where the task cannot tell."""
    benchmark = benchmark_of(task, benchmarks)
    if benchmark is None or not knows_steps(task, benchmarks):
        return None
    known = known_problems(task, benchmarks)
    return {
        t.problem.id: exact_first_bad_step(benchmark, known[t.problem.first_id].gold, t.candidate(DRAFT).solution.steps)
        for t in traces
    }
