"""The draft row of recorded texts is what lm-eval's own evaluation of the same texts gives, to the digit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pytest
from in_process import refine_eval
from invented_data import write
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from refine_eval.plugin.registry import registry
from refine_eval_benchmarks.lm_eval_tasks import MATH_SUBSETS

BENCHMARKS = registry().benchmarks()

FORMS = (
    "We add, so\n\n$\\boxed{%s}$",
    "$%s$",
    "It is %s.",
    "so \\boxed{%s}",
    "Final Answer: The final answer is $%s$. I hope it is correct.",
    "#### %s",
)
"""Ways in which models write an answer; every third answer is wrong."""


class Served(LM):  # type: ignore[misc]  # lm-eval ships no types
    """Serves recorded texts by the question of the document."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self._texts = texts

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        return [self._texts[_question(request.doc)] for request in requests]

    def loglikelihood(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def _question(doc: Mapping[str, Any]) -> str:
    return str(next(value for name, value in doc.items() if name.lower() in ("question", "problem")))


def _answer(doc: Mapping[str, Any]) -> str:
    gold = str(next(doc[name] for name in ("answer_number", "answer", "Answer", "solution") if doc.get(name)))
    boxed = gold.partition("\\boxed{")[2].rpartition("}$")[0]
    return boxed or gold.rpartition("####")[2].strip()


def texts_for(name: str, data: Path) -> dict[str, str]:
    """A text for each problem, two right answers and a wrong one in turn."""
    documents = BENCHMARKS[name].local_data(data)  # type: ignore[misc]
    docs = documents.get("test") or documents["train"]
    answers = ["17" if number % 3 == 2 else _answer(doc) for number, doc in enumerate(docs)]
    return {_question(doc): FORMS[n % len(FORMS)] % answers[n] for n, doc in enumerate(docs)}


def lm_evals(names: list[str], data: Path, texts: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """lm-eval's own figures of its own tasks on the documents of a data folder."""
    configs = []
    for name in names:
        documents = BENCHMARKS[name].local_data(data)  # type: ignore[misc]
        splits = {split: datasets.Dataset.from_list(rows) for split, rows in documents.items()}
        config = load_yaml(Path(lm_eval.tasks.__file__).parent / BENCHMARKS[name].yaml)
        configs.append({**config, "custom_dataset": lambda splits=splits, **_: splits})
    manager = TaskManager(include_defaults=False)
    return dict(simple_evaluate(Served(texts), tasks=configs, task_manager=manager, bootstrap_iters=0)["results"])


def ours(name: str, data: Path, texts: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """What the same texts come to as drafts of a run that refines none."""
    rows = [json.dumps({"question": question, "draft": text}) + "\n" for question, text in texts.items()]
    (folder / "recorded.jsonl").write_text("".join(rows))
    recorded = ("--model", "recorded", "--model-args", "path=recorded.jsonl,field=draft")
    as_drafted = ("--critic", "calculator", "--refiner", "resample", "--selector", "draft", "--refine-below", "0")
    command = ("run", "--tasks", name, "--data-dir", str(data), *recorded, *as_drafted, "--json")
    return dict(json.loads(refine_eval(*command, cwd=folder).stdout)[0])


@pytest.mark.parametrize("name", ["gsm8k_platinum", "gsm_plus", "mgsm_direct_en", "aime24", "hendrycks_math500"])
def test_drafts_are_graded_as_lm_eval_grades_them(name: str, tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    texts = texts_for(name, data)
    theirs = lm_evals([name], data, texts)[name]
    draft = ours(name, data, texts, tmp_path)["rows"][0]
    for filter_name, right in draft["correct"].items():
        assert right / draft["problems"] == theirs[f"exact_match,{filter_name}"]
    assert 0 < draft["accuracy"] < 1, "all or none would prove little"


def test_minerva_math_in_one_is_lm_evals_group_of_subsets(tmp_path: Path) -> None:
    pytest.importorskip("math_verify", reason="pip install 'refine-eval[math]'")
    data = write(tmp_path / "data")
    texts = texts_for("minerva_math", data)
    names = [f"minerva_math_{name}" for name in MATH_SUBSETS]
    theirs = lm_evals(names, data, texts)
    found = ours("minerva_math", data, texts, tmp_path)
    draft = found["rows"][0]
    sizes = {name: len(BENCHMARKS[name].local_data(data)["test"]) for name in names}  # type: ignore[misc]
    right = {m: sum(round(theirs[n][f"{m},none"] * sizes[n]) for n in names) for m in ("math_verify", "exact_match")}
    assert draft["problems"] == sum(sizes.values()) == len(texts)
    assert draft["correct"]["none"] == right["math_verify"]
    in_record = json.loads((Path(tmp_path, found["record"]) / "results_lm_eval.json").read_text())["results"]
    assert in_record["minerva_math"]["exact_match,none"] == right["exact_match"] / len(texts)
    assert 0 < right["exact_match"] < right["math_verify"] < len(texts)
