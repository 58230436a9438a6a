"""Formulas as answers: equal by math-verify, in processes of its own that nothing can hold up."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from made_tasks import made_task

from refine_eval.data import AnswerGroup
from refine_eval.tasks.equivalence import MathVerify

pytest.importorskip("math_verify", reason="pip install 'refine-eval[math]'")

HALVES = "process_results: !function made_functions.process_results\n"
FUNCTIONS = (
    "from lm_eval.tasks.hendrycks_math.utils import *\nfrom lm_eval.tasks.hendrycks_math.utils import is_equiv\n"
)


@pytest.fixture(scope="module")
def judge() -> Iterator[MathVerify]:
    made = MathVerify(seconds=5.0)
    yield made
    made.close()


def test_formulas_of_one_value_are_one_answer(judge: MathVerify) -> None:
    assert judge.classes([["1/2", "0.5", "\\frac{1}{2}", "2", "\\frac12"]]) == [[0, 0, 0, 3, 0]]
    assert judge.classes([["\\sqrt{12}", "2\\sqrt{3}", "\\sqrt{13}"], ["x+1", "1+x"], [], ["7"]]) == [
        [0, 0, 2],
        [0, 0],
        [],
        [0],
    ]


def test_classes_do_not_depend_on_the_order(judge: MathVerify) -> None:
    answers = ["x=3", "3", "(1,2)", "\\{1,2\\}", "\\pi", "3.14"]
    one = judge.classes([answers])[0]
    other = judge.classes([answers[::-1]])[0][::-1]
    same = [[a == b for b in one] for a in one]
    assert same == [[a == b for b in other] for a in other]
    assert one[:2] == [0, 0]


@pytest.mark.parametrize(
    "hostile",
    ["9^9^9^9", "(" * 10_000 + "1" + ")" * 10_000, "\\frac", "\\sqrt{", "10^{10^{10}}!", "1/0", "\0", "{" * 200, "\n"],
)
def test_no_expression_holds_a_vote_up(judge: MathVerify, hostile: str) -> None:
    start = time.monotonic()
    assert judge.classes([["1/2", hostile, "0.5", hostile]]) == [[0, 1, 0, 1]]
    assert time.monotonic() - start < 30


def test_a_process_that_hangs_is_ended_and_the_next_is_asked() -> None:
    judge = MathVerify(seconds=20.0)
    try:
        worker = judge._workers[0]
        assert worker.ask("same", "1/2", "0.5") is True
        hanging = worker._process
        assert hanging is not None
        hanging.send_signal(signal.SIGSTOP)
        with mock.patch.object(worker, "_seconds", 0.2):
            assert worker.ask("same", "1/3", "\\frac{1}{3}") is None
        assert hanging.poll() is not None, "nothing is left behind"
        assert worker.ask("same", "1/3", "\\frac{1}{3}") is True
    finally:
        judge.close()
    assert worker._process is None


def test_off_the_main_thread_too(judge: MathVerify) -> None:
    found: list[list[list[int]]] = []
    thread = threading.Thread(target=lambda: found.append(judge.classes([["3/4", "0.75"]])))
    thread.start()
    thread.join()
    assert found == [[[0, 0]]]


def test_votes_over_boxes_count_values(tmp_path: Path) -> None:
    rows = [{"question": "Half of one?", "answer": "1/2", "solution": "\\boxed{\\frac{1}{2}}"}] * 2
    metric = "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    notes: list[str] = []
    task = made_task(tmp_path, HALVES + metric, rows, FUNCTIONS, note=notes.append)
    problem = task.questions("test")[0]
    texts = ["$\\boxed{1/2}$", "\\boxed{3}", "so $0.50$", "nothing\nhere"]
    try:
        assert task.answer_groups([problem], [texts]) == [
            [AnswerGroup(members=(0, 2), best_spelt=2), AnswerGroup(members=(1,), best_spelt=1)]
        ]
        assert notes == []
        with mock.patch.object(MathVerify, "is_installed", return_value=False):
            task.answer_groups([problem], [["$0.25$", "$x$"]])
            task.answer_groups([problem], [["$0.25$", "$x$"]])
        assert len(notes) == 1
        assert "compared as numbers and as text" in notes[0]
        assert "pip install 'refine-eval[math]'" in notes[0]
    finally:
        task.close()
