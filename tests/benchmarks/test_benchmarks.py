"""The bundled benchmarks: their texts, counts, task files, and what happens when data are missing or corrupt."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from refine_eval.arithmetic import evaluate, parse
from refine_eval.errors import TaskError
from refine_eval.formats import student_prompt
from refine_eval.plugin.registry import registry
from refine_eval.tasks.task import LmEvalTask
from refine_eval_benchmarks import TASKS, refine_eval_benchmarks, sources, svamp
from refine_eval_refiners.equations import find_equations

BENCHMARKS = {benchmark.name: benchmark for benchmark in refine_eval_benchmarks()}


def load(name: str, documents: Mapping[str, list[dict[str, str]]] | None = None, **metadata: Any) -> Any:
    """The lm-eval task of a benchmark, on these documents or on its own."""
    import lm_eval.tasks
    from datasets import Dataset
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    path = BENCHMARKS[name].yaml
    config = load_yaml(path if path.is_absolute() else Path(lm_eval.tasks.__file__).parent / path)
    if documents is not None:
        splits = {split: Dataset.from_list(rows) for split, rows in documents.items()}
        config["custom_dataset"] = lambda **_: splits
    manager = TaskManager(include_defaults=False, metadata=metadata or None)
    return manager.load([config])["tasks"][config["task"]]


def grades(task: Any, texts: list[str]) -> dict[str, list[bool]]:
    """What the task's filters and metric say of one text a test document."""
    from lm_eval.api.instance import Instance

    docs = list(task.test_docs())[: len(texts)]
    task._instances = [
        Instance(request_type="generate_until", doc=doc, arguments=("", {}), idx=0, metadata=(task.config.task, i, 1))
        for i, doc in enumerate(docs)
    ]
    for instance, text in zip(task._instances, texts, strict=True):
        instance.resps = [text]
    task.apply_filters()
    return {
        name: [
            task.process_results(doc, [instance.filtered_resps[name]])["exact_match"] == 1.0
            for doc, instance in zip(docs, task._instances, strict=True)
        ]
        for name in ("strict-match", "flexible-extract")
    }


@pytest.fixture(scope="session")
def svamp_documents(data_dir: Path) -> Mapping[str, list[dict[str, str]]]:
    return sources.svamp_local(data_dir)


# The hook.


