"""Any model class of lm-eval as the student."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
from stub_server import Reply, StubServer, chat_completion
from stub_server import opened as opened_server

from refine_eval.data import ChatForm, Message, Request, Sampling
from refine_eval.engines.lm_eval_engine import LmEvalEngine
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import GenerationError, ModelError, UsageError
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

    def counted(some: Sequence[Request], prompts: Sequence[str], sampling: Sampling) -> list[tuple[str | None, int]]:
        calls.append(len(some))
        return texts(some, prompts, sampling)

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


# Messages.

USER, BEGUN = Message(role="user", content="how many?"), Message(role="assistant", content="3+")


def with_chat(form: ChatForm, **options: str) -> LmEvalEngine:
    engine = LmEvalEngine(make_options(LmEvalEngine, options))
    engine.chat = form
    engine.open(tiny.CPU)
    return engine


def asked(*prompts: tuple[Message, ...]) -> list[Request]:
    return [replace(tiny.request("q", number), prompt=prompt) for number, prompt in enumerate(prompts)]


def test_hf_renders_messages_with_its_template(tmp_path: Path) -> None:
    folder = str(tiny.chat_model(tmp_path / "chatty"))
    requests = asked((USER,), (USER, BEGUN), (Message(role="system", content="be brief"), USER))
    theirs = with_chat(ChatForm(), pretrained=folder)
    ours = TransformersEngine(TransformersOptions(pretrained=folder))
    ours.open(tiny.CPU)
    found, expected = dict(theirs.generate(requests)), dict(ours.generate(requests))
    assert {i: g.text for i, g in found.items()} == {i: g.text for i, g in expected.items()}
    assert theirs.cache_key_of(requests[0]) == ours.cache_key_of(requests[0])
    assert theirs.advice == ""


def test_chat_classes_get_the_messages_that_the_server_engine_sends() -> None:
    pytest.importorskip("tenacity", reason="lm-eval's API classes need tenacity: pip install 'lm-eval[api]'")

    def answer(body: dict[str, Any], number: int) -> Reply:
        content = None if "refuse" in str(body["messages"]) else f"re: {body['messages'][-1]['content']}\n\nmore"
        return Reply(body=chat_completion(content))

    requests = [*asked((USER,), (USER, BEGUN, USER), (replace(USER, content="refuse"),)), tiny.request("plain", 3)]
    with StubServer(chat=answer) as server:
        theirs = opened(model="local-chat-completions", base_url=f"{server.url}/chat/completions")
        assert theirs.only_messages
        with pytest.raises(GenerationError, match="does not continue a message that was begun, as problem toy/0 asks"):
            list(theirs.generate(asked((USER, BEGUN))))
        found = dict(theirs.generate(requests))
        sent = [body["messages"] for body in server.chats]
        server.chats.clear()
        with opened_server(server, chat=True, num_concurrent=1) as ours:
            expected = dict(ours.generate(requests))
        assert sent == [body["messages"] for body in server.chats]
    assert {i: g.text for i, g in found.items()} == {i: g.text for i, g in expected.items()}
    assert (found[2].text, expected[2].unwritten) == ("", "an answer without a text"), "lm-eval makes it an empty text"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (ChatForm(template="short"), "write --apply-chat-template without 'short'"),
        (ChatForm(enable_thinking=True), "leave out --enable-thinking and add enable_thinking=true to --model-args"),
    ],
)
def test_what_its_classes_cannot_be_told_is_said_before_anything_is_loaded(form: ChatForm, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_chat(form, model="hf", pretrained="nowhere")


def test_messages_that_a_class_cannot_read_are_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="has no chat template in its tokenizer"):
        list(with_chat(ChatForm(), pretrained=str(folder)).generate(asked((USER,))))
    mute = with_chat(ChatForm(), model="dummy")
    assert mute._model is not None
    monkeypatch.delattr(type(mute._model._model), "apply_chat_template", raising=False)
    with pytest.raises(ModelError, match="'dummy' takes no messages; leave out --apply-chat-template"):
        list(mute.generate(asked((USER,))))
    strict = tiny.chat_model(tmp_path / "strict", "{{ raise_exception('no such turns') }}")
    ((_, generation),) = with_chat(ChatForm(), pretrained=str(strict)).generate(asked((USER,)))
    assert generation.unwritten == "messages that the model's chat template does not take; no such turns"
