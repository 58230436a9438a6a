"""The transformers engine: what it writes is what the model writes alone, whatever shares the batch."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models as tiny
import torch
from decoded import alone, opened, random_model, written

from refine_eval.engines.decoder.decoding import Decoder, draw
from refine_eval.engines.decoder.packed_linear import fast_linear
from refine_eval.engines.decoder.text import StopStrings
from refine_eval.engines.transformers_engine import TransformersEngine
from refine_eval.errors import ModelError, UsageError
from refine_eval_benchmarks.apples_tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = opened(folder)
    yield engine
    engine.close()


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
def test_greedy_texts_equal_generate_one_by_one(folder: Path, model: Any, batch_size: int) -> None:
    requests = [tiny.request(p, i, max_tokens=3 + 7 * i % 20) for i, p in enumerate(tiny.mixed_prompts(24))]
    engine = opened(folder, batch_size)
    found = written(engine, requests)
    assert [(g.text, g.tokens, g.finish_reason) for g in found] == [alone(model, r) for r in requests]
    assert {g.finish_reason for g in found} == {"stop", "length"}
    assert all(g.seconds > 0 for g in found)


@pytest.mark.parametrize("architecture", ["Mistral", "Gemma3", "GPTNeoX", "Qwen3", "Qwen2"])
def test_other_architectures_and_sliding_windows(tmp_path: Path, architecture: str) -> None:
    model = random_model(tmp_path, architecture)
    requests = [tiny.request(p, i, max_tokens=16) for i, p in enumerate(tiny.mixed_prompts(10))]
    engine = opened(tmp_path, 4)
    assert [(g.text, g.tokens, g.finish_reason) for g in written(engine, requests)] == [
        alone(model, r) for r in requests
    ]


def test_recurrent_architectures_are_refused_in_a_sentence(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=len(tiny.tokenizer()), hidden_size=32, num_hidden_layers=2, eos_token_id=1)
    tiny.save(MambaForCausalLM(config), tmp_path)
    with pytest.raises(ModelError, match=r"mamba.*cannot be served"):
        opened(tmp_path)


def test_sampled_texts_do_not_depend_on_batch_or_order(folder: Path) -> None:
    requests = [
        tiny.request(p, i, temperature=(0.0, 0.7, 1.3)[i % 3], top_p=(1.0, 0.8)[i % 2])
        for i, p in enumerate(tiny.mixed_prompts(18))
    ]
    shuffled = random.Random(0).sample(requests, len(requests))
    expected = [g.text for g in written(opened(folder, 64), requests)]
    for batch_size, order in ((1, requests), (5, shuffled), (64, shuffled)):
        found = written(opened(folder, batch_size), order)
        assert [found[order.index(r)].text for r in requests] == expected


def test_samples_of_one_prompt_differ_by_seed_alone(engine: TransformersEngine) -> None:
    found = written(engine, [tiny.request("123", seed, temperature=1.0) for seed in (1, 2, 3, 1)])
    assert found[0].text == found[3].text
    assert len({g.text for g in found}) == 3


def test_draw_follows_temperature_and_top_p(engine: TransformersEngine) -> None:
    logits = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4])).double()

    def share(temperature: float, top_p: float) -> list[float]:
        requests = [tiny.request("a", seed, temperature=temperature, top_p=top_p) for seed in range(4000)]
        texts = engine._texts(requests)
        for text in texts:
            text.begin()
        return (torch.bincount(draw(logits.expand(4000, 4), texts), minlength=4) / 4000).tolist()

    assert share(1.0, 1.0) == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)
    assert share(0.5, 1.0) == pytest.approx([1 / 30, 4 / 30, 9 / 30, 16 / 30], abs=0.03)
    assert share(1.0, 0.65) == pytest.approx([0, 0, 3 / 7, 4 / 7], abs=0.03)
    assert share(1.0, 0.01) == [0, 0, 0, 1]


@pytest.mark.parametrize("spread", [0.1, 2.0, 8.0])  # flat, so that a few tokens do not reach top_p, to peaked
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
def test_a_token_of_a_large_vocabulary_is_drawn_as_from_the_sorted_whole(spread: float, top_p: float) -> None:
    vocabulary = 5003  # no multiple of a block
    # Rounded, so that many tokens are equally likely.
    logits = (torch.randn(64, vocabulary, generator=torch.Generator().manual_seed(1)) * spread).to(torch.bfloat16)
    texts = [SimpleNamespace(temperature=0.8, top_p=top_p, random=random.Random(row)) for row in range(64)]
    found = draw(logits, texts)  # type: ignore[arg-type]
    for row, token in enumerate(found.tolist()):
        chances = torch.softmax(logits[row].float() / 0.8, -1).double().tolist()
        order = sorted(range(vocabulary), key=lambda at: -chances[at]) if top_p < 1 else range(vocabulary)
        sums = list(accumulate(chances[at] for at in order))
        kept = vocabulary if top_p == 1 else bisect_left(sums, top_p) + 1
        assert token == order[bisect_right(sums, random.Random(row).random() * sums[kept - 1])]


def test_bfloat16_is_computed_as_by_torch() -> None:
    """More rows than oneDNN is given at a time, too."""
    weight, bias = torch.randn(96, 128).bfloat16(), torch.randn(96).bfloat16()
    for rows in (1, 64, 1100):
        hidden = torch.randn(2, rows, 128).bfloat16()
        found, expected = fast_linear(weight, bias)(hidden), torch.nn.functional.linear(hidden, weight, bias)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, atol=0.13, rtol=0.02)


def test_text_is_cut_at_the_first_stop_string(engine: TransformersEngine) -> None:
    whole = written(engine, [tiny.request("123", max_tokens=30)])[0]
    assert len(whole.text) > 6
    stop = whole.text[3:5]
    cut = written(engine, [tiny.request("123", max_tokens=30, stop=("never", stop))])[0]
    assert cut.text == whole.text.split(stop)[0]
    assert cut.finish_reason == "stop"
    assert cut.tokens < whole.tokens


@pytest.mark.parametrize("text", ["b\nQuestion: b", "a\n\nb", "x ####", "ab"])
def test_stop_strings_are_seen_with_the_token_that_completes_them(text: str) -> None:
    stops = StopStrings(tiny.tokenizer(), ("Question:", "\n\n", "####"))
    ids = tiny.tokenizer().encode(text, add_special_tokens=False)
    at = [n for n in range(1, len(ids) + 1) if stops.ended(ids[:n])]
    expected = [n for n in range(1, len(ids) + 1) if any(s in stops.decode(ids[:n]) for s in stops.stops)]
    assert at[:1] == expected[:1]
    assert stops.text(ids) == text.split("Question:")[0].split("\n\n")[0].split("####")[0]


def test_every_listed_end_token_ends_a_text(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    first = written(opened(folder), [tiny.request("123", max_tokens=5)])[0]
    ids = tiny.tokenizer().encode(first.text, add_special_tokens=False)
    at, extra = next((n, token) for n, token in enumerate(ids) if n and token not in ids[:n])
    changed = AutoModelForCausalLM.from_pretrained(folder)
    changed.generation_config.eos_token_id = [1, extra]
    tiny.save(changed, tmp_path)
    ended = written(opened(tmp_path), [tiny.request("123", max_tokens=5)])[0]
    assert (ended.finish_reason, ended.tokens) == ("stop", at)
    assert first.text.startswith(ended.text)


def test_empty_generation_and_empty_batch(tmp_path: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    first = written(opened(folder), [tiny.request("123", max_tokens=1)])[0]
    changed = AutoModelForCausalLM.from_pretrained(folder)
    changed.generation_config.eos_token_id = tiny.tokenizer().encode(first.text, add_special_tokens=False)[0]
    tiny.save(changed, tmp_path)
    engine = opened(tmp_path)
    found = written(engine, [tiny.request("123")])[0]
    assert (found.text, found.tokens, found.finish_reason) == ("", 0, "stop")
    assert written(engine, []) == []


def test_prompt_that_fills_the_context_is_left_unwritten_and_costs_no_other(engine: TransformersEngine) -> None:
    short, long = tiny.request("1"), tiny.request("12" * 48, 7)
    found = written(engine, [short, long, short])
    assert found[1].unwritten == (
        "prompt longer than the model's context (96 tokens of 96); use fewer few-shot examples (--num-fewshot), or a "
        "model with a longer context"
    )
    assert (found[1].text, found[1].tokens, found[1].finish_reason) == ("", 0, "unwritten")
    assert [found[0].text, found[2].text] == [text.text for text in written(engine, [short, short])]
    assert found[0].unwritten is None


def test_limit_is_capped_where_prompt_and_answer_would_not_fit(folder: Path) -> None:
    engine = opened(folder, max_length=20)
    found = written(engine, [tiny.request("12" * 8, seed, max_tokens=50, temperature=2.0) for seed in range(20)])
    assert max(g.tokens for g in found) == 4
    assert all(g.finish_reason == "length" for g in found if g.tokens == 4)


def test_memory_running_out_halves_the_batch_and_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [tiny.request(p, i, temperature=1.0) for i, p in enumerate(tiny.mixed_prompts(16))]
    expected = [g.text for g in written(opened(folder, 16), requests)]
    engine, sizes, step = opened(folder, 16), [], Decoder._step

    def scarce(self: Decoder, cache: Any, active: list[Any]) -> None:
        sizes.append(len(active))
        if len(active) > 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        step(self, cache, active)

    monkeypatch.setattr(Decoder, "_step", scarce)
    assert [g.text for g in written(engine, requests)] == expected
    assert max(sizes) > 4
    assert engine._decoder.rows <= 4


def test_memory_too_small_for_one_text_leaves_that_one_unwritten(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Decoder._step

    def scarce(self: Decoder, cache: Any, active: list[Any]) -> None:
        if any(len(text.prompt) > 40 for text in active):
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(self, cache, active)

    # The long one begins as the others do, so that what they share is read once.
    requests = [tiny.request("1" * length, length) for length in (35, 36, 50, 37)]
    expected = written(engine, requests)
    monkeypatch.setattr(Decoder, "_step", scarce)
    found = written(engine, requests)
    assert found[2].unwritten is not None
    assert found[2].unwritten.startswith("memory runs out for the text alone (CUDA out of memory); use a smaller model")
    assert [g.text for g in found if g.unwritten is None] == [expected[at].text for at in (0, 1, 3)]


def test_other_errors_are_not_taken_for_scarce_memory(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Decoder, "_step", broken)
    with pytest.raises(RuntimeError, match="do not fit"):
        written(engine, [tiny.request("123")])


def test_logits_that_are_no_numbers_leave_that_text_unwritten(engine: TransformersEngine) -> None:
    with torch.no_grad():  # the token "9" is what no other prompt holds or leads to
        nine = tiny.tokenizer().encode("9", add_special_tokens=False)[0]
        engine._decoder.model.model.model.embed_tokens.weight[nine] = float("nan")
    found = written(engine, [tiny.request("123", 3, max_tokens=1), tiny.request("19", 4, max_tokens=1)])
    assert [text.unwritten is None for text in found] == [True, False]
    assert str(found[1].unwritten).startswith("the model computes no finite number (after 0 tokens); try --model-args")


def test_bundled_model_refuses_words_that_it_does_not_know(tmp_path: Path) -> None:
    engine = opened(tiny.language_model(tmp_path / "student", refine_eval_task="apples"))
    assert written(engine, [tiny.request("how many apples")])
    known, unknown = written(engine, [tiny.request("how many apples"), tiny.request("how many zebras has Ann", 5)])
    assert known.unwritten is None
    assert unknown.unwritten == (
        "its model knows only the words of the bundled task 'apples' ('zebras' is none of them); pass your own with "
        "--model-args pretrained="
    )
    engine.option_name = "--local-model"
    assert str(written(engine, [tiny.request("zebras")])[0].unwritten).endswith("with --local-model")


def test_missing_model_says_what_to_pass() -> None:
    with pytest.raises(UsageError, match=r"--model-args pretrained=NAME"):
        TransformersEngine().open(tiny.CPU)


def test_identity_is_of_content_and_dtype(folder: Path, tmp_path: Path) -> None:
    import shutil

    first = opened(folder, 4)
    shutil.copytree(folder, tmp_path / "copy")
    assert opened(tmp_path / "copy", 8).identity() == first.identity()
    assert opened(folder, dtype="bfloat16").identity() != first.identity()
    assert first.identity().startswith("transformers:sha256:")
    first.close()
    first.close()


def test_generation_is_lazy_and_closing_early_is_fine(engine: TransformersEngine) -> None:
    stream = engine.generate([tiny.request(p, i) for i, p in enumerate(tiny.mixed_prompts(6))])
    next(stream)
    assert isinstance(stream, Generator)
    stream.close()
    assert len(written(engine, [tiny.request("123")])) == 1


def test_a_stop_string_that_is_a_special_token_ends_the_text() -> None:
    """Decoding leaves special tokens out, so the string alone would never be seen."""
    tokenizer = build_tokenizer(tiny.TEXTS, special=["<|end|>"])
    stops = StopStrings(tokenizer, ["<|end|>", "b"])
    seven, end, nine = (tokenizer.convert_tokens_to_ids(token) for token in ("7", "<|end|>", "9"))
    assert [stops.ended([seven, *more]) for more in ([], [end], [nine])] == [False, True, False]
    assert stops.text([seven, end, nine]) == "7"
    assert stops.text([seven, nine]) == "79"


def test_a_stop_string_that_holds_a_special_token_ends_the_text() -> None:
    """As lm-eval's hf does it: of what ended the text, the special token is left out and the rest stays."""
    tokenizer = build_tokenizer(tiny.TEXTS, special=["<|end|>", "<|user|>"])
    stops = StopStrings(tokenizer, ["<|end|>8", "b<|user|>"])
    seven, end, eight, b, user = (
        tokenizer.convert_tokens_to_ids(token) for token in ("7", "<|end|>", "8", "b", "<|user|>")
    )
    ended = [
        stops.ended(ids) for ids in ([seven, end], [seven, end, eight], [end, seven, eight], [b, user], [seven, user])
    ]
    assert ended == [False, True, False, True, False]
    assert stops.text([seven, end, eight]) == "78"


def test_where_texts_are_cut_is_part_of_what_the_model_is(tmp_path: Path) -> None:
    folder = tiny.language_model(tmp_path / "model")
    whole, cut = (opened(folder, **options).identity() for options in ({}, {"max_length": 40}))
    assert cut == f"{whole}:max_length=40"
