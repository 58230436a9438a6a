"""lm-eval's tasks on files in the form of their data sets: prompts, grades, limits, and files that do not fit."""

import csv
import json
import random
import sys
import time
from pathlib import Path

import pytest
from in_process import error_line, refine_eval
from invented_data import eggs, files, halves, write

from refine_eval.data import Problem
from refine_eval.errors import TaskError
from refine_eval.plugin.registry import registry
from refine_eval.tasks.task import LmEvalTask
from refine_eval_benchmarks.lm_eval_tasks import MATH_SUBSETS, lm_eval_tasks

BENCHMARKS = {benchmark.name: benchmark for benchmark in lm_eval_tasks()}
MINERVA = ["minerva_math", "minerva_math500", *(f"minerva_math_{name}" for name in MATH_SUBSETS)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"))


def load(name: str, data: Path) -> LmEvalTask:
    if name in MINERVA:
        pytest.importorskip("math_verify", reason="pip install 'refine-eval[math]'")
    return LmEvalTask(name, registry().benchmarks(), data_dir=data)


def is_right(task: LmEvalTask, problem: Problem, text: str) -> bool:
    return task.grade(problem.id, text)[task.filter]


@pytest.mark.parametrize(
    ("name", "question", "right", "wrong", "limit", "stop"),
    [
        ("gsm8k_platinum", eggs(0), "It is 2.", "It is 3.", 256, "Question:"),
        ("gsm_plus", eggs(0), "It is 2.", "It is 3.", 256, "Question:"),
        ("mgsm_direct_en", eggs(0), "It is 2.", "It is 3.", 256, "Question:"),
        ("hendrycks_math500", halves()[0]["problem"], "It is $\\frac12$.", "It is $\\frac13$.", 2048, "Problem:"),
        ("minerva_math500", halves()[0]["problem"], "so \\boxed{0.5}", "so \\boxed{2}", 2048, "Problem:"),
        ("aime24", "Find 9 + 1.", "so $\\boxed{10}$", "so $\\boxed{9}$", 32768, "Question:"),
        ("aime25", "Find 9 + 2.", "so $\\boxed{11}$", "so $\\boxed{9}$", 32768, "Question:"),
    ],
)
def test_each_task_reads_its_own_columns(
    name: str, question: str, right: str, wrong: str, limit: int, stop: str, data: Path
) -> None:
    task = load(name, data)
    problem, *_ = problems = task.questions("test")
    assert problem.question == question
    assert len(problems) == len(list(files()[_file_of(name)]))
    assert [is_right(task, problem, text) for text in (right, wrong)] == [True, False]
    sampling = task.sampling(problem)
    assert sampling.max_tokens == limit
    assert stop in sampling.stop
    task.close()


def _file_of(name: str) -> str:
    return BENCHMARKS[name].data.partition("DIR/")[2].replace("{train,test}", "test")


@pytest.mark.parametrize("name", ["gsm8k_platinum", "gsm_plus", "aime24", "aime25", "gpqa_diamond_cot_zeroshot"])
def test_test_problems_are_no_training_data_whatever_lm_eval_calls_them(name: str, data: Path) -> None:
    with pytest.raises(TaskError, match=f"^Task '{name}' has no training data: what it calls its training split are"):
        load(name, data).questions("train")


def test_all_subsets_of_minerva_math_are_one_task(data: Path) -> None:
    whole, part = load("minerva_math", data), load("minerva_math_precalc", data)
    problems = whole.questions("test")
    together = [row["problem"] for name in MATH_SUBSETS for row in files()[_file_of(f"minerva_math_{name}")]]
    assert [problem.question for problem in problems] == together
    assert len(together) == 10
    assert [p.prompt for p in problems[-1:]] == [p.prompt for p in part.questions("test")]
    assert whole.metric.name == "math_verify", "and not exact_match, which lm-eval lists first"
    ours, theirs = (dict(task.task.dump_config()) for task in (whole, part))
    for config in (ours, theirs):
        for own in ("task", "custom_dataset", "dataset_path", "dataset_name", "process_docs"):
            config.pop(own, None)
    assert ours.keys() == theirs.keys()
    assert {key: str(value) for key, value in ours.items()} == {key: str(value) for key, value in theirs.items()}


def test_gpqa_shuffles_its_choices_alike_every_time(data: Path) -> None:
    """lm-eval draws them without a seed of their own: no two runs would ask the same."""
    random.seed(5)
    one = load("gpqa_diamond_cot_zeroshot", data)
    state = random.getstate()
    prompts = [problem.prompt for problem in one.questions("validation")]
    assert random.getstate() == state
    random.seed(6)
    other = load("gpqa_diamond_cot_zeroshot", data)
    assert [problem.prompt for problem in other.questions("validation")] == prompts
    assert [one.task.doc_to_text(doc) for doc in one.task.eval_docs] == prompts
    golds = [other.gold_text(problem) for problem in other.questions("validation")]
    assert len(set(golds)) > 1
    problem = other.questions("validation")[0]
    letter = golds[0].strip("()")
    assert is_right(other, problem, f"so the answer is ({letter})")
    assert other.answers(problem, [f"The answer is ({letter}).", "who knows"]) == [f"({letter.lower()})", None]


def test_a_document_takes_no_fifth_of_a_second_of_gpqas_filter(data: Path) -> None:
    """lm-eval lists all punctuation of Unicode for every text; ours is listed once, and finds the same."""
    from lm_eval.filters.extraction import MultiChoiceRegexFilter

    load("gpqa_diamond_cot_zeroshot", data)
    found = MultiChoiceRegexFilter("(\\([A-Z]\\))", -1, ignore_case=True, ignore_punctuation=True)
    doc = {"choices": ["a, b!", "c", "d", "«e»"]}
    start = time.process_time()
    for _ in range(50):
        assert found.apply([["It is A B", "so (B)", "e", "x"]], [doc]) == [["(A)", "(B)", "(D)", "[invalid]"]]
    assert time.process_time() - start < 2


@pytest.mark.parametrize("suffix", [".csv", ".parquet", "-00000-of-00001.parquet"])
def test_csv_and_parquet_say_the_same(data: Path, tmp_path: Path, suffix: str) -> None:
    for name, folder, split in (("aime24", "aime24", "train"), ("mgsm_direct_en", "mgsm_en", "test")):
        rows = [json.loads(line) for line in (data / folder / f"{split}.jsonl").read_text().splitlines()]
        (tmp_path / folder).mkdir()
        _write(tmp_path / folder / f"{split}{suffix}", rows)
        found = [BENCHMARKS[name].local_data(place)[split] for place in (tmp_path, data)]  # type: ignore[misc]
        if suffix == ".csv":  # where nothing and an empty text are one
            found[0] = [{column: value or None for column, value in row.items()} for row in found[0]]
        assert found[0] == found[1]


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import datasets

        datasets.Dataset.from_list(rows).to_parquet(path)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("test.jsonl", '{"question": "?"}\n', r"test\.jsonl, line 1 has no column 'answer'; it has question\."),
        (
            "test.jsonl",
            '{"question": "?", "answer": "1"}\n\n{"question": "", "answer": "1"}',
            r"line 3 .* column 'quest",
        ),
        ("test.jsonl", '{"question": "?", "answer": null}', r"line 1 has neither a text nor a number .* 'answer'"),
        ("test.jsonl", '{"question": "?", "answer": ["1"]}', r"line 1 has neither a text nor a number .* 'answer'"),
        ("test.jsonl", '{"question": "?", "answer": NaN}', r"line 1 has neither a text nor a number .* 'answer'"),
        ("test.jsonl", '{"question": "?", "answer": ' + "9" * 10_000 + "}", r"line 1 is not JSON"),
        ("test.jsonl", '{"question": "?"', r"line 1 is not JSON"),
        ("test.jsonl", "[" * 100_000, r"line 1 is not JSON"),
        ("test.jsonl", "[1]\n", r"line 1 is not an object with the columns question, answer"),
        ("test.jsonl", b"\xff\xfe", r"is not UTF-8 text"),
        ("test.jsonl", "", r"The test file of task 'gsm8k_platinum' in .* is empty"),
        ("test.csv", "", r"The test file of task 'gsm8k_platinum' in .* is empty"),
        ("test.csv", "question;answer\n?;1\n", r"test\.csv, line 2 has no column 'question'; it has question;answer\."),
        ("test.csv", 'question,answer\n"?,1\n', r"test\.csv, line 2 is not a row of a csv file"),
        ("test.parquet", "PAR1", r"test\.parquet is not a parquet file"),
        ("other.jsonl", "", r"There is no .*test\.jsonl .*madrylab/gsm8k-platinum there, or leave out --data-dir"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, file: str, content: str | bytes, says: str) -> None:
    path = tmp_path / "gsm8k_platinum" / file
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskError, match=says):
        LmEvalTask("gsm8k_platinum", registry().benchmarks(), data_dir=tmp_path)


