"""The tiny recipe's own trainers: models of the world "apples" from nothing, and critics grown on them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import error_line, refine_eval

from refine_eval.formats import join_steps
from refine_eval.models.tokens import encode
from refine_eval_benchmarks.apples_drills import equations
from refine_eval_benchmarks.apples_models import critic_on, new_language_model, residual_size, world_tokenizer

SMALL = ["--optimizer", "muon", "--learning-rate", "0.02", "--adam-learning-rate", "0.004", "-q", "--batch-size", "8"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that was taught for a moment."""
    out = tmp_path_factory.mktemp("apples") / "lm"
    options = "width=32,layers=2,drills=200,remember=0.2"
    words = ["train", "apples-lm", "--out", str(out), "--steps", "30", "--options", options, "--held-out", "0.001"]
    refine_eval(*words, *SMALL, "--save-dtype", "bfloat16", cwd=out.parent)
    return out


def test_a_language_model_from_nothing_names_its_only_task(backbone: Path) -> None:
    config = json.loads((backbone / "config.json").read_text())
    assert (config["refine_eval_task"], config["dtype"]) == ("apples", "bfloat16")
    counts = (backbone / "stage.yaml").read_text()
    assert "base: null" in counts
    course = json.loads((backbone / "training.json").read_text())
    assert course["losses"][-1][1] < course["losses"][0][1]


def test_a_critic_is_grown_on_a_language_model_and_taught_further(backbone: Path, tmp_path: Path) -> None:
    for lesson, base in (("equations", backbone), ("prefixes", tmp_path / "equations")):
        options = f"lesson={lesson},fresh_layers=1,rows=40"
        words = ["train", "apples-critic", "--base", str(base), "--out", str(tmp_path / lesson), "--steps", "2"]
        refine_eval(*words, *SMALL, "--last-layers", "1", "--options", options, cwd=tmp_path)
    config = json.loads((tmp_path / "prefixes" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForTokenClassification"]
    assert (config["num_hidden_layers"], config["refine_eval_task"]) == (3, "apples")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["apples-lm", "--base", "somewhere"], "starts from nothing; leave out --base"),
        (["apples-critic"], "name it with --base"),
        (["sft"], "train sft starts from a model; name it with --base"),
        (
            ["apples-critic", "--options", "lesson=spelling", "--base", "BACKBONE"],
            "must be equations, lines or prefixes, not 'spelling'",
        ),
    ],
)
def test_wrong_starts_are_one_sentence(words: list[str], said: str, backbone: Path, tmp_path: Path) -> None:
    named = [str(backbone) if word == "BACKBONE" else word for word in words]
    inputs = []
    if words[0] == "sft":
        inputs = [str(tmp_path / "gold")]
        refine_eval("collect", "--gold", "--limit", "3", "-q", "--out", inputs[0], cwd=tmp_path)
    assert said in error_line("train", *named, *inputs, "--out", str(tmp_path / "out"), cwd=tmp_path, expect=2)
    assert not (tmp_path / "out").exists()


def test_remembering_teaches_the_token_just_read_beside_the_next_one() -> None:
    from refine_eval.training.examples import collate, text_example
    from refine_eval_benchmarks.apples_trainers import ApplesLanguageModelTrainer, LanguageModelOptions

    tokenizer = world_tokenizer()
    batch = collate([text_example(tokenizer, "12+34=46\n5*6=30\n")], tokenizer.pad_token_id)
    counted = (batch.labels >= 0).sum()
    trainer = ApplesLanguageModelTrainer(LanguageModelOptions(width=32, layers=1, remember=1.0))
    model, _ = trainer.start(None, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(60):
        trainer.loss(model, batch.input_ids, batch.labels, counted).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        hidden = model.model(input_ids=batch.input_ids).last_hidden_state
        assert (model.just_read(hidden).argmax(-1) == batch.input_ids).float().mean() > 0.9
        assert (model.lm_head(hidden).argmax(-1) == batch.labels).float().mean() > 0.9
    trainer.finish(model)
    assert not any("just_read" in name for name in model.state_dict())


def test_a_critic_computes_what_its_backbone_does() -> None:
    tokenizer = world_tokenizer()
    student: Any = new_language_model(32, 2, 1, seed=0)
    ids = torch.tensor([encode(tokenizer, join_steps(equations(random.Random(0), 3)[0]))])
    size = residual_size(student, ids)
    critic = critic_on(student, fresh_layers=1, residual=size, seed=0)
    with torch.no_grad():
        below = student(input_ids=ids, output_hidden_states=True).hidden_states
        inside = critic(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(inside[1] * size, below[1], rtol=1e-4, atol=1e-4)
    assert inside[2].pow(2).mean().sqrt() == pytest.approx(1, rel=0.5)
    assert torch.equal(critic.score.bias, torch.zeros(2))
