"""The engine for models behind an HTTP server that speaks OpenAI's completions API: vLLM, SGLang, llama.cpp, OpenAI."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from refine_eval.data import Generation, Request
from refine_eval.errors import GenerationError, ModelError, RefineEvalError, UsageError, missing_extra, nearest
from refine_eval.plugin.components import Engine, EngineRuntime
from refine_eval.plugin.fields import option

if TYPE_CHECKING:
    import asyncio

    import openai

KEY_VARIABLE = "OPENAI_API_KEY"
_NO_KEY = "none"  # local servers want no key, the client wants one
_OPEN_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 10.0
_GRACE_S = 10.0
_TRIMMED = 200
_TOO_LONG = re.compile(r"context.?(length|size|window)|max_model_len|max_new_tokens. must be", re.IGNORECASE)

_Finished = tuple[int, Generation | Exception]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of the server engine. There is none for the key: command lines are recorded and seen by others."""

    base_url: str = option("", "Where the server answers: http://localhost:8000/v1")
    model: str = option("", "The server's name for the model (default: its only one).")
    num_concurrent: int = option(64, "Requests in flight at once.", min=1)
    max_retries: int = option(5, "How often a request is sent again that failed.", min=0)
    timeout: float = option(600.0, "Longest wait for an answer, in seconds.", above=0)
    api_key: str = option("", f"Not taken here: set {KEY_VARIABLE} instead.")

    def __post_init__(self) -> None:
        """UsageError for an option that does not fit; no message repeats what may hold a password."""
        if self.api_key:
            raise UsageError(f"The server's key is no option: set the environment variable {KEY_VARIABLE} instead.")
        try:
            parts = urlsplit(self.base_url)
            usable = not self.base_url or (parts.scheme in ("http", "https") and bool(parts.hostname))
            _ = parts.port
        except ValueError:
            raise UsageError("base_url must be of the form http://localhost:8000/v1") from None
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise UsageError(
                f"base_url must hold no user, password or query: the server's key is read from the environment "
                f"variable {KEY_VARIABLE} alone."
            )
        if not usable:
            raise UsageError("base_url must be of the form http://localhost:8000/v1")


