"""The server engine on chat completions: what is sent, what comes of every kind of answer, and what keys hold."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import error_line, refine_eval
from stub_server import Reply, StubServer, chat_completion, completion, error, opened, requests

from refine_eval.data import ChatForm, Generation, Message, Prompt, Request
from refine_eval.engines.server_engine import ServerEngine
from refine_eval.errors import GenerationError, RefineEvalError, UsageError
from refine_eval.testing import ToyRuntime

USER = Message(role="user", content="how many?")
SYSTEM, BEGUN = Message(role="system", content="be brief"), Message(role="assistant", content="3+")


def asked(prompt: Prompt, number: int = 1, **sampling: Any) -> list[Request]:
    return [replace(request, prompt=prompt) for request in requests(number, **sampling)]


def echo(body: Mapping[str, Any], number: int = 0) -> Reply:
    said = "|".join(f"{message['role']}: {message['content']}" for message in body["messages"])
    return Reply(body=chat_completion(said, tokens=7))


def one(reply: Reply, prompt: Prompt = (USER,), **options: Any) -> Generation:
    """What comes of one request that is answered so."""
    with StubServer(chat=lambda *_: reply) as server, opened(server, **options) as engine:
        ((_, generation),) = engine.generate(asked(prompt))
    return generation


def failure(reply: Reply, prompt: Prompt = (USER,), form: ChatForm | None = None) -> str:
    """The one sentence that comes of it."""
    with StubServer(chat=lambda *_: reply) as server:
        engine = ServerEngine(ServerEngine.Options(base_url=server.url, max_retries=0))
        engine.chat = form
        with contextlib.closing(engine), pytest.raises(RefineEvalError) as raised:
            write(engine, prompt)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def write(engine: ServerEngine, prompt: Prompt) -> None:
    engine.open(ToyRuntime())
    list(engine.generate(asked(prompt)))


# What is sent.


def test_messages_go_to_chat_completions_and_texts_to_completions() -> None:
    def text(body: Mapping[str, Any], number: int) -> Reply:
        return Reply(body=completion(f"re: {body['prompt']}"))

    with StubServer(text, chat=echo) as server, opened(server) as engine:
        plain, chat = requests(1)[0], asked((SYSTEM, USER), stop=("Question:", ""), temperature=0.5)[0]
        found = dict(engine.generate([plain, chat]))
    assert found[0].text == "re: prompt 0"
    assert (found[1].text, found[1].tokens, found[1].finish_reason) == ("system: be brief|user: how many?", 7, "stop")
    assert server.chats == [
        {
            "model": "student",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how many?"}],
            "max_tokens": 16,
            "temperature": 0.5,
            "top_p": 1.0,
            "stop": ["Question:"],
            "seed": 2**62,
        }
    ]


def test_a_begun_answer_is_to_be_continued_and_a_thought_asked_for_in_vllms_words() -> None:
    with StubServer(chat=echo) as server:
        engine = ServerEngine(ServerEngine.Options(base_url=server.url))
        engine.chat = ChatForm(enable_thinking=False)
        engine.open(ToyRuntime())
        list(engine.generate(asked((USER, BEGUN))))
        engine.close()
    (body,) = server.chats
    assert body["messages"][-1] == {"role": "assistant", "content": "3+"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("path", ["", "/chat/completions/"])
def test_with_chat_all_prompts_are_messages(path: str) -> None:
    with StubServer(chat=echo) as server, opened(server.url + path, chat=True) as engine:
        assert engine.only_messages
        ((_, generation),) = engine.generate(asked("plain"))
        assert engine.cache_key_of(asked("plain")[0]) != "plain"
    assert generation.text == "user: plain"


def test_an_address_of_chat_completions_takes_the_word_chat() -> None:
    with pytest.raises(UsageError, match=r"leave that out, and pass chat=true to speak chat completions"):
        ServerEngine.Options(base_url="http://127.0.0.1:1/v1/chat/completions/")


def test_as_many_as_may_be_are_in_flight_and_a_busy_server_is_asked_again() -> None:
    def busy_once(body: Mapping[str, Any], number: int) -> Reply:
        return error(503, "busy") if number == 7 else replace(echo(body), delay=0.2)

    with StubServer(chat=busy_once) as server, opened(server, num_concurrent=4) as engine:
        found = dict(engine.generate(asked((USER,), 8)))
    assert len(found) == 8
    assert 1 < server.most <= 4
    assert len(server.chats) == 9


# What comes back.


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (chat_completion(None, tool_calls=[{"id": "1"}], reason="tool_calls"), "a call of a tool instead of a text"),
        (chat_completion("", tool_calls=[{"id": "1"}], reason="tool_calls"), "a call of a tool instead of a text"),
        (chat_completion(None, refusal="I can't"), "refused by the model (I can't)"),
        (chat_completion(None, reason="content_filter"), "held back by the server's content filter"),
        (chat_completion("", reason="content_filter"), "held back by the server's content filter"),
        (chat_completion(None), "an answer without a text"),
    ],
    ids=["tool", "tool with empty text", "refusal", "filter", "filter with empty text", "null"],
)
def test_an_answer_without_a_text_leaves_one_unwritten(reply: dict[str, Any], why: str) -> None:
    assert replace(one(Reply(body=reply)), seconds=0.0) == Generation.without_text(why)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (chat_completion("", tokens=1), ("", 1, "stop")),
        (chat_completion("3 apples\nQuestion: x"), ("3 apples\nQuestion: x", 3, "stop")),
        (chat_completion("so far", tokens=16, reason="length"), ("so far", 16, "length")),
        (chat_completion("so far", reason="content_filter"), ("so far", 3, "length")),
        (chat_completion(None, tokens=16, reason="length", reasoning_content="hm"), ("", 16, "length")),
        (chat_completion(None, tokens=16, reasoning="It is 3."), ("", 16, "stop")),
    ],
    ids=["empty", "whole", "cut off", "filtered on the way", "cut off in its thought", "nothing but a thought"],
)
def test_an_answer_with_a_text_is_one(reply: dict[str, Any], expected: tuple[str, int, str]) -> None:
    found = one(Reply(body=reply))
    assert (found.text, found.tokens, found.finish_reason, found.unwritten) == (*expected, None)


@pytest.mark.parametrize(
    ("message", "thought"),
    [
        ({"reasoning_content": "It is\n3.\n"}, "It is\n3.\n\n"),
        ({"reasoning": "It is 3."}, "It is 3.\n\n"),
        ({"reasoning_content": None, "reasoning": "It is 3."}, "It is 3.\n\n"),
        ({"reasoning_content": ""}, None),
        ({}, None),
    ],
    ids=["as most say", "as vLLM says now", "both", "empty", "none"],
)
def test_what_a_reasoning_parser_takes_out_is_the_thought(message: dict[str, Any], thought: str | None) -> None:
    found = one(Reply(body=chat_completion("#### 4", tokens=9, **message)))
    assert (found.thought, found.text, found.tokens) == (thought, "#### 4", 9)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(body=chat_completion("7", reasoning=["a"])), "its reasoning is not a text"),
        (Reply(body=completion("7")), "it is no chat's"),
        (Reply(body=chat_completion(["7"])), "its text is not a text"),
        (Reply(body=chat_completion("7", reason="error")), "its finish_reason is error"),
        (Reply(body={**chat_completion("7"), "model": "other"}), "answered problem p/0 as model 'other'"),
        (Reply(body=chat_completion("7"), cut=True), "failed in one attempt for problem p/0"),
        (error(404, "Not Found"), "has no chat completions for this model (404: Not Found); leave out --apply-chat"),
        (error(400, "no chat template"), "refuses problem p/0 with 400 (no chat template)"),
    ],
    ids=["reasoning in parts", "a completion", "parts", "failed", "another model", "cut off", "no chat", "no template"],
)
def test_what_is_no_chat_is_said_in_one_sentence(reply: Reply, said: str) -> None:
    assert said in failure(reply)


def test_a_prompt_that_is_too_long_leaves_one_unwritten() -> None:
    found = one(error(400, "This model's maximum context length is 9 tokens"))
    assert (found.unwritten or "").startswith("prompt longer than the model's context (This model's maximum context")


def test_a_server_that_does_not_continue_says_so() -> None:
    refusal = error(400, "Extra inputs are not permitted: continue_final_message")
    assert "does not continue a message that was begun (400: Extra inputs" in failure(refusal, (USER, BEGUN))


def test_a_server_that_passes_nothing_to_its_template_is_said_to() -> None:
    refusal = error(400, "Unrecognized request argument supplied: chat_template_kwargs")
    assert "leave out --enable-thinking" in failure(refusal, form=ChatForm(enable_thinking=True))


def test_a_template_by_name_is_the_servers_matter() -> None:
    assert "write --apply-chat-template without 'short'" in failure(Reply(), form=ChatForm(template="short"))


def test_what_was_written_before_a_failure_is_kept() -> None:
    def third_fails(body: Mapping[str, Any], number: int) -> Reply:
        return error(400, "no") if number == 2 else echo(body)

    with StubServer(chat=third_fails) as server, opened(server, num_concurrent=1) as engine:
        found: list[int] = []
        with pytest.raises(GenerationError, match="2 of 4 texts are written and stored"):
            found.extend(index for index, _ in engine.generate(asked((USER,), 4)))
    assert server.chats[0]["messages"] == [{"role": "user", "content": "how many?"}]


def other_limit(body: Mapping[str, Any], number: int = 0) -> Reply:
    """As OpenAI's newer models."""
    if "max_tokens" in body:
        return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    return echo(body)


