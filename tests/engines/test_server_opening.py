"""Opening the engine for models behind a server: what it finds out, and what is wrong is said at once."""

import socket
import sys
from typing import Any

import pytest
from stub_server import Reply, StubServer, echo, error, models, opened, requests

from refine_eval.engines.server_engine import KEY_VARIABLE, ServerEngine
from refine_eval.errors import ModelError, UsageError
from refine_eval.plugin.options import make_options
from refine_eval.testing import ToyRuntime

pytest.importorskip("aiohttp")

KEY = "sk-very-secret-0123456789"
pytestmark = pytest.mark.usefixtures("no_server_key")


def test_the_only_model_is_found_and_lm_evals_form_of_the_address_is_taken() -> None:
    with StubServer(echo) as server, opened(server.url + "/completions/") as engine:
        assert engine.identity() == f"server:{server.url}:student"
        assert len(list(engine.generate(requests(1)))) == 1
        engine.close()
        engine.close()
        engine.open(ToyRuntime())
        assert len(list(engine.generate(requests(1)))) == 1


def test_a_server_without_a_list_of_models_is_taken_at_its_word() -> None:
    with StubServer(echo, listed=error(404, "no such page")) as server:
        with opened(server, model="any") as engine:
            list(engine.generate(requests(1)))
        assert server.requests[0]["model"] == "any"
        with pytest.raises(UsageError, match="pass --model-args model=NAME"), opened(server):
            pass


@pytest.mark.parametrize(
    ("listed", "options", "says"),
    [
        (models("big", "small"), {"model": "smal"}, "has no model 'smal'. Did you mean 'small'? It has: big, small."),
        (models("big", "small"), {}, "pass --model-args model=NAME. It has: big, small."),
        (models(), {"model": "big"}, "has no model 'big'"),
        (error(401, "no key"), {}, f"set the environment variable {KEY_VARIABLE}"),
        (error(403, "bad key"), {}, f"set the environment variable {KEY_VARIABLE}"),
        (error(500, "out of order"), {}, "answers 500 when asked for its models (out of order)"),
        (Reply(body=b"<html>"), {}, "no OpenAI-compatible server"),
        (Reply(body=[]), {}, "no OpenAI-compatible server"),
    ],
)
def test_what_is_wrong_with_the_server_is_said_when_it_is_opened(
    listed: Reply, options: dict[str, Any], says: str
) -> None:
    with (
        StubServer(echo, listed=listed) as server,
        pytest.raises((ModelError, UsageError)) as raised,
        opened(server, **options),
    ):
        pass
    assert says in str(raised.value)


def test_a_server_that_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ModelError) as raised, opened(url, model="org/model"):
        pass
    assert str(raised.value) == f"No server answers at {url}; start one with: vllm serve org/model"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key": KEY}, KEY_VARIABLE),
        ({"base_url": f"http://me:{KEY}@host/v1"}, KEY_VARIABLE),
        ({"base_url": f"http://{KEY}@host/v1"}, KEY_VARIABLE),
        ({"base_url": f"http://host/v1?key={KEY}"}, KEY_VARIABLE),
        ({"base_url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"base_url": "http://host:port/v1"}, "http://localhost:8000/v1"),
        ({"base_url": "http://two words/v1"}, "http://localhost:8000/v1"),
        ({"base_url": "http://host/v1\nX-Header: y"}, "http://localhost:8000/v1"),
        ({"base_url": f"http://{'a' * 70}.x/v1"}, "http://localhost:8000/v1"),
        ({"base_url": "http://host" + "/v1" * 1000}, "http://localhost:8000/v1"),
        ({"num_concurrent": "0"}, "of engine 'server' must be a whole number from 1 to 100000, not 0."),
        ({"num_concurrent": "9" * 23}, "'num_concurrent' of engine 'server' must be a whole number from 1 to 100000"),
        ({"max_retries": "1001"}, "'max_retries' of engine 'server' must be a whole number from 0 to 1000"),
        ({"timeout": "0"}, "'timeout' of engine 'server' must be a number above 0 and at most 604800, not 0.0."),
        ({"timeout": "nan"}, "'timeout' of engine 'server' must be a number above 0 and at most 604800, not nan."),
        ({"timeout": "inf"}, "'timeout' of engine 'server' must be a number above 0 and at most 604800"),
        ({"modle": "x"}, "Did you mean 'model'?"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_options(ServerEngine, options)
    assert says in str(raised.value)
    assert KEY not in str(raised.value)


def test_an_address_that_is_none_is_said() -> None:
    said = r"has no usable address \(256\.1\.1\.1 .*\); check base_url\."
    with pytest.raises(ModelError, match=said), opened("http://256.1.1.1/v1"):
        pass


def test_an_address_is_needed() -> None:
    with pytest.raises(UsageError, match="base_url=http"):
        ServerEngine().open(ToyRuntime())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "refine_eval.engines.server.client", raising=False)
    with pytest.raises(ModelError, match=r"pip install 'refine-eval\[server\]'"), opened("http://localhost:1/v1"):
        pass
