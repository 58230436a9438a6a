"""Any model class of lm-eval as the student."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models as tiny

from refine_eval.data import Request, Sampling
from refine_eval.engines.lm_eval_engine import LmEvalEngine
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import ModelError, UsageError
from refine_eval.plugin.options import make_options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "student")


def opened(rows: int | None = None, /, **options: str) -> LmEvalEngine:
    engine = LmEvalEngine(make_options(LmEvalEngine, options))
    engine.open(replace(tiny.CPU, batch_size=rows))
    return engine


def test_hf_writes_what_the_transformers_engine_writes(folder: Path) -> None:
    requests = [tiny.request(prompt, number) for number, prompt in enumerate(tiny.mixed_prompts(20))]
    requests += [tiny.request(prompt, number, stop=("b",)) for number, prompt in enumerate(tiny.mixed_prompts(5), 20)]
    engine = opened(4, model="hf", pretrained=str(folder))
    found = dict(engine.generate(requests))
    ours = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    ours.open(tiny.CPU)
    expected = dict(ours.generate(requests))
    assert {i: g.text for i, g in found.items()} == {i: g.text for i, g in expected.items()}
    assert sum(g.tokens for g in found.values()) > 0
    engine.close()
    engine.close()


def test_results_come_in_parts_so_that_they_can_be_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(1, model="hf", pretrained=str(folder))
    monkeypatch.setattr("refine_eval.engines.lm_eval_engine._BATCHES_A_CALL", 2)
    assert engine._model is not None
    calls = []
    texts = engine._model.texts

    def counted(some: Sequence[Request], sampling: Sampling) -> list[tuple[str | None, int]]:
        calls.append(len(some))
        return texts(some, sampling)

    monkeypatch.setattr(engine._model, "texts", counted)
    running = engine.generate([tiny.request("ab", number) for number in range(5)])
    next(running)
    assert calls == [2]
    assert len(list(running)) == 4
    assert calls == [2, 2, 1]


def test_sampled_texts_are_the_same_for_the_same_calls(folder: Path) -> None:
    engine = opened(4, model="hf", pretrained=str(folder))
    requests = [tiny.request("ab", number, temperature=1.0) for number in range(6)]
    first, second = ([generation.text for _, generation in sorted(engine.generate(requests))] for _ in range(2))
    assert first == second
    assert len(set(first)) > 1


def test_a_class_without_a_model_or_a_tokenizer() -> None:
    engine = opened(model="dummy")
    ((_, generation),) = engine.generate([tiny.request("ab")])
    assert (generation.text, generation.tokens) == ("lol", 0)
    assert engine.for_model("other") is None


def test_identity_is_of_content_and_arguments(folder: Path, tmp_path: Path) -> None:
    first = opened(model="hf", pretrained=str(folder)).identity()
    assert first == opened(2, model="hf", pretrained=str(folder), batch_size="3").identity()
    copy = tiny.language_model(tmp_path / "same")
    assert first == opened(model="hf", pretrained=str(copy)).identity()
    assert first != opened(model="hf", pretrained=str(folder), dtype="bfloat16").identity()


def test_refiners_models_are_served_by_the_same_class(folder: Path) -> None:
    engine = LmEvalEngine(make_options(LmEvalEngine, {"pretrained": str(folder), "parallelize": "false"}))
    other = engine.for_model("elsewhere")
    assert isinstance(other, LmEvalEngine)
    assert (other.options.pretrained, other.options.rest) == ("elsewhere", {"parallelize": "false"})


def test_what_cannot_be_made(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model class 'hff'\. Did you mean 'hf'\?"):
        opened(model="hff")
    with pytest.raises(ModelError, match="lm-eval cannot make its model 'hf'"):
        opened(model="hf", pretrained=str(folder), no_such_argument="1")
    with pytest.raises(UsageError, match="never run"):
        opened(model="hf", pretrained=str(folder), trust_remote_code="true")
