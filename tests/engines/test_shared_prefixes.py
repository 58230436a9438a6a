"""What prompts share is read once by the transformers engine, and the texts are those of reading each alone."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models as tiny
import torch
from decoded import alone, opened, random_model, written

from refine_eval.data import Request
from refine_eval.engines.decoder.decoding import Decoder
from refine_eval.engines.decoder.prefixes import chains, shared_length
from refine_eval.engines.decoder.slot_model import SlotModel
from refine_eval.engines.transformers_engine import TransformersEngine
from refine_eval.formats import prompt_text

ARCHITECTURES = ["Llama", "Qwen2", "Mistral", "Gemma3", "GPTNeoX"]
SHARED = "0123456789+-*/=().,;<>9876543210<>;,.()=/"  # 41 tokens


def rollouts(solutions: int, samples: int) -> list[Request]:
    """Requests from every beginning of some solutions, of 3, 10, 17, 24 tokens each, in no order."""
    prompts = [(first + SHARED)[:n] for first in "259"[:solutions] for n in (3, 10, 17, 24)]
    requests = [tiny.request(p, i, max_tokens=3 + i % 9) for i, p in enumerate(prompts * samples)]
    return random.Random(0).sample(requests, len(requests))


def few_shot(count: int) -> list[Request]:
    """Requests whose first 41 tokens are the same; the rest has 2 to 27, the first of them different in each."""
    signs = "0123456789+-*/=()"[:count]
    return [
        tiny.request(SHARED + s + SHARED[i : 7 * i % 26 + 1 + i], i, max_tokens=3 + i % 9) for i, s in enumerate(signs)
    ]


def facts(engine: TransformersEngine, requests: list[Request]) -> list[tuple[str, int, str]]:
    return [(g.text, g.tokens, g.finish_reason) for g in written(engine, requests)]


def tokens_read(engine: TransformersEngine) -> int:
    return engine._decoder.prompt_tokens_read


def own_tokens(requests: list[Request]) -> int:
    return sum(len(r.prompt) - len(SHARED) for r in requests)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_chain_of_prompts_is_read_once(tmp_path: Path, architecture: str, batch_size: int) -> None:
    model = random_model(tmp_path, architecture)
    requests, engine = rollouts(3, 2), opened(tmp_path, batch_size)
    assert facts(engine, requests) == [alone(model, r) for r in requests]
    assert tokens_read(engine) == 3 * 24, "also where a chain has more texts than slots"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_common_beginning_is_read_once(tmp_path: Path, architecture: str, batch_size: int) -> None:
    model = random_model(tmp_path, architecture)
    requests, engine = few_shot(12), opened(tmp_path, batch_size)
    assert facts(engine, requests) == [alone(model, r) for r in requests]
    assert engine._decoder.model.shares_prefixes
    assert tokens_read(engine) == len(SHARED) + own_tokens(requests)


def test_chains_after_a_common_beginning(tmp_path: Path) -> None:
    model = random_model(tmp_path, "Llama")
    requests = [
        tiny.request(SHARED + prompt_text(r.prompt), r.seed, max_tokens=r.sampling.max_tokens) for r in rollouts(3, 2)
    ]
    engine = opened(tmp_path, 5)
    assert facts(engine, requests) == [alone(model, r) for r in requests]
    assert tokens_read(engine) == len(SHARED) + 3 * 24


def test_a_short_common_beginning_is_read_with_each_prompt(tmp_path: Path) -> None:
    random_model(tmp_path, "Llama")
    requests, engine = [tiny.request(SHARED[:20] + sign * 3, i) for i, sign in enumerate("123")], opened(tmp_path)
    written(engine, requests)
    assert tokens_read(engine) == 3 * 23


def test_an_architecture_that_cannot_share_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(tmp_path, "Qwen2")
    mask = SlotModel._mask
    # As a model would that takes no heed of the mask that it is given.
    monkeypatch.setattr(SlotModel, "_mask", lambda self, at, n: mask(self, at, n) * (at.shape[1] == 1))
    requests, engine = few_shot(4), opened(tmp_path)
    assert not engine._decoder.model.shares_prefixes
    assert facts(engine, requests) == [alone(model, r) for r in requests]
    assert tokens_read(engine) == sum(len(r.prompt) for r in requests)


def test_memory_running_out_reads_the_common_beginning_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(tmp_path, "Llama")
    requests, engine, step = few_shot(12), opened(tmp_path, 12), Decoder._step

    def scarce(self: Decoder, cache: Any, active: list[Any]) -> None:
        if len(active) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(self, cache, active)

    monkeypatch.setattr(Decoder, "_step", scarce)
    assert facts(engine, requests) == [alone(model, r) for r in requests]
    assert engine._decoder.rows <= 4
    assert tokens_read(engine) > 2 * len(SHARED) + own_tokens(requests)


def test_a_single_text_does_without_the_copy_before_memory_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(tmp_path, "Llama")
    requests, engine, step = few_shot(4), opened(tmp_path, 1), Decoder._step

    def scarce(self: Decoder, cache: Any, active: list[Any]) -> None:
        if cache.prefix:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(self, cache, active)

    monkeypatch.setattr(Decoder, "_step", scarce)
    assert facts(engine, requests) == [alone(model, r) for r in requests]
    monkeypatch.setattr(Decoder, "_step", lambda *args: scarce(args[0], SimpleNamespace(prefix=1), []))
    assert all(
        str(text.unwritten).startswith("memory runs out for the text alone") for text in written(engine, requests)
    )


def test_every_prompt_is_in_one_chain_that_it_begins() -> None:
    numbers = random.Random(0)
    prompts = [[7, 7] + [numbers.randrange(2) for _ in range(numbers.randrange(1, 7))] for _ in range(200)]
    texts: list[Any] = [SimpleNamespace(prompt=prompt) for prompt in prompts]
    for shared in (0, 2):
        found = chains(texts, shared)
        assert sorted(map(id, texts)) == sorted(id(text) for chain in found for text in chain.texts)
        for chain in found:
            lengths = [len(text.prompt) for text in chain.texts]
            assert lengths == sorted(lengths, reverse=True)
            assert sorted(set(lengths), reverse=True) == chain.lengths
            assert all(text.prompt == chain.tokens[: len(text.prompt)] for text in chain.texts)
            others = [other.tokens for other in found if other is not chain]
            assert not any(other[: len(chain.tokens)] == chain.tokens for other in others)
        assert [len(chain.tokens) for chain in found] == sorted((len(c.tokens) for c in found), reverse=True)


def test_shared_length_leaves_each_prompt_a_token_of_its_own() -> None:
    def shared(*prompts: list[int]) -> int:
        texts: list[Any] = [SimpleNamespace(prompt=prompt) for prompt in prompts]
        return shared_length(texts)

    assert shared() == 0
    assert shared([1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 9]) == 2
    assert shared([1, 2, 3], [1, 2], [1, 2, 4]) == 1
    assert shared([1, 2, 3], [1, 2, 3]) == 2
    assert shared([2, 1], [1, 2]) == 0


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize(
    "requests", [rollouts(3, 2), few_shot(8), few_shot(8) * 2], ids=["chains", "few-shot", "twice"]
)
def test_texts_say_which_tokens_of_their_prompts_were_read_for_others(
    tmp_path: Path, batch_size: int, requests: list[Request]
) -> None:
    random_model(tmp_path, "Llama")
    engine = opened(tmp_path, batch_size)
    texts = written(engine, requests)
    assert [text.prompt_tokens for text in texts] == [len(prompt_text(request.prompt)) for request in requests]
    assert sum(text.read_tokens or 0 for text in texts) == tokens_read(engine)
    assert engine.model_parameters


def test_one_prompt_of_several_samples_is_read_by_the_first(tmp_path: Path) -> None:
    random_model(tmp_path, "Llama")
    samples = [tiny.request("259", number, temperature=1.0) for number in range(4)]
    assert [text.read_tokens for text in written(opened(tmp_path, 2), samples)] == [3, 0, 0, 0]
