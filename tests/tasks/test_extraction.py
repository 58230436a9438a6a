"""What the answer in a text is, and which candidate a group of equal answers hands in."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from made_tasks import NUMBER, made_task

from refine_eval.data import AnswerGroup
from refine_eval.tasks.task import LmEvalTask

CHOICE = """
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - name: letter
    filter:
      - {function: regex, regex_pattern: "is \\\\(([A-D])\\\\)", fallback: "C"}
      - {function: take_first}
"""
WHOLE = "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
MATH = """
process_results: !function made_functions.process_results
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
MATH_FUNCTIONS = "from lm_eval.tasks.aime.utils import *\nfrom lm_eval.tasks.aime.utils import process_results\n"


def groups(task: LmEvalTask, texts: Sequence[str]) -> list[AnswerGroup]:
    return task.answer_groups([task.questions("test")[0]], [texts])[0]


def answers(task: LmEvalTask, texts: Sequence[str]) -> list[str | None]:
    return task.answers(task.questions("test")[0], texts)


def test_a_filters_fallback_is_no_answer(tmp_path: Path) -> None:
    task = made_task(tmp_path, CHOICE, [{"question": "Which?", "answer": "C"}])
    assert answers(task, ["it is (C)", "it is (B)", "who knows", ""]) == ["c", "b", None, None]
    problem = task.questions("test")[0]
    assert task.grade(problem.id, "who knows") == {"letter": True}, "the metric is still lm-eval's"


@pytest.mark.parametrize("fallback", ["[invalid]", "", "0", "none"])
def test_no_fallback_wins_votes(tmp_path: Path, fallback: str) -> None:
    pattern = 'group_select: -1, fallback: "' + fallback + '"'
    task = made_task(tmp_path, NUMBER.replace("group_select: -1", pattern))
    assert answers(task, ["so 2", "so 0", "dunno", "no idea"]) == ["2", "0", None, None]
    assert groups(task, ["dunno", "no idea", "so 2"]) == [AnswerGroup(members=(2,), best_spelt=2)]


def test_a_task_without_a_filter_has_the_whole_text_and_nothing_where_that_is_empty(tmp_path: Path) -> None:
    task = made_task(tmp_path, WHOLE)
    assert answers(task, ["Yes", "yes ", " \n", ""]) == ["yes", "yes", None, None]


@pytest.mark.parametrize(
    ("texts", "best"),
    [
        (["so 29.00", "so 29", "so 29"], 1),
        (["so 29.00", "so 29.00", "so 29"], 2),
        (["so 29.00", "so 29.0", "so 29.0"], 1),
        (["so 1,000.0", "so 1,000", "so 1000.0"], 0),
        (["so 7", "so 7"], 0),
    ],
)
def test_numbers_of_one_value_hand_in_the_plain_spelling_or_the_commonest(
    tmp_path: Path, texts: list[str], best: int
) -> None:
    assert groups(made_task(tmp_path), texts) == [AnswerGroup(members=tuple(range(len(texts))), best_spelt=best)]


def test_what_the_metric_ignores_is_no_other_spelling(tmp_path: Path) -> None:
    ignoring = NUMBER.replace("higher_is_better: true", 'higher_is_better: true, regexes_to_ignore: [",", "\\\\.$"]')
    task = made_task(tmp_path, ignoring)
    assert groups(task, ["so 1,000.", "so 1000"]) == [AnswerGroup(members=(0, 1), best_spelt=0)]


def test_words_hand_in_the_commonest_spelling(tmp_path: Path) -> None:
    task = made_task(tmp_path, WHOLE)
    assert groups(task, ["yes", "Yes", "Yes", "no"]) == [
        AnswerGroup(members=(0, 1, 2), best_spelt=1),
        AnswerGroup(members=(3,), best_spelt=3),
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is $\\boxed{\\frac12}$.", "\\frac{1}{2}"),
        ("So it is \\boxed{1{,}200}.", "1{,}200"),
        ("First \\boxed{3}, no: \\boxed{4}", "4"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\fbox{6}", None),
        ("it is $7$", "7"),
        ("8", "8"),
        ("I cannot\ntell", None),
        ("\\boxed{", None),
        ("\\boxed{}", None),
        ("\\boxed{9}" * 10_000, "9"),
        ("\\boxed{" * 10_000, None),
    ],
)
def test_tasks_that_extract_where_they_grade(tmp_path: Path, text: str, answer: str | None) -> None:
    assert answers(made_task(tmp_path, MATH, functions=MATH_FUNCTIONS), [text]) == [answer]


def test_the_spelling_that_the_task_itself_extracts_is_handed_in(tmp_path: Path) -> None:
    """MATH's own function reads what stands between dollar signs, and a box without them as a whole text."""
    functions = MATH_FUNCTIONS.replace("aime", "hendrycks_math")
    rows = [{"question": "Half of 6?", "answer": "3", "solution": "It is \\boxed{3}."}] * 2
    task = made_task(tmp_path, MATH, rows, functions)
    texts = ["so \\boxed{3}", "so $3$", "so \\boxed{3}"]
    assert [task.grade(task.questions("test")[0].id, text)["none"] for text in texts] == [False, True, False]
    assert groups(task, texts) == [AnswerGroup(members=(0, 1, 2), best_spelt=1)]
