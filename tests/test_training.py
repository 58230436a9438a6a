"""The trainers' shared parts: label rules on hand-made cases, lossless tokens, a loop that moves what it should."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from refine_eval.formats import BAD, global_prompt, local_prompt, student_prompt
from refine_eval.step_scorer import encode_steps
from refine_eval.training.batches import (
    IGNORE,
    collate,
    completion_example,
    critic_example,
    endless_batches,
    text_example,
)
from refine_eval.training.labels import (
    balance,
    final_answer,
    monotone,
    outcome_labels,
    results_used,
)
from refine_eval.training.loop import Rates, schedule, train
from refine_eval.training.models import (
    critic_from,
    freeze_below,
    load_critic,
    load_generator,
    load_tokenizer,
    new_student,
    residual_size,
    save_model,
)
from refine_eval.training.sampling import Sampler, step_scores
from refine_eval.training.tokenizer import build_tokenizer, encode
from refine_eval_benchmarks.apples import generate
from refine_eval_benchmarks.apples_drills import equations
from refine_eval_refiners.train import global_pairs, local_pair


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are far slower with threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def problems() -> list[dict[str, str]]:
    return generate("train", 400)


@pytest.fixture(scope="module")
def tokenizer(problems: list[dict[str, str]]) -> Any:
    texts = [student_prompt(p["question"]) + p["answer"] for p in problems]
    return build_tokenizer([*texts, global_prompt("", [])], special=[BAD])


@pytest.fixture(scope="module")
def student(tokenizer: Any) -> Any:
    return new_student(tokenizer, width=32, layers=2, seed=0)


# Labels


def test_outcome_labels_repeat_the_outcome() -> None:
    assert outcome_labels(["a", "b"], True) == [1, 1]
    assert outcome_labels(["a", "b"], False) == [0, 0]


@pytest.mark.parametrize(
    ("labels", "cleaned"),
    [([0, 1, 0, 0], [1, 1, 0, 0]), ([1, 0, 1], [1, 1, 1]), ([0, 0], [0, 0]), ([1, 0], [1, 0]), ([], [])],
)
def test_rule_1_monotone(labels: list[int], cleaned: list[int]) -> None:
    assert monotone(labels) == cleaned


@pytest.mark.parametrize(
    ("prefix", "rest", "used"),
    [
        (["2+3=5"], ["5*4=20", "#### 20"], True),
        (["2+3=5"], ["4*5=20", "#### 20"], True),
        (["2+3=6"], ["5*4=20", "#### 20"], False),
        (["2+3=5", "5*4=20"], ["#### 20"], True),
        (["2+3=5", "5*4=21"], ["#### 20"], False),
        (["2+3=5"], ["5*4=50", "#### 50"], True),
        (["2+3=5"], ["10*5=50", "#### 50"], True),
        (["2+3=5"], ["10+5.5=15.5", "#### 15.5"], False),
        (["2+3=5"], ["1*4=5", "#### 15"], False),
        (["we add"], ["#### 20"], True),
        ([], ["#### 20"], True),
    ],
)
def test_rule_2_results_used(prefix: list[str], rest: list[str], used: bool) -> None:
    assert results_used(prefix, rest) is used


def test_rule_3_balances_each_length_and_changes_no_label() -> None:
    rng = random.Random(0)
    labels = [[int(rng.random() < 0.9 - 0.2 * at) for at in range(rng.randint(1, 5))] for _ in range(300)]
    cleaned = balance(labels, seed=1)
    for at in range(5):
        here = [row[at] for row in cleaned if at < len(row)]
        assert here.count(0) == here.count(1) > 0
        before = [row[at] for row in labels if at < len(row)]
        assert here.count(0) == min(before.count(0), before.count(1)), "no more is given up than needed"
    for old, new in zip(labels, cleaned, strict=True):
        assert all(b in (a, IGNORE) for a, b in zip(old, new, strict=True))
    assert cleaned == balance(labels, seed=1) != balance(labels, seed=2)


def test_final_answer_is_what_the_last_line_says() -> None:
    assert final_answer(["2+3=5", "#### 5"]) == "5"
    assert final_answer(["2+3=5"]) is None
    assert final_answer([]) is None


# Pairs for refiners


def test_global_pairs_lead_from_wrong_to_right_of_the_same_question() -> None:
    right, wrong, other = ("2+3=5", "#### 5"), ("2+3=6", "#### 6"), ("1+1=3", "#### 3")
    pairs = global_pairs({"q": [(wrong, False), (right, True), (wrong, False)], "hard": [(other, False)]}, seed=0)
    assert [(pair.prompt, pair.completion) for pair in pairs] == [(global_prompt("q", wrong), "2+3=5\n#### 5")]


def test_local_pair_keeps_what_stands_before_the_marker() -> None:
    steps = ["2+3=5", "5*4=21", "#### 21"]
    pair = local_pair("q", steps, [1, 0, 0], {0: ["#### 1"], 1: ["5*4=20", "#### 20"]})
    assert pair is not None
    assert pair.prompt == local_prompt("q", steps, 1)
    assert pair.prompt.endswith("Answer:\n2+3=5\n")
    assert pair.completion == "5*4=20\n#### 20"
    assert local_pair("q", steps, [1, 0, 0], {0: ["#### 1"]}) is None
    assert local_pair("q", steps, [1, 1, 1], {}) is None


# Tokens and batches


def test_tokens_give_back_every_text(tokenizer: Any, problems: list[dict[str, str]], tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for problem in problems[:30]:
        steps = problem["answer"].splitlines()
        for text in (
            student_prompt(problem["question"]) + problem["answer"],
            local_prompt(problem["question"], steps, 1),
            " 12  +3\n\n#### 1 \n",
        ):
            ids = encode(loaded, text)
            assert ids == encode(tokenizer, text)
            assert loaded.unk_token_id not in ids
            assert loaded.decode(ids) == text


def test_digits_newlines_and_the_marker_are_single_tokens(tokenizer: Any) -> None:
    for text in ("\n", BAD, "7", "=", "####"):
        assert len(encode(tokenizer, text)) == 1
    assert len(encode(tokenizer, "12+34=46\n#### 46\n")) == 8 + 1 + 4 + 1
    assert encode(tokenizer, "zebra") == [tokenizer.unk_token_id]


def test_a_completion_is_learnt_with_its_end_and_a_prompt_is_not(tokenizer: Any) -> None:
    example = completion_example(tokenizer, "Answer:\n", "4+5=9")
    learnt = [(i, t) for i, t in enumerate(example.targets) if t != IGNORE]
    assert [t for _, t in learnt] == [*encode(tokenizer, "4+5=9"), tokenizer.eos_token_id]
    assert learnt[0][0] == len(encode(tokenizer, "Answer:\n")) - 1
    assert example.ids == encode(tokenizer, "Answer:\n4+5=9")


def test_critics_are_scored_at_newlines(tokenizer: Any) -> None:
    ids, ends = encode_steps(tokenizer, "How many", ["4+5=9", "#### 9"])
    newline = encode(tokenizer, "\n")[0]
    assert [ids[end] for end in ends] == [newline, newline]
    assert tokenizer.decode(ids) == student_prompt("How many") + "4+5=9\n#### 9\n"
    example = critic_example(tokenizer, "How many", ["4+5=9", "#### 9"], [1, 0])
    assert [(i, t) for i, t in enumerate(example.targets) if t != IGNORE] == [(ends[0], 1), (ends[1], 0)]


def test_batches_hold_every_example_once_an_epoch(tokenizer: Any) -> None:
    examples = [text_example(tokenizer, "1+1=2\n" * (n % 7 + 1) + str(n)) for n in range(50)]
    batches = endless_batches(examples, 8, tokenizer.pad_token_id, seed=0)
    epoch = [next(batches) for _ in range(7)]
    assert sum(len(batch.ids) for batch in epoch) == 50
    learnt = sorted(tuple(t for t in row.tolist() if t != IGNORE) for batch in epoch for row in batch.targets)
    assert learnt == sorted(tuple(example.targets) for example in examples)


# The loop


def test_rates_rise_stay_and_fall() -> None:
    assert schedule(0, 200) < schedule(19, 200) == schedule(100, 200) == 1
    assert schedule(150, 200) == 0.5
    assert schedule(199, 200) == pytest.approx(0.01)


def test_loss_falls_and_everything_trainable_moves(tokenizer: Any) -> None:
    model = new_student(tokenizer, width=32, layers=2, seed=0)
    before = {name: value.clone() for name, value in model.named_parameters()}
    rng = random.Random(0)
    rows = [text_example(tokenizer, "\n".join(equations(rng, count=4)[0])) for _ in range(64)]
    batches = endless_batches(rows, 8, tokenizer.pad_token_id, seed=0)
    losses = train(model, batches, 60, Rates(0.02, 0.004), log=lambda line: None)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert all(not torch.equal(before[name], value) for name, value in model.named_parameters())


def test_a_critic_learns_with_its_backbone_frozen(tokenizer: Any, student: Any) -> None:
    look = collate([text_example(tokenizer, "12+34=46\n")], tokenizer.pad_token_id).ids
    critic = critic_from(student, fresh_layers=1, residual=residual_size(student, look), seed=0)
    before = {name: value.clone() for name, value in critic.named_parameters()}
    rows = [critic_example(tokenizer, "How", [f"1+1={n}"] * 3, [int(n % 2)] * 3) for n in range(2, 10)]
    batches = endless_batches(rows, 8, tokenizer.pad_token_id, seed=0)
    losses = train(critic, batches, 80, Rates(0.02, 0.004), log=lambda line: None)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    fresh = ("model.layers.2.", "model.norm.", "score.weight")
    for name, value in critic.named_parameters():
        assert torch.equal(before[name], value) is not name.startswith(fresh), name
    assert torch.equal(critic.score.bias, torch.zeros(2))


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(tokenizer: Any) -> None:
    model = new_student(tokenizer, width=32, layers=1, seed=0)
    before = {name: value.clone() for name, value in model.named_parameters()}
    rows = endless_batches([text_example(tokenizer, "1+1=2")], 1, tokenizer.pad_token_id, seed=0)
    with pytest.raises(FloatingPointError, match="step 0"):
        train(model, rows, 5, Rates(1, 1), loss=lambda m, b: next(m.parameters()).sum() * float("nan"))
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())


# Models


def test_a_critic_computes_what_its_backbone_does(tokenizer: Any, student: Any) -> None:
    ids = torch.tensor([encode(tokenizer, "12+34=46\n5*6=30\n")])
    size = residual_size(student, ids)
    critic = critic_from(student, fresh_layers=1, residual=size, seed=0)
    with torch.no_grad():
        below = student(input_ids=ids, output_hidden_states=True).hidden_states
        inside = critic(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(inside[1] * size, below[1], rtol=1e-4, atol=1e-4)
    assert inside[2].pow(2).mean().sqrt() == pytest.approx(1, rel=0.5)


def test_folders_load_with_the_auto_classes(tokenizer: Any, student: Any, tmp_path: Path) -> None:
    ids = torch.tensor([encode(tokenizer, "12+34=46\n")])
    critic = critic_from(student, fresh_layers=1, residual=residual_size(student, ids), seed=0)
    save_model(critic, tokenizer, tmp_path / "critic", dtype=torch.bfloat16, refine_eval_task="apples")
    save_model(student, tokenizer, tmp_path / "student")
    loaded = freeze_below(load_critic(tmp_path / "critic"), fresh_layers=1)
    for name, value in critic.named_parameters():
        assert torch.equal(value.bfloat16().float(), loaded.get_parameter(name)), name
        assert value.requires_grad == loaded.get_parameter(name).requires_grad, name
    assert torch.equal(load_generator(tmp_path / "student")(ids).logits, student(ids).logits)
    settings = json.loads((tmp_path / "critic" / "config.json").read_text())
    assert settings["refine_eval_task"] == "apples"
    assert settings["id2label"] == {"0": "bad", "1": "good"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["critic", "student"]


def test_the_sampler_writes_what_transformers_writes(tokenizer: Any, problems: list[dict[str, str]]) -> None:
    model = new_student(tokenizer, width=64, layers=2, seed=1)
    for parameter in model.parameters():
        parameter.data *= 4
    prompts = [student_prompt(problem["question"]) for problem in problems[:6]]
    expected = []
    for prompt in prompts:
        ids = torch.tensor([encode(tokenizer, prompt)])
        written = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :].tolist()
        end = written.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in written else len(written)
        expected.append(tokenizer.decode(written[:end]))
    sampler = Sampler(model, tokenizer)
    assert sampler.texts(prompts, limit=12) == expected
    assert len(set(expected)) > 1
    drawn = sampler.texts(prompts, temperature=1.0, seed=5, limit=12)
    assert drawn == sampler.texts(prompts, temperature=1.0, seed=5, limit=12) != expected


def test_scores_do_not_depend_on_what_else_is_scored(tokenizer: Any, student: Any) -> None:
    look = torch.tensor([encode(tokenizer, "12+34=46\n")])
    critic = critic_from(student, fresh_layers=1, residual=residual_size(student, look), seed=0)
    pairs = [("How many", ["4+5=9", "9*2=18", "#### 18"]), ("How", ["#### 1"]), ("How many", [])]
    together = step_scores(critic, tokenizer, pairs)
    assert [len(row) for row in together] == [3, 1, 0]
    for row, pair in zip(together, pairs, strict=True):
        assert row == pytest.approx(step_scores(critic, tokenizer, [pair])[0], abs=1e-5)
