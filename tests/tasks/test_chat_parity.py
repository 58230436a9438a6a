"""Messages and their texts are lm-eval's own: drafts with --apply-chat-template equal its hf model's to the letter."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import tiny_models as tiny
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.registry import Registry, registry
from refine_eval.runs.execute import execute
from refine_eval.runs.settings import RunSettings
from refine_eval.terminal import Progress

YAML = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {train: FOLDER/train.json, test: FOLDER/test.json}}
output_type: generate_until
training_split: train
test_split: test
fewshot_split: train
description: "Sums. "
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
process_results: !function sums_functions.even
generation_kwargs: {until: ["Question:"], do_sample: false, max_gen_toks: 24}
metric_list:
  - {metric: even, aggregation: mean, higher_is_better: true}
"""
FUNCTIONS = """
def even(doc, results):
    return {"even": int(len(results[0]) % 2 == 0)}
"""
# Of a system text the second template says what many do.
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
TRIMS = tiny.CHAT_TEMPLATE.replace("message['content']", "message['content'] | trim")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task in the folder "task" and the models beside it."""
    folder = tmp_path_factory.mktemp("chat")
    task = folder / "task"
    task.mkdir()
    for split, first in (("train", 50), ("test", 1)):
        rows = [{"question": f"what is {n} + {n}?", "answer": f"{n}+{n}={2 * n}"} for n in range(first, first + 8)]
        (task / f"{split}.json").write_text("\n".join(map(json.dumps, rows)))
    for name, more in (("sums", ""), ("begun", 'gen_prefix: "it is"\n')):
        (task / f"{name}.yaml").write_text(YAML.replace("FOLDER", str(task)).replace("sums", name, 1) + more)
    (task / "sums_functions.py").write_text(FUNCTIONS)
    tiny.chat_model(folder / "chatty")
    tiny.chat_model(folder / "trims", TRIMS)
    tiny.chat_model(folder / "no-system", NO_SYSTEM + tiny.CHAT_TEMPLATE)
    return folder


SYSTEM = "Add with care."
CASES: dict[str, dict[str, Any]] = {
    "no examples": {},
    "examples as turns": {"num_fewshot": 2},
    "examples in one message": {"num_fewshot": 2, "fewshot_as_multiturn": False},
    "a system text": {"num_fewshot": 1, "system_instruction": SYSTEM},
    "a system text that is left out": {"system_instruction": SYSTEM, "model": "no-system"},
    "a template that trims": {"num_fewshot": 1, "model": "trims"},
    "plain, with a system text": {"apply_chat_template": None, "system_instruction": SYSTEM, "num_fewshot": 1},
    "an answer that the task begins": {"num_fewshot": 2, "task": "begun"},
    "a begun answer, and a template that trims": {"task": "begun", "model": "trims"},
    "shorter, with another stop": {"gen_kwargs": 'max_gen_toks=7,until=["9"]'},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_drafts_are_what_lm_evals_hf_model_writes(place: Path, tmp_path: Path, case: dict[str, Any]) -> None:
    given = {"apply_chat_template": "true", **case}
    model, task = str(place / given.pop("model", "chatty")), given.pop("task", "sums")
    chat = given["apply_chat_template"] is not None
    theirs = simple_evaluate(
        HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=8),
        tasks=[task],
        task_manager=TaskManager(include_path=place / "task", include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        **{"fewshot_as_multiturn": chat, "num_fewshot": 0, **given, "apply_chat_template": chat},
    )
    wanted = {sample["doc_id"]: sample["resps"][0][0] for sample in theirs["samples"][task]}
    made = Benchmark(name=task, description="sums", data="here", yaml=place / "task" / f"{task}.yaml")
    settings = RunSettings(
        task=task,
        model_options={"pretrained": model},
        when="calculator",
        where="calculator",
        choose="calculator",
        refiners=(),
        selectors=("draft",),
        device="cpu",
        dtype="float32",
        results=tmp_path,
        **{"num_fewshot": 0, **given},
    )
    with mock.patch.object(Registry, "benchmarks", return_value={task: made}):
        outcome = execute(settings, registry(), Progress(quiet=True))
    ours = {int(trace.problem.id.split("/")[1]): trace.draft.solution.text for trace in outcome.traces}
    assert ours == wanted
    assert len(set(ours.values())) > 1, "one text for all would prove nothing"
    assert outcome.rows[0].correct[outcome.filter] / 8 == theirs["results"][task]["even,none"]