class ServerEngine(Engine):
    """A model behind a server with OpenAI's completions API, such as `vllm serve`: --model-args base_url=URL,model=NAME

    At most `num_concurrent` requests are in flight; the others wait unmade. The openai package sends a request again,
    later each time, where the server is busy or the connection fails. `Generation.tokens` is what the server counts, 0
    where it does not say. `Generation.seconds` are shares of the wall time: while n texts are in flight each is charged
    1/n of every second, retries included. The key is read from OPENAI_API_KEY and written nowhere. Not for use inside
    a running event loop.
    """

    name = "server"
    takes_model = False
    Options = ServerOptions
    options: ServerOptions

    option_name = "--model-args model="

    _runner: asyncio.Runner | None = None

    def open(self, runtime: EngineRuntime) -> None:
        """Asks the server once for its models; ModelError where none answers or it lacks the model."""
        options = self.options
        if not options.base_url:
            raise UsageError(
                "The engine server needs an address: pass --model-args base_url=http://localhost:8000/v1,model=NAME"
            )
        import asyncio

        try:
            import openai
        except ImportError:
            raise ModelError(missing_extra("openai", "server")) from None

        self._url = options.base_url.rstrip("/").removesuffix("/completions").rstrip("/")  # lm-eval's form too
        self._key = _key()
        # The default keeps 100 connections; every further one would be made anew for each request. aiohttp, because
        # httpx looks through all connections for each request: with 64 of them a request took 2.4 ms of processor
        # time against 1.5, with 256 it took 6 to 7 against 1.6 (benchmarks/perf/server.py).
        most = options.num_concurrent
        limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=most, max_keepalive_connections=most)
        try:
            http_client = openai.DefaultAioHttpClient(limits=limits)
        except RuntimeError:
            raise ModelError(missing_extra("openai[aiohttp]", "server")) from None
        self._client = openai.AsyncOpenAI(
            base_url=self._url,
            api_key=self._key or _NO_KEY,
            max_retries=options.max_retries,
            timeout=openai.Timeout(options.timeout, connect=min(_CONNECT_TIMEOUT_S, options.timeout)),
            http_client=http_client,
        )
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        try:
            self._model = self._choose(_outside_loops(self._runner.run, self._served()))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connections."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            _outside_loops(runner.run, self._client.close())
            _outside_loops(runner.close)

    @property
    def at_once(self) -> int:
        """All that may be in flight."""
        return self.options.num_concurrent

    def identity(self) -> str:
        """The server's address and its name for the model: what it serves under that name cannot be seen from here."""
        return f"server:{self._url}:{self._model}"

    def for_model(self, model: str) -> Engine | None:
        """Another model of the same server, such as a LoRA adapter; None for a folder or file, which is opened here."""
        return None if Path(model).expanduser().exists() else type(self)(replace(self.options, model=model))

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, generation) as answers arrive.

        GenerationError or ModelError, naming the problem, where the server refuses a request or does not answer it
        after all retries. No more is sent then, and what arrives within ten seconds is yielded before it is raised.
        """
        import asyncio

        assert self._runner is not None, "open() comes first"
        runner, loop = self._runner, self._runner.get_loop()
        finished: asyncio.Queue[_Finished] = asyncio.Queue()
        shares = _Shares()
        tasks: set[asyncio.Task[None]] = set()

        async def write(index: int) -> None:
            started = shares.change(+1)
            outcome: Generation | Exception
            try:
                outcome = await self._write(requests[index])
            except Exception as error:
                outcome = error
            seconds = shares.change(-1) - started
            if isinstance(outcome, Generation):
                outcome = replace(outcome, seconds=seconds)
            finished.put_nowait((index, outcome))

        waiting, in_flight, done = iter(range(len(requests))), 0, 0
        failure: Exception | None = None
        deadline: float | None = None
        try:
            while True:
                for index in islice(waiting, 0 if failure else self.options.num_concurrent - in_flight):
                    task = loop.create_task(write(index))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    in_flight += 1
                if not in_flight:
                    break
                try:
                    arrived = [_outside_loops(runner.run, _first(finished, deadline))]
                except TimeoutError:
                    break
                while not finished.empty():
                    arrived.append(finished.get_nowait())
                in_flight -= len(arrived)
                for index, outcome in arrived:
                    if isinstance(outcome, Generation):
                        done += 1
                        yield index, outcome
                    elif failure is None:
                        # One prompt that is too long should not cost the texts that are nearly there.
                        failure, deadline = outcome, loop.time() + _GRACE_S
            if isinstance(failure, RefineEvalError):
                raise type(failure)(
                    f"{failure}; {done} of {len(requests)} texts are written and stored, and the same command goes on "
                    f"from there."
                )
            if failure is not None:
                raise failure
        finally:  # also where the caller stops listening, and on Ctrl-C
            left = [task for task in tasks if not task.done()]
            for task in left:
                task.cancel()
            if left:
                _outside_loops(runner.run, _ended(left))

    async def _write(self, request: Request) -> Generation:
        import openai

        sampling, stops = request.sampling, [stop for stop in request.sampling.stop if stop]
        try:
            answer = await self._client.completions.with_raw_response.create(
                model=self._model,
                prompt=request.prompt,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=request.seed,
                stop=stops or openai.omit,
            )
        except openai.OpenAIError as error:
            # "from None": what the server said may hold the key.
            raise self._explained(error, request.problem.id) from None
        body = answer.http_response
        try:
            content = body.json()
            choice, usage = content["choices"][0], content.get("usage") or {}
            text, reason, tokens = choice["text"], choice.get("finish_reason"), usage.get("completion_tokens") or 0
            if not isinstance(text, str) or not isinstance(tokens, int) or reason in ("abort", "error"):
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError):
            raise GenerationError(
                f"The server at {self._url} answered with something else than a completion for problem "
                f"{request.problem.id} ({self._said(body.text)}); check that base_url is an OpenAI-compatible server's"
            ) from None
        cut = text
        for stop in stops:
            cut = cut.split(stop, 1)[0]
        ended = "length" if reason == "length" and cut == text else "stop"
        return Generation(text=cut, tokens=tokens, finish_reason=ended)

    def _explained(self, error: openai.OpenAIError, problem: str) -> RefineEvalError:
        """What to say of a request that failed for good; without the full stop, as a count follows."""
        import openai

        attempts = f"{self.options.max_retries + 1} attempts" if self.options.max_retries else "one attempt"
        if isinstance(error, openai.APITimeoutError):
            return GenerationError(
                f"The server at {self._url} did not answer within {self.options.timeout:g} s in {attempts} for problem "
                f"{problem}; pass a higher timeout or a lower num_concurrent in --model-args"
            )
        if not isinstance(error, openai.APIStatusError):
            return GenerationError(
                f"The connection to the server at {self._url} failed in {attempts} for problem {problem}; see whether "
                f"it still runs"
            )
        status, said = error.status_code, self._said(_message(error))
        if status in (401, 403):
            return self._key_rejected(status)
        if status < 500 and _TOO_LONG.search(said):
            return GenerationError(
                f"Problem {problem} does not fit into the model's context ({said}); lower --max-gen-toks or use fewer "
                f"few-shot examples (--num-fewshot)"
            )
        if status >= 500 or status in (408, 409, 429):
            return GenerationError(
                f"The server at {self._url} still answers {status} ({said}) after {attempts} for problem {problem}; "
                f"see its log, or pass a lower num_concurrent or more max_retries in --model-args"
            )
        hint = "; base_url usually ends in /v1" if status == 404 else ""
        return GenerationError(f"The server at {self._url} refuses problem {problem} with {status} ({said}){hint}")

    async def _served(self) -> list[str] | None:
        """The models that the server lists; None where it keeps no list."""
        import openai

        quick = self._client.with_options(timeout=_OPEN_TIMEOUT_S, max_retries=1)
        try:
            answer = await quick.models.with_raw_response.list()
            return [str(entry["id"]) for entry in answer.http_response.json()["data"]]
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise self._key_rejected(error.status_code) from None
            if error.status_code in (404, 405, 501):
                return None
            raise ModelError(
                f"The server at {self._url} answers {error.status_code} when asked for its models "
                f"({self._said(_message(error))}); see its log."
            ) from None
        except openai.OpenAIError:
            wanted = self.options.model or "MODEL"
            raise ModelError(f"No server answers at {self._url}; start one with: vllm serve {wanted}") from None
        except (ValueError, LookupError, TypeError):
            raise ModelError(
                f"What answers at {self._url} is no OpenAI-compatible server; base_url usually ends in /v1"
            ) from None

    def _choose(self, served: list[str] | None) -> str:
        """The model to ask for; ModelError where the server has no such, UsageError where it must be named."""
        model, option = self.options.model, self.option_name.rstrip("=")
        if model and (served is None or model in served):
            return model
        if not model and served is not None and len(served) == 1:
            return served[0]
        listed = f" It has: {self._said(', '.join(served))}." if served else ""
        if model:
            raise ModelError(
                f"The server at {self._url} has no model {model!r}.{nearest(model, served or ())}{listed} "
                f"Name one with {option}"
            )
        raise UsageError(f"The engine server needs the model's name: pass {option}=NAME.{listed}")

    def _key_rejected(self, status: int) -> ModelError:
        return ModelError(
            f"The server at {self._url} rejects the key ({status}): set the environment variable {KEY_VARIABLE} to one "
            f"that it accepts"
        )

    def _said(self, text: str) -> str:
        """Somebody else's text for one of our sentences: a short line, harmless to a terminal, without the key."""
        if self._key:
            text = text.replace(self._key, f"[{KEY_VARIABLE}]")  # before trimming, which could leave a part of it
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split()).rstrip(".")
        return text if len(text) <= _TRIMMED else f"{text[:_TRIMMED]}..."