def test_what_may_be_null_or_missing(tmp_path: Path) -> None:
    (tmp_path / "mgsm_en").mkdir()
    (tmp_path / "mgsm_en" / "test.jsonl").write_text('{"question": "Two?", "answer_number": 2.0}\n')
    task = LmEvalTask("mgsm_direct_en", registry().benchmarks(), data_dir=tmp_path)
    assert [p.prompt for p in task.questions("test")] == ["Question: Two?\nAnswer:"]
    assert task.gold_text(task.questions("test")[0]) == "2"


def test_the_list_says_what_each_task_needs(tmp_path: Path) -> None:
    shown = refine_eval("tasks", "list", cwd=tmp_path).stdout
    rows = {row["name"]: row for row in json.loads(refine_eval("tasks", "list", "--json", cwd=tmp_path).stdout)}
    assert "needs: a chat model (--apply-chat-template)\n" in shown
    assert "refine-eval[math]" in rows["minerva_math"]["needs"]
    assert "accept" in rows["gpqa_diamond_cot_zeroshot"]["needs"]
    assert rows["gsm8k"]["needs"] == ""
    for name, benchmark in BENCHMARKS.items():
        assert rows[name]["data"] == benchmark.data
        assert "DIR/" in benchmark.data
    assert "needs: a chat model" in refine_eval("plugins", "show", "gsm8k_chat", cwd=tmp_path).stdout


