"""No example holds the problem's own answer, on any way to a prompt."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.evaluator import evaluate
from made_tasks import NUMBER, made_task

from refine_eval.data import Problem, Trace
from refine_eval.errors import TaskError
from refine_eval.formats import prompt_text
from refine_eval.tasks.evaluate import RefinedLM
from refine_eval.tasks.task import LmEvalTask
from refine_eval.terminal import Progress

SIX = [{"question": f"What is {n} plus {n}?", "answer": str(2 * n)} for n in range(6)]


class Stop(Exception):
    """Ends lm-eval's evaluation once the prompts are made."""


def prompts_of_a_run(task: LmEvalTask) -> list[Problem]:
    """The problems as lm-eval's evaluator asks for them."""
    seen: list[Problem] = []

    def run(problems: Any) -> list[Trace]:
        seen.extend(problems)
        raise Stop

    with pytest.raises(Stop):
        evaluate(RefinedLM(task, run, Progress(quiet=True)), {"tasks": {task.name: task.task}}, log_samples=False)
    return seen


def check(problems: list[Problem], shots: int) -> None:
    for problem in problems:
        assert prompt_text(problem.prompt).lower().count(problem.question.lower()) == 1
        assert prompt_text(problem.prompt).count("Question:") == shots + 1


@pytest.mark.parametrize(
    ("yaml", "splits"),
    [
        ("fewshot_split: test\n", {}),
        ("", {}),  # lm-eval takes the test split where there is no other
        ("fewshot_split: train\n", {"train": SIX}),
        ("fewshot_split: train\nfewshot_config: {sampler: first_n}\n", {"train": SIX}),
        ("training_split: train\n", {"train": SIX}),
        ("fewshot_split: train\n", {"train": [{**doc, "answer": f"{doc['answer']}.0"} for doc in SIX]}),
        ("fewshot_split: train\n", {"train": [{**doc, "question": f" {doc['question'].upper()}"} for doc in SIX]}),
        ("fewshot_split: train\n", {"train": SIX + SIX[::-1]}),
    ],
)
def test_a_problem_is_never_among_its_own_examples(tmp_path: Path, yaml: str, splits: dict[str, Any]) -> None:
    shots = 4
    task = made_task(tmp_path, yaml + NUMBER, SIX, splits=splits, num_fewshot=shots)
    problems = prompts_of_a_run(task)
    assert [problem.question for problem in problems] == [doc["question"] for doc in SIX]
    check(problems, shots)
    if "training_split" in yaml:
        check(task.questions("train"), shots)
    check(task.questions("test"), shots)


def test_examples_stay_as_lm_eval_draws_them_where_none_is_the_problem(tmp_path: Path) -> None:
    train = [{"question": f"What is {n} times 3?", "answer": str(3 * n)} for n in range(9)]
    yaml = "fewshot_split: train\n" + NUMBER
    ours = prompts_of_a_run(made_task(tmp_path / "a", yaml, SIX, splits={"train": train}, num_fewshot=3))
    leaky = [SIX[0], *train[1:]]
    theirs = prompts_of_a_run(made_task(tmp_path / "b", yaml, SIX, splits={"train": leaky}, num_fewshot=3))
    drawn = [one.prompt == other.prompt for one, other in zip(ours[1:], theirs[1:], strict=True)]
    assert any(drawn)
    for one, other in zip(ours, theirs, strict=True):
        if "plus 0?" not in other.prompt:
            assert one.prompt == other.prompt


def test_too_few_examples_is_one_sentence(tmp_path: Path) -> None:
    task = made_task(tmp_path, "fewshot_split: test\n" + NUMBER, SIX, num_fewshot=6)
    with pytest.raises(TaskError, match=r"cannot show 6 few-shot examples: it has .* lower --num-fewshot"):
        prompts_of_a_run(task)