class _Shares:
    """Shares out the wall time among the texts in flight: a clock that runs at 1/n of a second's speed for n texts."""

    def __init__(self) -> None:
        self._clock, self._running, self._last = 0.0, 0, time.perf_counter()

    def change(self, by: int) -> float:
        """One text more or less from now on; what the clock shows, in seconds."""
        now = time.perf_counter()
        if self._running:
            self._clock += (now - self._last) / self._running
        self._last = now
        self._running += by
        return self._clock


async def _first(finished: asyncio.Queue[_Finished], deadline: float | None) -> _Finished:
    import asyncio

    async with asyncio.timeout_at(deadline):
        return await finished.get()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    import asyncio

    await asyncio.wait(tasks)


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):  # the HTTP client would name it in its error
        raise ModelError(f"{KEY_VARIABLE} holds characters that no key has; set it again.")
    return key


def _message(error: openai.APIStatusError) -> str:
    """The server's own words, out of OpenAI's form or FastAPI's, or else the whole answer."""
    body: Any = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail")
    return str(body or error.response.text)


def _outside_loops(call: Callable[..., T], *arguments: Any) -> T:
    """Calls what runs an event loop; in a thread of its own where this one runs a loop already, as in a notebook."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call(*arguments)
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(call, *arguments).result()
