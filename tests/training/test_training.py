"""The trainers' shared parts: label rules on hand-made cases, lossless tokens, batches of like lengths."""

import random
from pathlib import Path
from typing import Any

import pytest

from refine_eval.formats import BAD, global_prompt, local_prompt, student_prompt
from refine_eval.models.tokens import encode, encode_steps
from refine_eval.stages.rules import balance, monotone, outcome_labels, results_used
from refine_eval.training.examples import LengthGroupedSampler, completion_example, critic_example
from refine_eval.training_rows import IGNORE
from refine_eval_benchmarks.apples import generate
from refine_eval_benchmarks.apples_tokenizer import build_tokenizer
from refine_eval_refiners.trainers import local_pair


@pytest.fixture(scope="module")
def problems() -> list[dict[str, str]]:
    return generate("train", 400)


@pytest.fixture(scope="module")
def tokenizer(problems: list[dict[str, str]]) -> Any:
    texts = [student_prompt(p["question"]) + p["answer"] for p in problems]
    return build_tokenizer([*texts, global_prompt("", [])], special=[BAD])


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
        (["In May she sold 48/2 = <<48/2=24>>24 clips."], ["So 48+24 = <<48+24=72>>72.", "#### 72"], True),
        (["In May she sold 48/2 = <<48/2=24>>24 clips."], ["So 48+48 = <<24+48=72>>72.", "#### 72"], False),
        (["5 x $2 = $<<5*2=10>>10."], ["She has $100 - $10.00 = $90 left.", "#### 90"], True),
        (["500*2 = <<500*2=1000>>1,000 m"], ["1000/4 = 250 m", "#### 250"], True),
        (["1/2 of it = 1/2"], ["1/2 * 40 = 20", "#### 20"], True),
        (["1/2 of it = 1/2"], ["2 * 10 = 20", "#### 20"], False),
        (["3 - 5 = -2"], ["10 + -2 = 8", "#### 8"], True),
        (["3 - 5 = -2"], ["10 - 2 = 8", "#### 8"], False),
        (["half of 48 = about 24 clips"], ["24 + 48 = 72", "#### 72"], True),
        (["2 + 3 ="], ["4 * 5 = 20", "#### 20"], False),
        (["2 = " + "9" * 5000], ["#### 20"], False),
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


# Pairs for the local refiner


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
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
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
    example = completion_example(tokenizer, "How many", "Answer:\n", "4+5=9")
    learnt = [(i, t) for i, t in enumerate(example.labels) if t != IGNORE]
    assert [t for _, t in learnt] == [*encode(tokenizer, "4+5=9"), tokenizer.eos_token_id]
    assert learnt[0][0] == len(encode(tokenizer, "Answer:\n")) - 1
    assert example.input_ids == encode(tokenizer, "Answer:\n4+5=9")


def test_critics_are_scored_at_newlines(tokenizer: Any) -> None:
    ids, ends = encode_steps(tokenizer, "How many", ["4+5=9", "#### 9"])
    newline = encode(tokenizer, "\n")[0]
    assert [ids[end] for end in ends] == [newline, newline]
    assert tokenizer.decode(ids) == student_prompt("How many") + "4+5=9\n#### 9\n"
    example = critic_example(tokenizer, "How many", ["4+5=9", "#### 9"], [1, 0])
    assert [(i, t) for i, t in enumerate(example.labels) if t != IGNORE] == [(ends[0], 1), (ends[1], 0)]


def test_an_epoch_has_every_row_once_in_batches_of_like_length() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(10, 100) for _ in range(8 * 70 + 3)]
    order = LengthGroupedSampler(lengths, batch_size=8, seed=0)
    first = list(order)
    assert sorted(first) == list(range(len(lengths)))
    assert len(order) == len(lengths)
    spreads = [max(batch) - min(batch) for batch in _batches([lengths[row] for row in first], 8)]
    assert sum(spreads) / len(spreads) < 8, "rows drawn at random would be 70 apart"
    means = [sum(batch) / len(batch) for batch in _batches([lengths[row] for row in first], 8)]
    assert means != sorted(means), "batches are shuffled"
    assert list(order) == first
    order.set_epoch(1)
    assert list(order) != first
    assert list(LengthGroupedSampler(lengths, batch_size=8, seed=1)) != first


def _batches(values: list[int], size: int) -> list[list[int]]:
    return [values[at : at + size] for at in range(0, len(values), size)]
