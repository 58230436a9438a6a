"""Whatever a model writes is graded in linear time, and exactly as lm-eval grades it."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from fuzz import deadline
from hostile_texts import KINDS, hostile_text, seconds
from records import TRACES

from refine_eval.data import Problem
from refine_eval.formats import cut_at_stops, split_steps
from refine_eval.plugin.registry import registry
from refine_eval.stages.rollouts import rollout_labels
from refine_eval.stages.rules import first_unused, results_used
from refine_eval.tasks.answers import normal_answer
from refine_eval.tasks.bounds import MAX_CHARACTERS, anchored
from refine_eval.tasks.evaluate import RefinedLM
from refine_eval.tasks.task import LmEvalTask
from refine_eval.terminal import Progress, strip_control

Grade = Callable[[str], object]


@pytest.fixture(scope="module")
def apples() -> LmEvalTask:
    """Graded by GSM8K's filters and metric, and here on every machine."""
    return LmEvalTask("apples", registry().benchmarks())


@pytest.fixture(scope="module")
def problem(apples: LmEvalTask) -> Problem:
    return apples.questions("test", 1)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_million_characters_are_graded_in_no_time(apples: LmEvalTask, problem: Problem, kind: str) -> None:
    text = hostile_text(kind, 1_000_000).encode("utf-8", "replace").decode()
    assert len(text) == MAX_CHARACTERS, "it must be read"

    def grade() -> None:
        split_steps(cut_at_stops(text, ("Question:", "</s>")))
        normal_answer(text)
        apples.answers(problem, [text])
        apples.grade(problem.id, text)

    with deadline(60):
        assert seconds(grade) < 3, "1 s on a machine that does nothing else"


@pytest.mark.parametrize("kind", KINDS)
def test_four_times_the_text_takes_four_times_as_long(apples: LmEvalTask, problem: Problem, kind: str) -> None:
    assert apples.benchmark is not None
    assert apples.benchmark.first_bad_step is not None
    first_bad_step = apples.benchmark.first_bad_step

    def read(text: str) -> None:
        steps = split_steps(text)
        strip_control(text)
        apples.answers(problem, [text])
        apples.grade(problem.id, text)
        first_unused(steps)
        first_bad_step("1+1=2\n#### 2", steps)

    short, long = (hostile_text(kind, n).encode("utf-8", "replace").decode() for n in (30_000, 120_000))
    with deadline(60):
        before = seconds(lambda: read(short))
        after = seconds(lambda: read(long))
    assert after < 8 * before or after < 0.3, f"{before:.2f} s, and {after:.2f} s for four times as much"


@pytest.fixture(scope="module")
def unanchored() -> LmEvalTask:
    """The task with lm-eval's patterns as they are."""
    with mock.patch("refine_eval.tasks.task.anchor_metrics"):
        task = LmEvalTask("apples", registry().benchmarks())
    task.questions("test", 1)
    return task


@pytest.mark.parametrize("kind", KINDS)
def test_grades_are_lm_evals_own(apples: LmEvalTask, unanchored: LmEvalTask, problem: Problem, kind: str) -> None:
    assert repr(apples.task._metric_fn_kwargs) != repr(unanchored.task._metric_fn_kwargs), "nothing is compared"
    text = hostile_text(kind, 2_000).encode("utf-8", "replace").decode()
    gold = apples.gold_text(problem)
    for found in (text, f"{text}{gold}", f"{gold}{text}", f"{gold}\n{text}", f"{gold}\n{text}\n{gold}"):
        assert apples.grade(problem.id, found) == unanchored.grade(problem.id, found)


def test_only_patterns_that_stay_what_they_are_get_an_anchor() -> None:
    assert anchored("(?s).*#### ") == r"(?s)\A.*#### "
    for kept in ("(?s).*a|b", "(?s).*?#### ", ".*#### ", "(?s).*", "(?s).*a*", r"\.$", ","):
        assert anchored(kept) == kept
    letters = random.Random(3)
    for _ in range(500):
        text = "".join(letters.choice("# \na") for _ in range(letters.randrange(30)))
        assert re.sub("(?s).*## ", "", text) == re.sub(anchored("(?s).*## "), "", text)


