"""--metric and --correct-above in a run: what decides, what the table says of it, and what the record keeps."""

import json
from pathlib import Path
from unittest import mock

import pytest
import yaml
from in_process import error_line, refine_eval
from made_tasks import NUMBER, benchmark

from refine_eval.plugin.registry import Registry

FUNCTIONS = """
def both(doc, results):
    return {"same": int(results[0] == doc["answer"]), "near": 1 - abs(len(results[0]) - len(doc["answer"])) / 100}
"""
TWO = """
process_results: !function made_functions.both
metric_list:
  - {metric: same, aggregation: mean, higher_is_better: true}
  - {metric: near, aggregation: mean, higher_is_better: true}
"""
QUESTIONS = [{"question": f"How many are {n} tens?", "answer": f"{n}0"} for n in range(1, 5)]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run of the made task on recorded texts: the first right, the second far too long, the others one digit off."""
    made = benchmark(tmp_path / "task", TWO, {"test": QUESTIONS}, FUNCTIONS)
    monkeypatch.setattr(Registry, "benchmarks", mock.Mock(return_value={"made": made}))
    said = ["10", "2" * 80, "31", "41"]
    rows = [{"question": doc["question"], "said": text} for doc, text in zip(QUESTIONS, said, strict=True)]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [
        *("run", "--tasks", "made", "--data-dir", str(tmp_path), "--model", "recorded", "--critic", "calculator"),
        *("--model-args", f"path={tmp_path / 'said.jsonl'},field=said,samples=said", "--refiner", "resample"),
        *("--resample-samples", "1", "--selector", "draft", "-q"),
    ]


def test_the_metric_that_is_asked_for_decides_and_the_record_keeps_it(typed: list[str], tmp_path: Path) -> None:
    done = refine_eval(*typed, "--name", "first", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "made, 4 problems, recorded, right by same"
    folder = tmp_path / "results" / "runs"
    assert not {"metric", "correct_above"} & yaml.safe_load((folder / "first" / "run.yaml").read_text())["task"].keys()
    chosen = ("--metric", "near", "--correct-above", "0.9")
    found = json.loads(refine_eval(*typed, *chosen, "--name", "second", "--json", cwd=tmp_path).stdout)[0]
    assert (found["metric"], found["generated"]) == ("near from 0.9", 0)
    assert found["rows"][0]["correct"] == {"none": 3}
    task = yaml.safe_load((folder / "second" / "run.yaml").read_text())["task"]
    assert (task["metric"], task["correct_above"]) == ("near", 0.9)


def test_a_score_without_a_bound_is_refused_before_the_run(typed: list[str], tmp_path: Path) -> None:
    line = error_line(*typed, "--metric", "near", cwd=tmp_path)
    assert (
        "say with --correct-above X from where a text counts as right, or choose another with --metric (same)" in line
    )
    assert not (tmp_path / "results" / "runs").exists()


@pytest.mark.parametrize("selector", ["vote", "weighted-vote"])
def test_votes_hand_in_what_the_metric_takes(typed: list[str], tmp_path: Path, selector: str) -> None:
    made = benchmark(tmp_path / "task", NUMBER, {"test": QUESTIONS})
    texts = [(f"it is {doc['answer']}.00", f"it is {doc['answer']}") for doc in QUESTIONS]
    rows = [
        {"question": doc["question"], "said": long, "more": short}
        for doc, (long, short) in zip(QUESTIONS, texts, strict=True)
    ]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    typed = [word.replace("samples=said", "samples=more") if "samples=" in word else word for word in typed]
    with mock.patch.object(Registry, "benchmarks", return_value={"made": made}):
        done = refine_eval(*typed[:-3], "--selector", selector, "-q", "--json", cwd=tmp_path)
    correct = {row["name"]: row["correct"]["last"] for row in json.loads(done.stdout)[0]["rows"]}
    assert (correct["draft"], correct[selector]) == (0, 4)