def test_without_math_verify_minerva_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.minerva_math")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "math_verify", None)
    line = error_line("tasks", "show", "minerva_math_algebra", "--data-dir", str(data), cwd=tmp_path)
    assert "pip install 'refine-eval[math]'" in line


def test_the_guide_names_all_tasks_and_their_files() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "tasks.md").read_text(encoding="utf-8")
    for name in registry().benchmarks():
        assert f"`{name}`" in guide or name.startswith("minerva_math_"), name
    for name, benchmark in BENCHMARKS.items():
        hub, _, path = benchmark.data.removeprefix("hub: ").partition("; DIR/")
        assert hub in guide
        if not name.startswith("minerva_math_"):
            assert f"`{path.replace('{train,test}', 'test')}`" in guide
    for folder in MATH_SUBSETS.values():
        assert f"`{folder}`" in guide


# gsm8k_chat.


def test_gsm8k_chat_on_real_problems(data_dir: Path) -> None:
    task = LmEvalTask("gsm8k_chat", registry().benchmarks(), data_dir=data_dir)
    problems = task.questions("test")
    assert len(problems) == 1319
    first = problems[0]
    assert first.prompt == (
        f"{first.question}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
    )
    assert first.question.startswith("Janet’s ducks lay 16 eggs")
    sampling = task.sampling(first)
    assert (sampling.max_tokens, sampling.stop) == (1024, ())
    assert task.filter == "boxed-or-last-number"
    golds = [task.gold_text(problem).rpartition("#### ")[2].replace(",", "") for problem in problems]
    assert all(is_right(task, p, f"It is \\(\\boxed{{{gold}}}\\).") for p, gold in zip(problems, golds, strict=True))
    assert all(is_right(task, p, f"It is ${gold}.00.") for p, gold in zip(problems, golds, strict=True))
    assert not any(is_right(task, p, "No number.") for p in problems)
    assert task.grade(first.id, "It is 18.") == {"boxed-or-last-number": True, "boxed": False}


def test_long_solutions_are_cut_into_paragraphs() -> None:
    known = {name for name, benchmark in registry().benchmarks().items() if benchmark.steps == "paragraphs"}
    assert known >= {"gsm8k_chat", "hendrycks_math500", "aime24", "aime25", "gpqa_diamond_cot_zeroshot", *MINERVA}
    assert {"gsm8k", "gsm8k_zero_shot", "gsm8k_platinum", "gsm_plus", "mgsm_direct_en", "svamp"}.isdisjoint(known)
    assert registry().component("splitter", "paragraphs")