def test_a_longer_text_is_wrong_without_an_answer_and_is_counted(
    apples: LmEvalTask, problem: Problem, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = apples.gold_text(problem)
    within, beyond = (" " * (n - len(gold)) + gold for n in (MAX_CHARACTERS, MAX_CHARACTERS + 1))
    assert all(apples.grade(problem.id, within).values())
    assert apples.grade(problem.id, beyond) == {"strict-match": False, "flexible-extract": False}
    assert apples.answers(problem, [within, beyond])[1] is None
    assert apples.answers(problem, [within, beyond])[0] is not None

    draft = TRACES[3].draft
    long = replace(draft, problem=problem, solution=replace(draft.solution, text=beyond))
    trace = replace(TRACES[3], problem=problem, candidates=(long,))
    model = RefinedLM(apples, lambda _: [trace], Progress())
    assert model.generate_until([]) == [""], "lm-eval finds no answer in it either"
    assert "Note: 1 text of more than 1,000,000 characters was not read: no answer" in capsys.readouterr().err


def test_normal_answers_are_what_they_were() -> None:
    """Against the pattern that answers were normalised with first, which takes minutes for a million zeros."""

    def slow(answer: str) -> str | None:
        text = re.sub(r"[,$]", "", answer).strip().rstrip(".")
        number = re.fullmatch(r"(-?)0*(\d*?)(?:\.(\d*?)0*)?", text)
        if number is None or not text.strip("-."):
            return text.lower() or None
        sign, whole, decimals = number.groups()
        value = f"{whole or '0'}.{decimals}" if decimals else whole or "0"
        return value if value == "0" else sign + value

    letters = random.Random(5)
    for _ in range(5_000):
        text = "".join(letters.choice("0012.,-$ a٣") for _ in range(letters.randrange(8)))
        assert normal_answer(text) == slow(text), text


def test_results_are_used_as_the_definition_says() -> None:
    """Whether each result of a prefix is used later, compared line by line."""
    letters = random.Random(7)
    for _ in range(300):
        steps = [
            letters.choice(["1+1=2", "2+1=3", "3*2=6", "so 2", "6/2=3", "#### 6", "1/2=1/2", "half 1/2", "=", "#### 3"])
            for _ in range(letters.randrange(7))
        ]
        unused = first_unused(steps)
        for at in range(len(steps) + 1):
            assert results_used(steps[:at], steps[at:]) is (at <= unused)


def test_labels_of_a_right_solution_of_very_many_steps_take_seconds() -> None:
    steps = ["1+1=2"] * 3_000 + ["3+4=7", "#### 2"]
    with deadline(30):
        labels, _ = rollout_labels([steps], lambda n, found: True, lambda prefixes, n: [["#### 2"] for _ in prefixes])
    assert len(labels[0]) == len(steps)


def test_a_number_of_thousands_of_digits_is_a_wrong_step(apples: LmEvalTask) -> None:
    assert apples.benchmark is not None
    assert apples.benchmark.first_bad_step is not None
    assert apples.benchmark.first_bad_step("1+1=2\n#### 2", ("1+" + "1" * 5_000 + "=2", "#### 2")) == 0


def test_solutions_of_real_data_are_graded_as_before(data_dir: Path) -> None:
    """GSM8K's gold solutions: the metric with anchored patterns accepts those that lm-eval's own accepts."""
    anchored_task = LmEvalTask("gsm8k", registry().benchmarks(), data_dir=data_dir)
    for known in anchored_task.questions("test", 200):
        text = anchored_task.gold_text(known)
        assert anchored_task.grade(known.id, text) == {"strict-match": True, "flexible-extract": True}
        assert not any(anchored_task.grade(known.id, text + "1").values())
