"""Servers that are busy for a day, hostile or lost: the key and the prompts stay here, and no run is held for ever."""

import time
from dataclasses import replace
from typing import Any

import pytest
from stub_server import Reply, StubServer, completion, echo, error, models, opened, requests

from refine_eval.engines.server_engine import KEY_VARIABLE
from refine_eval.errors import GenerationError, ModelError, UsageError
from refine_eval.testing import ToyRuntime

client = pytest.importorskip("refine_eval.engines.server.client", exc_type=ImportError)
pytestmark = pytest.mark.usefixtures("no_server_key")

KEY = "sk-very-secret-0123456789"
SEED_BITS = 2**31 - 1


def message(answer: Any, **options: Any) -> str:
    """The one sentence that generating ends with."""
    sampling = {"temperature": 0.7} if options.pop("sampled", False) else {}
    with StubServer(answer) as server, opened(server, **options) as engine, pytest.raises(GenerationError) as raised:
        list(engine.generate(requests(1, **sampling)))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600
    return str(raised.value)


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_neither_prompts_nor_the_key_follow_a_redirect_to_another_origin(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with StubServer(echo) as other:
        away = Reply(status=status, body={}, headers=(f"Location: {other.url}/completions",))
        said = message(lambda *_: away)
        assert f"redirects to {other.url.removesuffix('/v1')} for problem p/0" in said
        assert "name it in base_url" in said
        listed = Reply(status=status, body={}, headers=(f"Location: {other.url}/models",))
        with StubServer(echo, listed=listed) as server, pytest.raises(ModelError, match="redirects to"), opened(server):
            pass
        assert other.connections == 0


def test_a_redirect_on_the_same_origin_is_followed_with_the_prompt() -> None:
    moved = Reply(status=307, body={}, headers=("Location: /v2/completions",))
    with StubServer(lambda body, number: moved if number == 0 else echo(body)) as server, opened(server) as engine:
        assert [found.text for _, found in engine.generate(requests(1))] == ["re: prompt 0"]
    assert server.paths == ["/v1/models", "/v1/completions", "/v2/completions"]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (("Location: /v1/completions",), "redirects more than 5 times"),
        ((), "redirects without a usable address"),
        (("Location: http://[::1",), "redirects without a usable address"),
        (("Location: javascript:alert(1)",), "redirects without a usable address"),
    ],
)
def test_redirects_that_lead_nowhere(headers: tuple[str, ...], says: str) -> None:
    assert says in message(lambda *_: Reply(status=307, body={}, headers=headers))


# Sizes and deadlines.


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    assert "answers with more than 16 MB for problem p/0" in message(
        lambda *_: Reply(body=completion("x"), endless=True)
    )


def test_of_an_error_without_end_the_beginning_is_shown() -> None:
    assert "refuses problem p/0 with 400 (no!" in message(lambda *_: Reply(status=400, body=b"no!", endless=True))


def test_a_body_that_drips_is_given_up_when_the_time_is_over() -> None:
    started = time.monotonic()
    said = message(lambda *_: Reply(body=completion("x"), drip=0.1), timeout=0.5, max_retries=0)
    assert "did not answer within 0.5 s in one attempt for problem p/0" in said
    assert time.monotonic() - started < 5


def test_a_list_of_models_that_drips_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refine_eval.engines.server_engine._OPEN_TIMEOUT_S", 0.3)
    listed = Reply(body=models("student").body, drip=0.1)
    with (
        StubServer(echo, listed=listed) as server,
        pytest.raises(ModelError, match="No server answers"),
        opened(server),
    ):
        pass


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=completion("x"), headers=(f"X-Long: {'a' * 2_000_000}",)),
        Reply(body=completion("x"), headers=tuple(f"X-{i}: {'a' * 1000}" for i in range(2000))),
        Reply(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcde"),
    ],
    ids=["long header", "many headers", "no HTTP", "negative length"],
)
def test_what_is_not_http_is_said_at_once(reply: Reply) -> None:
    asked = []

    def answer(*_: Any) -> Reply:
        asked.append(1)
        return reply

    assert "does not answer in HTTP, or with headers over 8 kB" in message(answer)
    assert len(asked) == 1


# Servers that are busy.


