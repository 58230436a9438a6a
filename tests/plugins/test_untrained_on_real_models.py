"""The critics that need no training on real language models, as base and as chat models, on real questions."""

import json
from pathlib import Path

import pytest
from in_process import refine_eval

SHORT = ("--gen-kwargs", "max_gen_toks=24")


@pytest.mark.slow
@pytest.mark.parametrize("chat", [(), ("--apply-chat-template",)], ids=["plain", "chat"])
def test_they_judge_real_drafts(real_model: Path, chat: tuple[str, ...], data_dir: Path, tmp_path: Path) -> None:
    task = ("--tasks", "gsm8k_chat" if chat else "gsm8k_zero_shot", "--data-dir", str(data_dir), "--limit", "2")
    student = ("--model-args", f"pretrained={real_model}", "--dtype", "float32", "--device", "cpu", *chat, *SHORT)
    for critic, options in (
        ("likelihood", ()),
        ("self-certainty", ()),
        ("oracle-rollout", ("--oracle-rollout-samples", "1", "--oracle-rollout-search", "all")),
    ):
        refiner = ("--refiner", "resample", "--resample-samples", "1")
        refine_eval("run", *task, *student, "--critic", critic, *options, *refiner, "--name", critic, cwd=tmp_path)
        traces = [
            json.loads(line) for line in (tmp_path / f"results/runs/{critic}/traces.jsonl").read_text().splitlines()
        ]
        judged = [(c, trace["critiques"][c["id"]]["choose"]) for trace in traces for c in trace["candidates"]]
        assert len(judged) == 4
        for _, critique in judged:
            assert critique.get("unscored") is None
            assert critique["step_scores"]
        if critic != "oracle-rollout":
            assert len({critique["score"] for _, critique in judged}) > 1
            assert all(0 < score < 1 for _, critique in judged for score in critique["step_scores"])