def test_the_hook_imports_nothing_heavy() -> None:
    code = (
        "import sys, refine_eval_benchmarks as b; b.refine_eval_benchmarks(); "
        "print([m for m in ('torch', 'lm_eval', 'datasets', 'transformers') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_benchmarks_and_their_files() -> None:
    ours = ["gsm8k_zero_shot", "gsm8k_chat", "svamp", "minerva_math", "apples", "apples_practice"]
    assert [name for name, benchmark in BENCHMARKS.items() if benchmark.yaml.is_absolute()] == ours
    assert BENCHMARKS["gsm8k"].yaml == Path("gsm8k/gsm8k.yaml")
    for name in ours:
        assert BENCHMARKS[name].yaml == TASKS / f"{name}.yaml"
        assert BENCHMARKS[name].yaml.is_file()
    first_bad_step = BENCHMARKS["apples"].first_bad_step
    assert first_bad_step is not None
    assert first_bad_step("1+1=2\n#### 2", ["1+1=3", "#### 3"]) == 0


# Texts.


@pytest.mark.parametrize(
    ("raw", "tidy"),
    [
        ("Tom 's dog has $ 3 .", "Tom's dog has $3."),
        ("They did n't , but we 've won .", "They didn't, but we've won."),
        ("Jesse ’ s room , Wagners ' bill", "Jesse’s room, Wagners' bill"),
        ("white t - shirts and a school- bus", "white t-shirts and a school-bus"),
        ("the ' crazy silly school ' series", "the 'crazy silly school' series"),
        ("called `` earth keepers '' .", 'called "earth keepers".'),
        ("( a year = 365 days ) ?", "(a year = 365 days)?"),
        ("at a rate of 5 % .", "at a rate of 5%."),
        ("154 cards left..", "154 cards left."),
    ],
)
def test_spacing(raw: str, tidy: str) -> None:
    assert svamp.spaced(raw) == tidy


def test_body_and_question_are_joined() -> None:
    assert svamp.joined("It costs $ 3.", "How much?") == "It costs $3. How much?"
    assert svamp.joined("He has 3. If he buys 2 more", "How many now?") == "He has 3. If he buys 2 more, how many now?"
    assert svamp.joined("He has 3. Then he got 2", "How many now?") == "He has 3. Then he got 2. How many now?"


def test_training_row_becomes_one_line_an_operation() -> None:
    row = {
        "Question": "conner has number0 dollars . he spends $ number1 a month . how much after number2 months ?",
        "Numbers": "25000.0 1500.0 8.0",
        "Equation": "- number0 * number1 number2",
        "Answer": "13000.0",
    }
    assert svamp.training_document(row) == {
        "question": "Conner has 25000 dollars. He spends $1500 a month. How much after 8 months?",
        "answer": "1500 * 8 = 12000\n25000 - 12000 = 13000\n#### 13000",
    }
    assert svamp.training_document({**row, "Answer": "12999"}) is None


@pytest.mark.parametrize(
    ("numbers", "equation", "answer", "solution"),
    [
        ("2.99 12.0", "/ number0 number1", "0.25", "2.99 / 12 = 0.25\n#### 0.25"),
        ("10.0 3.0", "/ number0 number1", "3.33333", "10 / 3 = 3.3333\n#### 3.3333"),
        ("0.6667 8 0.75", "* / number1 number0 number2", "9", "8 / (2/3) = 12\n12 * 0.75 = 9\n#### 9"),
        (
            "0.3333333333333333 0.5",
            "+ number0 number1",
            "0.8333333333333334",
            "1/3 + 0.5 = 5/6\n5 / 6 = 0.8333\n#### 0.8333",
        ),
        ("3 8", "- number1 - number0 8.0", "13", "3 - 8 = -5\n8 - (-5) = 13\n#### 13"),
    ],
)
def test_solutions(numbers: str, equation: str, answer: str, solution: str) -> None:
    row = {"Question": "how many ?", "Numbers": numbers, "Equation": equation, "Answer": answer}
    assert svamp.training_document(row) == {"question": "How many?", "answer": solution}


def test_training_questions_that_a_test_asks_are_dropped() -> None:
    training = [{"question": "How many apples, Tom?"}, {"question": "How many pears?"}]
    assert svamp.without_overlap(training, [{"question": "how many apples Tom ?"}]) == [{"question": "How many pears?"}]


# The real data.


def test_svamp_counts(data_dir: Path, svamp_documents: Mapping[str, list[dict[str, str]]]) -> None:
    test, train = svamp_documents["test"], svamp_documents["train"]
    assert len(test) == 1000
    assert len(train) == 3130
    with (data_dir / "svamp" / "train_mawps_asdiv-a.csv").open(encoding="utf-8", newline="") as file:
        documents = [svamp.training_document(row) for row in csv.DictReader(file)]
    sound = [document for document in documents if document is not None]
    assert (len(documents), len(sound)) == (3138, 3130)
    assert svamp.without_overlap(sound, test) == sound
    assert len({svamp.normal(document["question"]) for document in train}) == 3130 - 410
    assert [d["id"] for d in test if d["answer"].startswith("####")] == ["chal-555", "chal-680"]


def test_svamp_gold_is_the_data_s_answer(data_dir: Path, svamp_documents: Mapping[str, list[dict[str, str]]]) -> None:
    records = json.loads((data_dir / "svamp" / "SVAMP.json").read_text(encoding="utf-8"))
    for record, document in zip(records, svamp_documents["test"], strict=True):
        assert document["answer"].splitlines()[-1] == f"#### {int(record['Answer'])}"
    assert svamp_documents["test"][0] == {
        "id": "chal-1",
        "question": "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack, "
        "how much do you have to pay to buy each pack?",
        "answer": "76 - 25 = 51\n#### 51",
    }


def test_every_training_solution_ends_in_the_csv_s_answer(
    data_dir: Path, svamp_documents: Mapping[str, list[dict[str, str]]]
) -> None:
    lines = (data_dir / "svamp" / "train_mawps_asdiv-a.csv").open(encoding="utf-8", newline="")
    with lines:
        reader = csv.DictReader(lines)
        answers = {f"train-{reader.line_num}": row["Answer"] for row in reader}
    for document in svamp_documents["train"]:
        last = document["answer"].splitlines()[-1].removeprefix("#### ")
        assert abs(Decimal(last) - Decimal(answers[document["id"]])) <= Decimal("0.00005")
        assert "e" not in last
        assert last == "0" or not ("." in last and last.endswith("0"))


def test_every_line_of_every_svamp_solution_holds(svamp_documents: Mapping[str, list[dict[str, str]]]) -> None:
    for document in (*svamp_documents["train"], *svamp_documents["test"]):
        for line in document["answer"].splitlines()[:-1]:
            equations = find_equations(line)
            assert equations, line
            assert all(equation.holds for equation in equations), line
            left, _, right = line.partition(" = ")
            assert abs(evaluate(parse(left)) - evaluate(parse(right))) <= Fraction(1, 2), line


def test_no_svamp_text_is_left_tokenised(svamp_documents: Mapping[str, list[dict[str, str]]]) -> None:
    for document in (*svamp_documents["train"], *svamp_documents["test"]):
        question = document["question"]
        assert not re.search(r" [.,?]|  |\$ | n't| 's\b|``|number\d|\.\.", question), question
        assert not question[0].islower(), question


# The lm-eval tasks.


def test_gsm8k_on_local_files(data_dir: Path) -> None:
    documents = sources.gsm8k_local(data_dir)
    assert {split: len(rows) for split, rows in documents.items()} == {"train": 7473, "test": 1319}
    task = load("gsm8k", documents)
    assert len(task.test_docs()) == 1319
    assert task.config.num_fewshot == 5


def test_recorded_solutions_are_graded_as_recorded(data_dir: Path) -> None:
    path = data_dir / "gsm8k" / "example_model_solutions.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    recorded = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    documents = {split: rows[:1319] for split, rows in sources.gsm8k_local(data_dir).items()}
    assert [r["question"] for r in recorded] == [d["question"] for d in documents["test"]]
    task = load("gsm8k", documents)
    models = {"6b_finetuning": 286, "6b_verification": 515, "175b_finetuning": 458, "175b_verification": 742}
    for model, right in models.items():
        flexible = grades(task, [r[model]["solution"] for r in recorded])["flexible-extract"]
        assert flexible == [r[model]["is_correct"] for r in recorded]
        assert sum(flexible) == right


@pytest.mark.parametrize("name", ["gsm8k_zero_shot", "svamp", "apples"])
def test_our_tasks_read_the_environment_and_prompt_like_the_student(
    name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sources.DATA, str(data_dir))
    task = load(name)
    docs = task.test_docs()
    assert len(docs) == {"gsm8k_zero_shot": 1319}.get(name, 1000)
    assert task.config.metadata["version"] == {"apples": 2.0}.get(name, 1.0)
    assert not task.config.num_fewshot
    for doc in list(docs)[:3]:
        assert task.fewshot_context(doc, num_fewshot=0) == student_prompt(doc["question"])
        assert task.doc_to_target(doc) == doc["answer"]
    gold = [doc["answer"] for doc in list(docs)[:50]]
    assert grades(task, gold) == {"strict-match": [True] * 50, "flexible-extract": [True] * 50}
    assert not any(any(right) for right in grades(task, ["no number"] * 50).values())


def test_svamp_few_shot(svamp_documents: Mapping[str, list[dict[str, str]]]) -> None:
    task = load("svamp", svamp_documents)
    task.set_fewshot_seed(1234)
    doc = task.test_docs()[0]
    prompt = task.fewshot_context(doc, num_fewshot=2)
    examples = prompt.split("\n\n")
    assert len(examples) == 3
    assert examples[-1] == student_prompt(doc["question"])
    by_question = {student_prompt(d["question"]) + d["answer"] for d in svamp_documents["train"]}
    assert set(examples[:2]) <= by_question


def test_svamp_few_shot_without_training_split(svamp_documents: Mapping[str, list[dict[str, str]]]) -> None:
    task = load("svamp", {"train": [], "test": svamp_documents["test"]})
    assert task.fewshot_context(task.test_docs()[0], num_fewshot=0)
    with pytest.raises(TaskError, match=r"train_mawps_asdiv-a.csv from https://github.com/arkilpatel/SVAMP"):
        task.fewshot_context(task.test_docs()[0], num_fewshot=2)


def test_tasks_are_found_by_include_path(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv(sources.DATA, str(data_dir))
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    assert set(manager.all_tasks) >= {"apples", "gsm8k_chat", "gsm8k_zero_shot", "minerva_math", "svamp"}
    assert len(manager.load(["svamp"])["tasks"]["svamp"].test_docs()) == 1000


def test_apples_splits() -> None:
    splits = sources.apples(train=50)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 50, "validation": 1000, "test": 1000}
    assert splits["test"].column_names == ["id", "question", "answer"]


# Data that is not available.


def test_without_network_or_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.delenv(sources.DATA, raising=False)
    monkeypatch.setattr(datasets, "load_dataset", offline)
    for function, path in ((sources.gsm8k, "gsm8k/test.jsonl"), (sources.svamp, "svamp/SVAMP.json")):
        with pytest.raises(TaskError, match=r"connect to the network.*--data-dir DIR.*REFINE_EVAL_DATA") as caught:
            function()
        assert path in str(caught.value)


def test_svamp_from_the_hub(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's copy: 700 and 300 problems, answers as text, in another order."""
    import datasets

    records = json.loads((data_dir / "svamp" / "SVAMP.json").read_text(encoding="utf-8"))
    records = [{**record, "Answer": str(record["Answer"])} for record in reversed(records)]
    hub = {"train": records[:700], "test": records[700:]}
    monkeypatch.delenv(sources.DATA, raising=False)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: hub)
    served = sources.svamp()
    assert len(served["train"]) == 0
    assert list(served["test"]) == list(sources.svamp_local(data_dir)["test"])


def test_missing_files(tmp_path: Path) -> None:
    for read, path in ((sources.gsm8k_local, "gsm8k/train.jsonl"), (sources.svamp_local, "svamp/SVAMP.json")):
        with pytest.raises(TaskError, match=r"take the data from the hub") as caught:
            read(tmp_path)
        assert str(tmp_path / path) in str(caught.value)


GOOD = '{"ID": "chal-1", "Body": "A.", "Question": "B?", "Equation": "( 1.0 + 1.0 )", "Answer": 2.0}'


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("gsm8k/train.jsonl", '{"question": "a", "answer": "#### 1"}\n{"question"\n', r"train\.jsonl, line 2"),
        ("gsm8k/train.jsonl", '{"question": "a"}\n', r"train\.jsonl, line 1.*no field 'answer'"),
        ("gsm8k/train.jsonl", "[1]\n", r"train\.jsonl, line 1"),
        ("gsm8k/train.jsonl", '{"question": null, "answer": "#### 1"}\n', r"train\.jsonl, line 1.*must be texts"),
        ("gsm8k/train.jsonl", '{"question": "a", "answer": 1}\n', r"train\.jsonl, line 1.*must be texts"),
        ("gsm8k/train.jsonl", '{"question": "\\ud83d", "answer": "#### 1"}\n', r"train\.jsonl, line 1.*surrogates"),
        ("gsm8k/train.jsonl", '{"question": ' + "[" * 100_000, r"train\.jsonl, line 1.*recursion"),
        ("svamp/SVAMP.json", f"[{GOOD}]".replace('"A."', "null"), r"SVAMP\.json, problem 1.*must be texts"),
        ("svamp/SVAMP.json", "[" * 100_000, r"SVAMP\.json is not JSON .*nested too deeply"),
        ("svamp/SVAMP.json", f"[{GOOD},\n{{]", r"SVAMP\.json, line 2"),
        ("svamp/SVAMP.json", f"[{GOOD}, 5]", r"SVAMP\.json, problem 2"),
        ("svamp/SVAMP.json", '[{"ID": "chal-1"}]', r"SVAMP\.json, problem 1.*no field"),
        ("svamp/SVAMP.json", GOOD.join("[]").replace("+", "eval"), r"SVAMP\.json, problem 1"),
        ("svamp/SVAMP.json", "{}", r"SVAMP\.json, line 1"),
    ],
    ids=lambda value: value[:30],
)
def test_corrupt_files(tmp_path: Path, file: str, text: str, place: str) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaskError, match=place):
        (sources.gsm8k_local if file.startswith("gsm8k") else sources.svamp_local)(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        "How many ?,1 2,+ number0 number9,3",
        "How many ?,1 2,+ number0,3",
        "How many ?",
        "a,1 two,+ number0 number1,3",
        '"a,1,2',
    ],
)
def test_corrupt_training_rows(tmp_path: Path, row: str) -> None:
    folder = tmp_path / "svamp"
    folder.mkdir()
    (folder / "SVAMP.json").write_text(f"[{GOOD}]", encoding="utf-8")
    good = "Question,Numbers,Equation,Answer\nHow many ?,1 2,+ number0 number1,3\n"
    (folder / "train_mawps_asdiv-a.csv").write_text(good + row + "\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"train_mawps_asdiv-a\.csv, line 3"):
        sources.svamp_local(tmp_path)


def test_an_empty_test_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").write_text('{"question": "A jar?", "answer": "#### 1"}\n')
    (tmp_path / "gsm8k" / "test.jsonl").write_text("")
    with pytest.raises(TaskError, match=r"The test file of task 'gsm8k_zero_shot' in .* is empty"):
        LmEvalTask("gsm8k_zero_shot", registry().benchmarks(), data_dir=tmp_path)
