"""Which metric decides, and that only a yes or no is graded."""

from pathlib import Path

import pytest
from made_tasks import made_task

from refine_eval.errors import TaskError

TWO = """
process_results: !function made_functions.two
metric_list:
  - {metric: starts, aggregation: mean, higher_is_better: true}
  - {metric: same, aggregation: mean, higher_is_better: true}
"""
FUNCTIONS = """
def two(doc, results):
    return {"starts": results[0].startswith(doc["answer"]), "same": [float(results[0] == doc["answer"])]}

def score(doc, results):
    said, gold = set(results[0].split()), set(doc["answer"].split())
    return {"words": len(said & gold) / len(said | gold) if said | gold else 0.0}

def wrong(doc, results):
    return {"wrong": int(results[0] != doc["answer"])}

def far(doc, results):
    return {"far": abs(len(results[0]) - len(doc["answer"]))}

def word(doc, results):
    return {"verdict": "yes" if results[0] == doc["answer"] else "no"}

def pair(doc, results):
    return {"overlap": (doc["answer"], results[0])}

def fails(doc, results):
    return {"same": 1 / len(results[0].split("x")[1:])}
"""
GREEN = [
    {"question": "Which tree?", "answer": "a tall green tree"},
    {"question": "Which leaf?", "answer": "a red leaf"},
]


def one(function: str, metric: str, more: str = "aggregation: mean, higher_is_better: true") -> str:
    return f"process_results: !function made_functions.{function}\nmetric_list: [{{metric: {metric}, {more}}}]\n"


def test_the_first_metric_decides_or_the_one_that_is_named(tmp_path: Path) -> None:
    first, second = (made_task(tmp_path / n, TWO, functions=FUNCTIONS, metric=n) for n in ("starts", "same"))
    default = made_task(tmp_path / "none", TWO, functions=FUNCTIONS)
    problem, *_ = [task.questions("test")[0] for task in (first, second, default)]
    assert [task.grade(problem.id, "1 or so")["none"] for task in (first, second, default)] == [True, False, True]
    assert second.grade(problem.id, "1") == {"none": True}
    assert (default.metric.name, default.metric.settings) == ("starts", {})
    assert (first.metric.settings, second.metric.settings) == ({}, {"metric": "same"})


def test_an_unknown_metric_is_one_sentence_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"has no metric 'sam'\. Did you mean 'same'\? It has: starts, same\."):
        made_task(tmp_path, TWO, functions=FUNCTIONS, metric="sam")


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        (
            one("score", "words"),
            r"'words' .* gives scores such as 0\.5, .* --correct-above X .*, or choose another task",
        ),
        (one("far", "far", "aggregation: mean, higher_is_better: false"), "and less is better; choose another task"),
        (one("word", "verdict"), "gives the text 'yes' where right or wrong is needed"),
        (one("pair", "overlap", "aggregation: !function made_functions.pair, higher_is_better: true"), "at once"),
        ("metric_list: [{metric: bleu}]\n", "computed over all problems at once"),
        ("metric_list: [{metric: ter}]\n", "computed over all problems at once"),
    ],
)
def test_what_is_no_yes_or_no_is_refused_before_anything_is_written(tmp_path: Path, yaml: str, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        made_task(tmp_path, yaml, GREEN, FUNCTIONS)


def test_a_score_decides_from_where_the_user_says(tmp_path: Path) -> None:
    task = made_task(tmp_path, one("score", "words"), GREEN, FUNCTIONS, correct_above=0.5)
    problem = task.questions("test")[0]
    grades = [task.grade(problem.id, text)["none"] for text in ("a tall green tree", "tall green", "a cat", "")]
    assert grades == [True, True, False, False]
    assert (task.metric.label, task.metric.settings) == ("words from 0.5", {"correct_above": 0.5})


def test_a_metric_of_which_less_is_better_is_not_graded_upside_down(tmp_path: Path) -> None:
    yaml = one("wrong", "wrong", "aggregation: mean, higher_is_better: false")
    task = made_task(tmp_path, yaml, functions=FUNCTIONS)
    problem = task.questions("test")[0]
    assert [task.grade(problem.id, text)["none"] for text in ("1", "2")] == [True, False]
    with pytest.raises(TaskError, match="less is better, so --correct-above cannot say"):
        made_task(tmp_path, yaml, functions=FUNCTIONS, correct_above=0.5)


def test_several_gold_answers_do_not_make_a_yes_of_any_score(tmp_path: Path) -> None:
    half = "def half(references, predictions, **_):\n    return len(set(references[0]) & set(predictions[0])) / 9\n"
    yaml = "doc_to_target: answers\nmetric_list: [{metric: !function made_functions.half, aggregation: mean, "
    rows = [{"question": "Which?", "answers": ["tree", "bush"]}, {"question": "What?", "answers": ["leaf", "twig"]}]
    with pytest.raises(TaskError, match="gives scores such as"):
        made_task(tmp_path, yaml + "higher_is_better: true}]\n", rows, half)


def test_a_metric_that_fails_on_a_text_names_the_task(tmp_path: Path) -> None:
    task = made_task(tmp_path, one("fails", "same"), functions=FUNCTIONS)
    problem = task.questions("test")[0]
    with pytest.raises(TaskError, match=r"'made' cannot grade the text 'none' \(ZeroDivisionError: division by zero\)"):
        task.grade(problem.id, "none")


def test_a_task_that_asks_for_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"likelihood of given texts \(loglikelihood\)"):
        made_task(tmp_path, "output_type: loglikelihood\nmetric_list: [{metric: acc}]\n")