def test_a_limit_by_another_name_is_found_out_once() -> None:
    with StubServer(chat=other_limit) as server, opened(server, num_concurrent=1) as engine:
        found = dict(engine.generate(asked((USER,), 3, temperature=0.5)))
        assert [found[index].text for index in range(3)] == ["user: how many?"] * 3
        list(engine.generate(asked((USER,))))
    assert ["max_tokens" in body for body in server.chats] == [True, False, False, False, False]
    assert {body.get("max_completion_tokens") for body in server.chats} == {None, 16}


def test_a_server_that_takes_neither_limit_is_asked_twice() -> None:
    refusal = error(400, "neither max_tokens nor max_completion_tokens")
    with StubServer(chat=lambda *_: refusal) as server, opened(server) as engine:
        with pytest.raises(GenerationError, match=r"refuses problem p/0 with 400 .neither max_tokens"):
            list(engine.generate(asked((USER,))))
        assert len(server.chats) == 2


# A run.


def test_a_thought_of_a_server_is_kept_and_counted_and_not_graded(tmp_path: Path) -> None:
    body = chat_completion("So it is.\n#### 7", tokens=30, reasoning_content="Or rather\n#### 8")
    typed = ("run", "--limit", "1", "--critic", "agreement", "--refiner", "resample", "--selector", "vote")
    samples = ("--resample-samples", "1", "--agreement-samples", "1", "--model", "server", "-q", "--name", "t")
    with StubServer(chat=lambda *_: Reply(body=body)) as server:
        where = ("--model-args", f"base_url={server.url},chat=true", "--think-end-token", "</think>")
        for _ in range(2):  # written, then from the store
            refine_eval(*typed, *samples, *where, cwd=tmp_path)
            trace = json.loads((tmp_path / "results" / "runs" / "t" / "traces.jsonl").read_text())
            draft = trace["candidates"][0]
            assert (draft["thought"], draft["text"]) == ("Or rather\n#### 8\n\n", "So it is.\n#### 7")
            assert (draft["answer"], draft["tokens"]) == ("7", 30)
        assert len(server.chats) == 2


