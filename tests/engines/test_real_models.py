"""Real language models on real questions: drafts as messages are, to the letter, what lm-eval's hf model writes.

`python benchmarks/real_models.py FOLDER` makes the models; REFINE_EVAL_MODELS names that folder.
"""

import json
from pathlib import Path

import datasets
from in_process import refine_eval
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from refine_eval.plugin.registry import registry

SHORT = "max_gen_toks=24"


def test_drafts_are_what_lm_evals_hf_model_writes(real_model: Path, data_dir: Path, tmp_path: Path) -> None:
    chat = registry().benchmarks()["gsm8k_chat"]
    assert chat.local_data is not None
    assert isinstance(chat.yaml, Path)
    splits = {split: datasets.Dataset.from_list(list(rows)[:3]) for split, rows in chat.local_data(data_dir).items()}
    theirs = simple_evaluate(
        HFLM(pretrained=str(real_model), dtype="float32", device="cpu", batch_size=1),
        tasks=[{**load_yaml(chat.yaml), "custom_dataset": lambda **_: splits}],
        task_manager=TaskManager(include_defaults=False),
        apply_chat_template=True,
        gen_kwargs=SHORT,
        limit=3,
        bootstrap_iters=0,
        log_samples=True,
    )
    wanted = [sample["resps"][0][0] for sample in theirs["samples"]["gsm8k_chat"]]
    as_drafted = ("--critic", "calculator", "--refiner", "resample", "--selector", "draft", "--refine-below", "0")
    student = ("--model-args", f"pretrained={real_model}", "--dtype", "float32", "--device", "cpu")
    asked = ("--tasks", "gsm8k_chat", "--data-dir", str(data_dir), "--limit", "3", "--gen-kwargs", SHORT)
    refine_eval("run", *asked, *student, "--apply-chat-template", *as_drafted, "--name", "real", cwd=tmp_path)
    lines = (tmp_path / "results/runs/real/traces.jsonl").read_text().splitlines()
    drafts = [json.loads(line)["candidates"][0] for line in lines]
    assert [draft["text"] for draft in drafts] == wanted
    assert {draft["finish_reason"] for draft in drafts} == {"length"}
    assert len(set(wanted)) > 1
