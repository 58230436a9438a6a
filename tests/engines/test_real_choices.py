"""Real language models: choices as their own forward pass has them, and the judge's contract and cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
from small_run import SmallRun

from refine_eval.data import Message
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval_judge.critic import JudgeCritic, JudgeOptions

QUESTION = "Ann has 3 apples and buys 4 more. She gives half of them to Ben. How many does she have?"
STEPS = (
    "Ann starts with 3 apples and buys 4 more, so she has 3 + 4 = 7 apples.",
    "She gives half of these 7 apples to Ben, which is 7 / 2 = 3.5 apples.",
    "So Ann keeps 7 - 3.5 = 3.5 apples for herself after Ben has got his share.",
    "The question asks how many apples Ann has now, and that number is 3.5.",
    "#### 3.5",
)


@pytest.fixture(scope="module")
def engine(real_model: Path) -> Any:
    made = TransformersEngine(TransformersOptions(pretrained=str(real_model), device="cpu", dtype="float32"))
    made.open(tiny.CPU)
    yield made
    made.close()


def test_choices_are_those_of_the_models_forward_pass(engine: TransformersEngine) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(engine.options.pretrained)
    plain = AutoModelForCausalLM.from_pretrained(engine.options.pretrained, dtype=torch.float32)
    messages = (Message(role="user", content=f"{QUESTION} Is it 3.5? Answer Yes or No."),)
    turns = [{"role": m.role, "content": m.content} for m in messages]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    for prompt, text, choices in (
        (messages, rendered, ("Yes", "No")),
        (f"{QUESTION}\nAnswer:", f"{QUESTION}\nAnswer:", (" Yes", " No")),
    ):
        request = replace(tiny.request("x", max_tokens=1), prompt=prompt, choices=choices)
        ((_, found),) = engine.choose([request])
        ids = tokenizer(text).input_ids
        with torch.no_grad():
            logprobs = plain(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        expected = [float(logprobs[tokenizer(choice).input_ids[0]]) for choice in choices]
        assert found.logprobs == pytest.approx(expected, abs=1e-3)
        assert found.prompt_tokens == found.read_tokens == len(ids)


def test_a_judge_reads_a_verdict_once_and_steps_together(engine: TransformersEngine, tmp_path: Path) -> None:
    candidate, read = tiny.candidate(QUESTION, "\n".join(STEPS)), {}
    for form in ("verdict", "steps"):
        run = SmallRun(tmp_path / form, engine, JudgeCritic())
        run.runtime.engines[None] = engine
        critic = JudgeCritic(JudgeOptions(prompt=form, chat="on"))
        critic.open(run.runtime.for_component(critic))
        before = engine._decoder.prompt_tokens_read
        (found,) = critic.critique([candidate])
        read[form] = engine._decoder.prompt_tokens_read - before
        assert found.unscored is None
        assert 0 < found.score < 1
        run.store.close()
    assert read["steps"] <= 1.5 * read["verdict"], read