@pytest.mark.parametrize("header", ["Retry-After: 86400", "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_that_wants_a_day_is_asked_again_soon_and_its_wish_is_said(header: str) -> None:
    busy = Reply(status=429, body={"error": {"message": "quota"}}, headers=(header,))
    started = time.monotonic()
    said = message(lambda *_: busy)
    assert "still answers 429 (quota) for problem p/0 and asks to be left alone for" in said
    assert "no more than 120 s are waited" in said
    with StubServer(lambda body, number: busy if number == 0 else echo(body)) as server, opened(server) as engine:
        assert len(list(engine.generate(requests(1)))) == 1
    assert time.monotonic() - started < 10


def test_a_short_wait_is_kept_to_and_nonsense_is_not() -> None:
    for header, least, most in (
        ("Retry-After: 1", 1.0, 5.0),
        ("Retry-After: 1e400", 0.3, 5.0),
        ("Retry-After: nan", 0.3, 5.0),
    ):
        busy = Reply(status=503, body={}, headers=(header,))

        def busy_once(body: Any, number: int, busy: Reply = busy) -> Any:
            return busy if number == 0 else echo(body)

        with StubServer(busy_once) as server, opened(server) as engine:
            started = time.monotonic()
            assert len(list(engine.generate(requests(1)))) == 1
        assert least <= time.monotonic() - started < most


@pytest.mark.parametrize(("status", "word", "attempts"), [(429, "false", 1), (400, "true", 2)])
def test_a_server_may_say_whether_another_attempt_helps(status: int, word: str, attempts: int) -> None:
    asked = []
    reply = Reply(status=status, body={}, headers=(f"x-should-retry: {word}",))

    def answer(*_: Any) -> Reply:
        asked.append(1)
        return reply

    message(answer)
    assert len(asked) == attempts


# Proxies of the environment.


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.mark.usefixtures("no_proxies")
def test_what_runs_on_this_machine_is_not_looked_for_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with StubServer(echo) as proxy, StubServer(echo) as server:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            with opened(url) as engine:
                assert len(list(engine.generate(requests(1)))) == 1
        assert proxy.connections == 0
        with opened("http://models.example/v1") as engine:
            assert len(list(engine.generate(requests(1)))) == 1
        assert proxy.paths == ["http://models.example/v1/models", "http://models.example/v1/completions"]


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://models.example/v1", {}, None),
        ("http://models.example/v1", {"http_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://models.example/v1", {"http_proxy": "proxy:3128"}, "http://proxy:3128"),
        ("https://models.example/v1", {"http_proxy": "http://proxy:3128"}, None),
        ("https://models.example/v1", {"all_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://models.example/v1", {"http_proxy": "http://proxy:3128", "no_proxy": "models.example"}, None),
        ("http://127.8.9.1/v1", {"http_proxy": "http://proxy:3128"}, None),
        ("http://[::1]:8000/v1", {"http_proxy": "http://proxy:3128"}, None),
        ("http://0.0.0.0:8000/v1", {"http_proxy": "http://proxy:3128"}, None),
        ("http://gpu.localhost/v1", {"http_proxy": "http://proxy:3128"}, None),
        ("http://localhost.example/v1", {"http_proxy": "http://proxy:3128"}, "http://proxy:3128"),
    ],
)
def test_which_proxy_is_used(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert client.proxy_for(url) == proxy


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("proxy", ["socks5://me:hunter2@proxy:1080", "http://me:hunter2@[::1"])
def test_a_proxy_that_cannot_be_used_is_said_without_its_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ModelError, match=r"NO_PROXY=models\.example") as raised, opened("http://models.example/v1"):
        pass
    assert "hunter2" not in str(raised.value)


@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_that_refuses_is_named_as_the_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="through the proxy of the environment"), opened("https://models.example/v1"):
        pass
    refused = Reply(raw=b"HTTP/1.1 407 -\r\nContent-Length: 0\r\n\r\n")
    with StubServer(lambda *_: refused, listed=refused) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/v1"))
        with (
            pytest.raises(ModelError, match="the proxy of the environment answers 407"),
            opened("https://models.example/v1"),
        ):
            pass


# Seeds.


def test_a_greedy_text_is_asked_for_without_a_seed() -> None:
    with StubServer(echo) as server, opened(server) as engine:
        list(engine.generate(requests(1)))
    assert "seed" not in server.requests[0]


@pytest.mark.parametrize(
    "refusal",
    [error(400, "Invalid value at 'seed' (TYPE_INT32)"), error(422, "value out of range"), error(500, "bad seed")],
    ids=["names it", "does not name it", "fails on it"],
)
def test_a_server_that_takes_no_long_seeds_gets_their_lower_bits(refusal: Reply) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return echo(body) if body["seed"] <= SEED_BITS else refusal

    seeds = []
    for order in (1, -1):
        with StubServer(answer) as server, opened(server, num_concurrent=1, max_retries=0) as engine:
            assert len(list(engine.generate(requests(4, temperature=0.7)[::order]))) == 4
        taken = {body["prompt"]: body["seed"] for body in server.requests if body["seed"] <= SEED_BITS}
        assert len(server.requests) == 5, "one request finds it out for all"
        seeds.append(taken)
    assert seeds[0] == seeds[1] == {f"prompt {i}": (2**62 + i) & SEED_BITS for i in range(4)}


def test_requests_in_flight_when_one_finds_it_out_get_them_too() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        if body["seed"] <= SEED_BITS:
            return echo(body)
        # The first one's short seed is taken while the others are under way.
        return replace(error(400, "Invalid value at 'seed' (TYPE_INT32)"), delay=0.3 * number)

    with StubServer(answer) as server, opened(server, num_concurrent=4, max_retries=0) as engine:
        assert len(list(engine.generate(requests(4, temperature=0.7)))) == 4
    assert sum(body["seed"] > SEED_BITS for body in server.requests) == 4, "all were under way at once"


def test_a_server_that_takes_no_seeds_says_what_to_do() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return error(422, "seed: extra fields not permitted") if "seed" in body else echo(body)

    assert "pass send_seed=false in --model-args" in message(answer, sampled=True)
    with StubServer(answer) as server, opened(server, send_seed=False) as engine:
        assert len(list(engine.generate(requests(1, temperature=0.7)))) == 1
        assert len(server.requests) == 1


def test_a_refusal_that_has_nothing_to_do_with_the_seed_stays_what_it_was() -> None:
    asked = []

    def answer(body: dict[str, Any], number: int) -> Reply:
        asked.append(body["seed"])
        return error(400, "maximum context length is 9")

    with StubServer(answer) as server, opened(server) as engine:
        ((_, found),) = engine.generate(requests(1, temperature=0.7))
    assert "longer than the model's context (maximum context length is 9)" in str(found.unwritten)
    assert asked == [2**62]


# Servers with chat completions alone.


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("chat", [error(400, "messages is empty"), Reply(body={"choices": []})], ids=["400", "200"])
def test_a_server_with_chat_alone_is_called_so(status: int, chat: Reply) -> None:
    answer = error(status, "Not Found")
    with (
        StubServer(lambda *_: answer, chat=lambda *_: chat) as server,
        opened(server, max_retries=0) as engine,
        pytest.raises(GenerationError) as raised,
    ):
        list(engine.generate(requests(1)))
    assert "speaks chat completions only" in str(raised.value)
    assert "pass chat=true in --model-args" in str(raised.value)
    assert server.chats == [{"model": "student", "messages": []}], "it is asked without a prompt"


def test_a_server_with_neither_is_at_another_address() -> None:
    said = message(lambda *_: error(404, "Not Found"))
    assert "base_url usually ends in /v1" in said
    assert "chat" not in said


def test_a_server_that_misses_messages_speaks_chat() -> None:
    assert "speaks chat completions only" in message(lambda *_: error(422, "body -> messages: Field required"))


# Which model it is.


def test_a_server_that_moved_is_the_same_model_if_the_user_says_so() -> None:
    listed = models("student", "adapter")

    def identities(**options: Any) -> list[str]:
        with StubServer(echo, listed=listed) as server, opened(server, model="student", **options) as engine:
            other = engine.for_model("adapter")
            assert other is not None
            other.open(ToyRuntime())
            other.close()
            return [engine.identity(), other.identity(), server.url]

    here, adapter, url = identities()
    assert (here, adapter) == (f"server:{url}:student", f"server:{url}:adapter")
    assert identities()[0] != here
    assert identities(identity="mine")[:2] == ["server:mine:student", "server:mine:adapter"]
    assert identities(identity=url)[:2] == [here, adapter], "a store made before is gone on with"
    with pytest.raises(UsageError, match="one line"), opened("http://127.0.0.1:9/v1", identity="two\nlines"):
        pass
