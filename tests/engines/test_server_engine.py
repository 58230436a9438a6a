"""The engine for models behind a server, against a real one that misbehaves in every way that servers do."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from signals import handled
from stub_server import Reply, StubServer, completion, echo, error, models, opened, requests

from refine_eval.engines.server_engine import KEY_VARIABLE, ServerEngine
from refine_eval.errors import GenerationError, ModelError
from refine_eval.testing import ToyRuntime, run_checks

pytest.importorskip("aiohttp")

KEY = "sk-very-secret-0123456789"
pytestmark = pytest.mark.usefixtures("no_server_key")


def failure(answer: Any, count: int = 1, **options: Any) -> tuple[str, list[int]]:
    """The message of the error that generating ends with, and the indices that were yielded before it."""
    yielded: list[int] = []
    with StubServer(answer) as server, opened(server, **options) as engine:
        texts = engine.generate(requests(count))
        with pytest.raises((GenerationError, ModelError)) as raised:
            yielded.extend(index for index, _ in texts)
        message = str(raised.value)
        assert "\n" not in message
        return message, yielded


# What is sent and what comes back.


def test_requests_carry_their_sampling_and_answers_their_counts() -> None:
    with StubServer(echo) as server, opened(server) as engine:
        asked = requests(5, temperature=0.7, top_p=0.9, stop=("Question:", "", "\n\n"))
        found = dict(engine.generate(asked))
    assert [found[i].text for i in range(5)] == [f"re: prompt {i}" for i in range(5)]
    assert {(g.tokens, g.finish_reason) for g in found.values()} == {(8, "stop")}
    for body in server.requests:
        index = int(body["prompt"].split()[1])
        assert body["seed"] == 2**62 + index
        assert (body["model"], body["max_tokens"]) == ("student", 16)
        assert (body["temperature"], body["top_p"], body["stop"]) == (0.7, 0.9, ["Question:", "\n\n"])


def test_a_notebook_whose_cells_run_inside_an_event_loop_can_use_it() -> None:
    async def cell() -> list[str]:
        with StubServer(echo) as server, opened(server) as engine:
            return sorted(generation.text for _, generation in engine.generate(requests(3)))

    assert asyncio.run(cell()) == ["re: prompt 0", "re: prompt 1", "re: prompt 2"]


def test_requests_are_sent_in_the_order_given() -> None:
    with StubServer(echo) as server, opened(server, num_concurrent=1) as engine:
        assert [index for index, _ in engine.generate(requests(6))] == list(range(6))
    assert [body["prompt"] for body in server.requests] == [f"prompt {i}" for i in range(6)]
    assert "stop" not in server.requests[0]
    assert server.connections == 1, "one connection serves them all"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (completion("7 Question: 8", 9, "length"), ("7 ", 9, "stop")),
        (completion("7 and", 9, "length"), ("7 and", 9, "length")),
        (completion("7", 1, "eos_token"), ("7", 1, "stop")),
        (completion("7", usage=None), ("7", 0, "stop")),
        ({"choices": [{"text": ""}]}, ("", 0, "stop")),
    ],
)
def test_texts_end_at_stop_strings_and_servers_may_leave_things_out(body: Any, expected: tuple[str, int, str]) -> None:
    with StubServer(lambda *_: Reply(body=body)) as server, opened(server) as engine:
        ((_, found),) = engine.generate(requests(1, stop=("Question:",)))
    assert (found.text, found.tokens, found.finish_reason) == expected


def test_no_more_than_num_concurrent_are_in_flight_and_the_seconds_add_up() -> None:
    with (
        StubServer(lambda b, n: Reply(body=completion("x"), delay=0.05)) as server,
        opened(server, num_concurrent=8) as engine,
    ):
        started = time.perf_counter()
        found = dict(engine.generate(requests(40)))
        spent = time.perf_counter() - started
    assert server.most == 8
    assert sorted(found) == list(range(40))
    assert sum(g.seconds for g in found.values()) == pytest.approx(spent, rel=0.2)


def test_the_first_text_is_there_before_the_last_is_asked_for() -> None:
    with StubServer(echo) as server, opened(server, num_concurrent=4) as engine:
        texts = engine.generate(requests(50))
        next(texts)
        assert len(server.requests) < 50
        assert isinstance(texts, Generator)
        texts.close()
        assert len(server.requests) < 50


def test_a_slow_text_holds_up_no_other() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return Reply(body=completion("x"), delay=0.5 if body["prompt"] == "prompt 0" else 0)

    with StubServer(answer) as server, opened(server, num_concurrent=4) as engine:
        assert [index for index, _ in engine.generate(requests(20))][-1] == 0


def test_who_stops_listening_leaves_nothing_in_flight(capfd: pytest.CaptureFixture[str]) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return Reply(body=completion("x"), delay=0 if number == 0 else 30)

    with StubServer(answer) as server, opened(server, num_concurrent=4) as engine:
        texts = engine.generate(requests(8))
        next(texts)
        assert isinstance(texts, Generator)
        texts.close()
        until(lambda: server.in_flight == 0)
        assert len(server.requests) < 8
    gc.collect()
    assert capfd.readouterr().err == ""


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """What was started in the background of a shell script ignores SIGINT, and so would this."""
    with handled(signal.SIGINT, signal.default_int_handler):
        yield


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_while_waiting_is_heeded_at_once_and_the_engine_can_go_on() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return Reply(body=completion("x"), delay=30 if number < 4 else 0)

    with StubServer(answer) as server, opened(server, num_concurrent=4) as engine:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(engine.generate(requests(8)))
        assert time.monotonic() - started < 10
        until(lambda: server.in_flight == 0)
        assert len(dict(engine.generate(requests(8)))) == 8


def until(condition: Any) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# What goes wrong.


@pytest.mark.parametrize(
    "trouble",
    [
        error(429, "slow down"),
        error(503, "loading"),
        Reply(body=completion("x"), cut=True),
        Reply(body=completion("x"), delay=30),
    ],
    ids=["429", "503", "cut", "slow"],
)
def test_trouble_that_passes_is_not_noticed(trouble: Reply) -> None:
    with StubServer(lambda body, number: trouble if number == 0 else echo(body)) as server:
        with opened(server, timeout=0.3) as engine:
            found = dict(engine.generate(requests(2)))
        assert [found[i].text for i in range(2)] == ["re: prompt 0", "re: prompt 1"]
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (error(500, "out of\norder"), "still answers 500 (out of order) after 2 attempts"),
        (error(429, "slow down"), "still answers 429 (slow down) after 2 attempts"),
        (Reply(body=completion("x"), cut=True), "connection to the server at http://127.0.0.1:"),
        (Reply(body=completion("x"), delay=30), "did not answer within 0.3 s in 2 attempts"),
        (error(422, "what?" + 500 * "!"), "refuses problem p/3 with 422 (what?!!!"),
        (error(404, "no such path"), "base_url usually ends in /v1"),
        (Reply(status=418, body=b"<html>tea</html>"), "418 (<html>tea</html>)"),
        (Reply(status=400, body={"detail": "no"}), "with 400 (no)"),
        (Reply(body=b"<html>welcome"), "something else than a completion for problem p/3 (<html>welcome)"),
        (Reply(body={"choices": []}), "something else than a completion"),
        (Reply(body=[1]), "something else than a completion"),
        (Reply(body={"choices": [{"text": None}]}), "something else than a completion"),
        (Reply(body=completion("half", reason="abort")), "something else than a completion"),
        (error(401, "who are you?"), f"rejects the key (401): set the environment variable {KEY_VARIABLE}"),
    ],
)
def test_trouble_that_stays_is_one_sentence_that_names_the_problem_and_how_far_it_got(
    trouble: Reply, says: str
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return trouble if body["prompt"] == "prompt 3" else echo(body)

    message, yielded = failure(answer, 6, num_concurrent=1, timeout=0.3)
    assert says in message
    assert ("p/3" in message) or "rejects the key" in message
    assert "3 of 6 texts are written and stored, and the same command goes on from there" in message
    assert yielded == [0, 1, 2]
    assert len(message) < 600


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 4300 tokens (4000 in the messages,"
        " 300 in the completion).",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_prompt_that_does_not_fit_is_left_unwritten_and_costs_no_other(said: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return error(400, said) if number == 1 else echo(body)

    with StubServer(answer) as server, opened(server, num_concurrent=1) as engine:
        found = dict(engine.generate(requests(3)))
    assert [found[at].unwritten is None for at in range(3)] == [True, False, True]
    why = str(found[1].unwritten)
    assert why.startswith(f"prompt longer than the model's context ({said[:60]}")
    assert why.endswith("; lower --max-gen-toks or use fewer few-shot examples (--num-fewshot)")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (error(413, "Request Entity Too Large"), "prompt longer than the model's context (Request Entity Too Large)"),
        (
            error(400, "The response was filtered due to the prompt triggering our content management policy."),
            "refused by the server's content filter (The response was filtered",
        ),
        (
            Reply(body={"choices": [{"text": "", "finish_reason": "content_filter"}]}),
            "held back by the server's content filter",
        ),
        (
            Reply(body={"choices": [{"text": None, "refusal": "I cannot.\x1b[1m"}]}),
            "refused by the model (I cannot. [1m)",
        ),
        (Reply(body={"choices": [{"text": None, "tool_calls": [{}]}]}), "a call of a tool instead of a text"),
        (Reply(body={"choices": [{"text": None, "finish_reason": "stop"}]}), "an answer without a text"),
    ],
)
def test_what_a_server_holds_back_for_one_text_is_left_unwritten(reply: Reply, why: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return reply if number == 0 else echo(body)

    with StubServer(answer) as server, opened(server, num_concurrent=1) as engine:
        found = dict(engine.generate(requests(2)))
    assert str(found[0].unwritten).startswith(why)
    assert (found[0].text, found[0].finish_reason) == ("", "unwritten")
    assert found[1].unwritten is None


def test_a_text_that_a_filter_cut_is_kept_as_one_that_was_cut() -> None:
    cut = Reply(body={"choices": [{"text": "7", "finish_reason": "content_filter"}]})
    with StubServer(lambda *_: cut) as server, opened(server) as engine:
        ((_, found),) = engine.generate(requests(1))
    assert (found.text, found.finish_reason, found.unwritten) == ("7", "length", None)


def test_what_is_in_flight_is_yielded_before_the_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refine_eval.engines.server_engine._GRACE_S", 1.0)

    def answer(body: dict[str, Any], number: int) -> Reply:
        if body["prompt"] in ("prompt 1", "prompt 2"):
            return error(400, f"no to {body['prompt']}")
        return Reply(body=completion("x"), delay={"prompt 3": 0.3, "prompt 4": 30}.get(body["prompt"], 0.1))

    message, yielded = failure(answer, 50, num_concurrent=5)
    assert "no to prompt 1" in message
    assert "2 of 50 texts are written" in message
    assert yielded == [0, 3], "number 4 takes too long, number 5 is not asked for any more"
    gc.collect()
    assert capfd.readouterr().err == ""


def test_a_request_that_cannot_be_sent_is_not_blamed_on_the_server() -> None:
    (request,) = requests(1)
    with StubServer(echo) as server, opened(server) as engine, pytest.raises(UnicodeEncodeError):
        list(engine.generate([replace(request, prompt="\ud800")]))


# Other models, and the contract.


def test_other_models_are_the_servers_and_folders_are_opened_here(tmp_path: Path) -> None:
    with StubServer(echo, listed=models("student", "adapter")) as server, opened(server, model="student") as engine:
        assert engine.for_model(str(tmp_path)) is None
        other = engine.for_model("adapter")
        assert isinstance(other, ServerEngine)
        other.open(ToyRuntime())
        # In turn, one while the other is not finished.
        ours, theirs = engine.generate(requests(3)), other.generate(requests(3))
        next(ours), next(theirs)
        assert len([*ours, *theirs]) == 4
        other.close()
    assert {body["model"] for body in server.requests} == {"student", "adapter"}
    assert other.identity() == f"server:{server.url}:adapter"


def test_it_keeps_the_contract() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        reply = completion(f"{body['prompt'][:9]} {body['seed'] if body['temperature'] else ''} Question: ")
        if "logprobs" in body:
            # As unlike as prompts are: who mixes answers up is found out.
            likely = -1 - len(body["prompt"]) / 1000
            reply["choices"][0]["logprobs"] = {"top_logprobs": [{"1": likely, "2": 2 * likely}]}
        return Reply(body=reply)

    with StubServer(answer) as server:
        results = run_checks(ServerEngine, ServerEngine.Options(base_url=server.url))
    assert [f"{result.name}: {result.message}" for result in results if not result.passed] == []
    assert len(results) >= 10


# The key.


def test_the_key_is_sent_and_named_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(KEY_VARIABLE, f" {KEY}\n")
    told = "x" * 190 + KEY  # trimmed in the middle of it

    def answer(body: dict[str, Any], number: int) -> Reply:
        return error(400, f"{KEY} is wrong, {told}") if number else echo(body)

    with caplog.at_level("DEBUG"), StubServer(answer) as server, opened(server) as engine:
        list(engine.generate(requests(1)))
        assert f"Bearer {KEY}" in server.headers
        with pytest.raises(GenerationError) as raised:
            list(engine.generate(requests(1)))
        assert KEY not in engine.identity() + repr(engine.options)
    assert f"[{KEY_VARIABLE}] is wrong" in str(raised.value)
    for trace in (str(raised.value), caplog.text):
        assert KEY[:6] not in trace
    monkeypatch.setenv(KEY_VARIABLE, "sk-\x07é")
    with pytest.raises(ModelError, match="no key has"), opened(server.url):
        pass
