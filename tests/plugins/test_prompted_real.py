"""Refiners and selectors that ask the student in words, with real chat models: all in one run of short texts."""

from pathlib import Path

import pytest
from in_process import refine_eval

from refine_eval import DRAFT, load_run

ASKING = ("continue", "wait", "rewrite", "resample", "merge")


@pytest.mark.parametrize("chat", [True, False], ids=["messages", "plain"])
def test_all_of_them_write_after_any_prompt(real_model: Path, chat: bool, data_dir: Path, tmp_path: Path) -> None:
    if not chat and real_model.name == "qwen":
        pytest.skip("one model without messages is enough")
    asked = ("--tasks", "gsm8k_chat", "--data-dir", str(data_dir), "--limit", "2", "--gen-kwargs", "max_gen_toks=8")
    student = (
        "--model-args",
        f"pretrained={real_model}",
        "--device",
        "cpu",
        *(["--apply-chat-template"] if chat else []),
    )
    refiners = [word for name in ASKING for word in ("--refiner", name)]
    how = ("--critic", "random", "--resample-samples", "1", "--continue-tries", "1", "--name", "real")
    prompts = ("--rewrite-feedback", "random", "--rewrite-prompt", "critic", "--selector", "select-by-prompt")
    refine_eval("run", *asked, *student, *refiners, *how, *prompts, cwd=tmp_path)
    run = load_run(tmp_path / "results/runs/real")
    assert len(run.traces) == 2
    for trace in run.traces:
        draft, *others = trace.candidates
        found = {each.component: each.solution.written for each in others}
        first_bad = trace.critiques[DRAFT]["where"].first_bad_step
        assert tuple(found) == ASKING[first_bad is None :]
        assert found["wait"].startswith(f"{draft.solution.written.removesuffix(chr(10))}\nWait".lstrip())
        assert first_bad is None or found["continue"].startswith(draft.solution.before(first_bad))
        assert all(each.solution.tokens <= 8 for each in trace.candidates)
        assert 0 < trace.selecting["select-by-prompt"].tokens <= 8
    costs = {row.name: row.tokens for row in run.rows}
    assert costs["select-by-prompt"] > costs["oracle"]
    assert costs["merge"] > costs["rewrite"]