def test_a_run_on_a_chat_server_needs_two_words(tmp_path: Path) -> None:
    task = ("run", "--limit", "2", "--num-fewshot", "1", "--critic", "agreement", "--refiner", "resample")
    typed = (*task, "--resample-samples", "1", "--agreement-samples", "1", "--selector", "vote", "--model", "server")
    with StubServer(chat=lambda *_: Reply(body=chat_completion("3+4=7\n#### 7"))) as server:
        where = f"base_url={server.url}"
        refine_eval(*typed, "--model-args", f"{where},chat=true", "--name", "chat", cwd=tmp_path)
        sent = len(server.chats)
        assert [message["role"] for message in server.chats[0]["messages"]] == ["user", "assistant", "user"]
        refine_eval(*typed, "--model-args", where, "--apply-chat-template", "--name", "again", cwd=tmp_path)
        assert len(server.chats) == sent, "the same texts have the same keys"
        line = error_line(*typed, "--model-args", where, "--name", "chat", "--seed", "1", cwd=tmp_path)
        assert "task.apply_chat_template" in line
        line = error_line(*typed, "--model-args", where, "--name", "plain", cwd=tmp_path)
        assert "pass chat=true in --model-args" in line
    record = yaml.safe_load((tmp_path / "results" / "runs" / "chat" / "run.yaml").read_text())
    assert (record["task"]["apply_chat_template"], record["model"]["options"]["chat"]) == ("true", True)
    record = yaml.safe_load((tmp_path / "results" / "runs" / "again" / "run.yaml").read_text())
    assert "chat" not in record["model"]["options"], "records from before there was chat have no such key"


def test_turns_without_messages_are_refused_before_the_server_is_asked(tmp_path: Path) -> None:
    with StubServer(chat=echo) as server:
        line = error_line(
            *("run", "--model", "server", "--model-args", f"base_url={server.url}", "--fewshot-as-multiturn"),
            cwd=tmp_path,
            expect=UsageError.exit_code,
        )
    assert "add --apply-chat-template" in line
    assert server.chats == []
