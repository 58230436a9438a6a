"""What is said of a task: gold answers that cannot be read, and lm-eval's warnings, once each."""

import logging
from pathlib import Path

from in_process import error_line, refine_eval
from made_tasks import NUMBER, benchmark, made_task

from refine_eval.plugin.registry import registry
from refine_eval.tasks.quiet import quiet
from refine_eval.tasks.task import LmEvalTask

GOOD = [{"question": f"How many are {n}?", "answer": str(n)} for n in range(4)]
BAD = [{"question": "How many is a lot?", "answer": "plenty"}, {"question": "How many is none?", "answer": "1 000"}]


def test_gold_answers_that_no_text_can_reach_are_counted(tmp_path: Path) -> None:
    notes: list[str] = []
    task = made_task(tmp_path, NUMBER, GOOD + BAD, note=notes.append)
    for _ in range(2):
        task._check_gold(task.questions("test"))
    assert len(notes) == 1
    assert notes[0].startswith("2 of 6 gold answers of task 'made' cannot be read by its filter 'last'")
    assert "(first: made:test/4)" in notes[0]
    assert "plenty" not in notes[0], "gold answers stay inside"


def test_gold_answers_in_another_form_than_the_filter_wants_are_no_fault(tmp_path: Path) -> None:
    notes: list[str] = []
    said = NUMBER.replace("(-?[0-9.,]+)", "The answer is (-?[0-9]+)").replace("group_select: -1", "group_select: 0")
    task = made_task(tmp_path, said, GOOD, note=notes.append)
    task._check_gold(task.questions("test"))
    assert notes == []


def test_the_bundled_tasks_have_nothing_to_say(data_dir: Path) -> None:
    notes: list[str] = []
    for name in ("gsm8k", "gsm8k_zero_shot", "svamp", "apples"):
        task = LmEvalTask(name, registry().benchmarks(), data_dir=data_dir, note=notes.append)
        task._check_gold(task.questions("test"))
    assert notes == []


def test_lm_evals_warnings_are_heard_once_and_its_advice_is_not(tmp_path: Path) -> None:
    notes: list[str] = []
    made_task(tmp_path, "metric_list: [{metric: exact_match}]\n", note=notes.append)
    assert [note.partition(",")[0] for note in notes] == ["[Task: made] metric exact_match is defined"] * 2
    before = logging.getLogger("lm_eval").level, logging.getLogger("lm_eval").propagate
    with quiet(notes.append):
        logging.getLogger("lm_eval.somewhere").warning("made: Custom kwargs can be passed to `--metadata`")
        logging.getLogger("lm_eval.somewhere").warning("x" * 1000)
    assert notes[2:] == ["x" * 297 + "..."]
    assert (logging.getLogger("lm_eval").level, logging.getLogger("lm_eval").propagate) == before


def test_show_says_what_decides(tmp_path: Path) -> None:
    shown = refine_eval("tasks", "show", "apples", cwd=tmp_path).stdout
    assert "filters: strict-match, flexible-extract (decides)\n" in shown
    assert "metrics: exact_match (decides)\n" in shown
    assert "equal answers: numbers by value, other answers as text" in shown
    line = error_line("tasks", "show", "apples", "--metric", "exactmatch", cwd=tmp_path)
    assert "Did you mean 'exact_match'?" in line


def test_the_helper_makes_what_lm_eval_loads(tmp_path: Path) -> None:
    made = benchmark(tmp_path, NUMBER, {"test": GOOD})
    assert LmEvalTask("made", {"made": made}, data_dir=tmp_path).filters == ["last"]
