"""What a server says is checked in one place: a completion that can be stored, or one reason why it is none."""

import json
import random
from typing import Any

import pytest
from stub_server import Reply, StubServer, completion, opened, requests

from refine_eval.engines.server.answers import (
    BadAnswerError,
    Completion,
    OtherModelError,
    read_completion,
    read_models,
)
from refine_eval.errors import GenerationError, ModelError
from refine_eval.formats import cut_at_stops

pytest.importorskip("aiohttp")
pytestmark = pytest.mark.usefixtures("no_server_key")

LIMIT = 16


def read(content: Any, model: str | None = "student") -> Completion:
    return read_completion(content if isinstance(content, bytes) else json.dumps(content).encode(), model, LIMIT)


def choices(*found: Any) -> dict[str, Any]:
    return {**completion("unused"), "choices": list(found)}


def counted(tokens: Any) -> dict[str, Any]:
    return {**completion("7"), "usage": {"completion_tokens": tokens}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (choices({"index": 1, "text": "b"}, {"index": 0, "text": "a"}), "a"),
        (choices({"text": "no index"}), "no index"),
        (
            b"\n\n \n" + json.dumps(completion("after blank lines that keep the connection")).encode(),
            "after blank lines",
        ),
        (b"\xef\xbb\xbf" + json.dumps(completion("after a mark")).encode(), "after a mark"),
        (b'{"choices": [{"text": "half \\ud83d of one"}]}', "half ? of one"),
        (b'{"choices": [{"text": "both \\ud83d\\ude00"}]}', "both \N{GRINNING FACE}"),
        (b'{"choices": [{"text": "bytes \xf0\x9f"}]}', "bytes \N{REPLACEMENT CHARACTER}"),
        (b'{"choices": [{"text": "x", "logprobs": NaN}], "usage": {"other": -Infinity}}', "x"),
    ],
)
def test_odd_answers_that_hold_one_text(content: Any, expected: str) -> None:
    found = read(content)
    assert found.text.startswith(expected)
    found.text.encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (choices({"index": 1, "text": "of another prompt"}), "index 0"),
        (choices({"index": 0, "text": "a"}, {"index": 0, "text": "b"}), "index 0"),
        (choices({"index": False, "text": "a"}), "index 0"),
        (choices({"text": "a"}, {"text": "b"}), "index 0"),
        (choices({"index": 0, "message": {"content": "7"}}), "a chat's"),
        (choices({"text": 7}), "text"),
        (choices({"text": ["7"]}), "text"),
        (choices({"text": "7", "finish_reason": 1}), "finish_reason"),
        (choices({"text": "7", "finish_reason": "error"}), "finish_reason is error"),
        (counted(-1), "completion_tokens"),
        (counted(True), "completion_tokens"),
        (counted(10**18), "completion_tokens"),
        (counted(2.5), "completion_tokens"),
        (counted("3"), "completion_tokens"),
        (b'{"choices": [{"text": "7"}], "usage": {"completion_tokens": NaN}}', "completion_tokens"),
        ({**completion("7"), "usage": 3.5}, "completion_tokens"),
        ({**completion("7"), "model": ["student"]}, "model"),
        (choices(7), ""),
        ({"choices": {"0": {"text": "7"}}}, ""),
        (None, ""),
        (b"", ""),
        (b"9" * 5000, ""),
        (b'{"choices": ' + b"[" * 100_000, ""),
    ],
)
def test_answers_that_are_no_completion_have_one_reason(content: Any, reason: str) -> None:
    with pytest.raises(BadAnswerError) as raised:
        read(content)
    assert reason in str(raised.value)
    assert bool(reason) == bool(str(raised.value))


@pytest.mark.parametrize(
    ("reason", "tokens", "cut_off"),
    [
        ("length", 16, True),
        ("max_tokens", 3, True),
        ("stop", 16, False),
        ("eos_token", 3, False),
        (None, 16, True),
        (None, 15, False),
    ],
)
def test_a_text_that_filled_its_limit_is_cut_off_where_the_server_does_not_say(
    reason: str | None, tokens: int, cut_off: bool
) -> None:
    found = read({"choices": [{"text": "7", "finish_reason": reason}], "usage": {"completion_tokens": tokens}})
    assert (found.cut_off, found.tokens) == (cut_off, tokens)


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("student", "student", True),
        ("org/Student", "student", True),
        ("student", "/models/org/student", True),
        ("gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct:20230824-v2", True),
        ("big", "big-2024-08-06", True),
        ("big", "", True),
        ("student", "teacher", False),
        ("student", "student-large", False),
        ("llama-3", "llama-3-70b", False),
        ("a/student", "b/student", False),
        ("dent", "student", False),
    ],
)
def test_an_answer_by_another_model_is_told_from_another_spelling(asked: str, answered: str, same: bool) -> None:
    content = {**completion("7"), "model": answered}
    if same:
        assert read(content, asked).text == "7"
    else:
        with pytest.raises(OtherModelError, match=answered):
            read(content, asked)
    assert read(content, None).text == "7"


def test_an_answer_by_another_model_ends_the_run_unless_the_user_says_which_it_is() -> None:
    with StubServer(lambda *_: Reply(body={**completion("7"), "model": "teacher"})) as server:
        with opened(server) as engine, pytest.raises(GenerationError) as raised:
            list(engine.generate(requests(1)))
        assert "answered problem p/0 as model 'teacher' where 'student' was asked for" in str(raised.value)
        assert "identity=NAME" in str(raised.value)
        with opened(server, identity="mine") as engine:
            assert [found.text for _, found in engine.generate(requests(1))] == ["7"]


@pytest.mark.parametrize("name", [7, None, "", "two\nlines", "\ud800", "x" * 501])
def test_a_list_of_models_with_an_unusable_name_is_none(name: Any) -> None:
    body = json.dumps({"data": [{"id": "student"}, {"id": name}]}).encode()
    with pytest.raises(BadAnswerError, match="no usable name"):
        read_models(body)
    with (
        StubServer(lambda *_: Reply(), listed=Reply(body=body)) as server,
        pytest.raises(ModelError, match="no OpenAI-compatible server"),
        opened(server),
    ):
        pass


@pytest.mark.parametrize("stops", [(), ("",), ("b",), ("c", "ab"), ("ab", "c"), ("bc", "b"), ("zz", "c", "")])
@pytest.mark.parametrize("text", ["", "abcabc", "xbcab", "zzz"])
def test_texts_end_where_lm_eval_ends_them(text: str, stops: tuple[str, ...]) -> None:
    from lm_eval.models.utils import postprocess_generated_text

    assert cut_at_stops(text, stops) == postprocess_generated_text(text, list(stops), None)


def test_whatever_a_server_answers_is_a_completion_or_one_of_two_errors() -> None:
    """2,000 answers with a part replaced by something else: no other error, and nothing that a store cannot hold."""
    chance = random.Random(5)
    odd: list[Any] = [
        None,
        True,
        -1,
        0,
        2**70,
        1.5,
        float("nan"),
        "",
        "\ud83d",
        "student",
        [],
        {},
        [[]],
        [{}],
        {"text": "7"},
    ]
    read_ones = 0
    for _ in range(2000):
        content: Any = {**completion("7"), "model": "student"}
        at: Any = content
        while True:
            key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if not isinstance(at[key], dict | list) or chance.random() < 0.3:
                break
            at = at[key]
        at[key] = chance.choice(odd)
        body = json.dumps(content).encode()
        if chance.random() < 0.2:
            body = body[: chance.randrange(len(body))]
        try:
            found = read(body)
        except (BadAnswerError, OtherModelError):
            continue
        read_ones += 1
        found.text.encode()
        assert type(found.tokens) is int
        assert 0 <= found.tokens <= 10 * LIMIT
        assert type(found.cut_off) is bool
    assert 500 < read_ones < 2000


@pytest.mark.parametrize(
    ("usage", "prompt", "cached"),
    [
        ({"prompt_tokens": 40, "completion_tokens": 3}, 40, 0),
        ({"prompt_tokens": 40, "prompt_tokens_details": {"cached_tokens": 32}}, 40, 32),
        ({"prompt_tokens": 40, "prompt_tokens_details": {"cached_tokens": 41}}, 40, 0),
        ({"prompt_tokens": 40, "prompt_tokens_details": {"cached_tokens": "32"}}, 40, 0),
        ({"prompt_tokens": 40, "prompt_tokens_details": [32]}, 40, 0),
        ({"prompt_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}}, None, 0),
        ({"prompt_tokens": -4}, None, 0),
        ({"prompt_tokens": 1e9}, None, 0),
        ({"prompt_tokens": 10**30}, None, 0),
        ({"prompt_tokens": True}, None, 0),
        ({"prompt_tokens": "forty"}, None, 0),
        ({"prompt_tokens": None}, None, 0),
        ({}, None, 0),
        (None, None, 0),
    ],
)
def test_nonsense_about_the_prompt_costs_no_text(usage: Any, prompt: int | None, cached: int) -> None:
    found = read({**completion("7"), "usage": usage})
    assert (found.text, found.prompt_tokens, found.cached_tokens) == ("7", prompt, cached)
