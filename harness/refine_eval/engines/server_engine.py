"""The engine for models behind an HTTP server that speaks OpenAI's API: vLLM, SGLang, llama.cpp, OpenAI."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from refine_eval.data import Generation, Message, Request
from refine_eval.engines.server.answers import (
    BadAnswerError,
    OtherModelError,
    may_be_the_seed,
    read_choices,
    read_completion,
    read_models,
    wants_other_limit,
)
from refine_eval.engines.server.complaints import Complaints
from refine_eval.engines.server.options import CHAT, KEY_VARIABLE, ServerOptions
from refine_eval.engines.server.replies import Reply, TooSlowError, UnreachableError, UnusableError
from refine_eval.errors import ModelError, RefineEvalError, UsageError, missing_extra
from refine_eval.files import expanded
from refine_eval.formats import as_messages, cut_at_stops, prefill_of
from refine_eval.plugin.components import Engine
from refine_eval.plugin.runtime import EngineRuntime

if TYPE_CHECKING:
    import asyncio

    from refine_eval.engines.server.client import Client

__all__ = ["KEY_VARIABLE", "ServerEngine", "ServerOptions"]

_OPEN_TIMEOUT_S = 10.0
_GRACE_S = 10.0
_COMPLETIONS = "/completions"
_NOT_THERE = (404, 405, 501)
_SEED_BITS = 2**31 - 1  # some servers read seeds as signed numbers of 32 bits

_Finished = tuple[int, Generation | Exception]
T = TypeVar("T")


class ServerEngine(Engine):
    """A model behind a server with OpenAI's API, such as `vllm serve`: --model-args base_url=URL,model=NAME

    Plain prompts go to its completions, messages to its chat completions, whose template is the server's; with
    `chat=true` all prompts are messages. A begun answer is continued as vLLM's server does it.

    At most `num_concurrent` requests are in flight; the others wait unmade. A request is sent again, later each time,
    where the server is busy or the connection fails. `Generation.tokens` is what the server counts, 0 where it does not
    say. `Generation.seconds` are shares of the wall time: while n texts are in flight each is charged 1/n of every
    second, retries included. Only sampled texts are requested with a seed: of 63 bits or, where the server refuses
    that, its lower 31. What a server's reasoning parser takes out of an answer is the thought.

    The key is read from OPENAI_API_KEY and written nowhere. Neither it nor a prompt follows a redirect to another host.
    The environment's proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) are used, except for servers on this
    machine.
    """

    name = "server"
    accepts_pretrained = False
    takes_messages = True
    can_choose = True
    Options = ServerOptions
    options: ServerOptions

    option_name = "--model-args model="

    _runner: asyncio.Runner | None = None

    def open(self, runtime: EngineRuntime) -> None:
        """Asks the server once for its models; ModelError where none answers or it lacks the model."""
        options = self.options
        if not options.base_url:
            raise UsageError(
                f"The engine server needs an address: pass {self.option_name.partition(' ')[0]} "
                "base_url=http://localhost:8000/v1,model=NAME"
            )
        if self.chat and self.chat.template:
            raise UsageError(
                f"The engine server leaves the chat template to the server, so write --apply-chat-template without "
                f"{self.chat.template!r}."
            )
        import asyncio

        try:
            from refine_eval.engines.server.client import Client
        except ImportError:
            raise ModelError(missing_extra("aiohttp", "server")) from None

        url = options.base_url.rstrip("/")
        self._url = url.removesuffix(CHAT).removesuffix(_COMPLETIONS).rstrip("/")  # lm-eval's forms too
        key = _key()
        self._client: Client = Client(self._url, key, options.num_concurrent)
        self._complaints = Complaints(
            self._url,
            key,
            attempts=options.max_retries + 1,
            timeout=options.timeout,
            proxied=self._client.proxy is not None,
        )
        self._short_seeds = self._other_limit = False
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        _outside_loops(self._runner.run, self._client.open())
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
    def preferred_batch_size(self) -> int:
        """All that may be in flight."""
        return self.options.num_concurrent

    @property
    def only_messages(self) -> bool:
        """As the options say."""
        return self.options.chat

    def cache_key_of(self, request: Request) -> str:
        """The prompt, as text or as the messages that are sent."""
        messages = self._messages(request)
        return super().cache_key_of(replace(request, prompt=messages) if messages else request)

    def _messages(self, request: Request) -> tuple[Message, ...] | None:
        """The messages of a request for chat completions; None for completions. A text may be a user's message."""
        plain = isinstance(request.prompt, str) and not self.only_messages
        return None if plain else as_messages(request.prompt)

    def identity(self) -> str:
        """The server's address, or the option `identity`, and its name for the model; its weights are not seen here."""
        return f"server:{self.options.identity or self._url}:{self._model}"

    def for_model(self, model: str) -> Engine | None:
        """Another model of the same server, such as a LoRA adapter; None for a folder or file, which is opened here."""
        return None if os.path.exists(expanded(model)) else type(self)(replace(self.options, model=model))

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, generation) as answers arrive.

        Unwritten stay prompts that the server says are too long, and what it or its model holds back (a content
        filter, an answer without a text).
        GenerationError or ModelError, naming the problem, where it refuses a request otherwise or does not answer it
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
                        # What is wrong with the server should not cost the texts that are nearly there.
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

    def choose(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, log-probabilities) as answers arrive, as `generate` does.

        A server names its likeliest tokens alone, 5 after a text and 20 in a chat. A choice that is none of them, or
        takes several tokens, is missing: its logarithm is at most the `logprob_bound`.
        """
        return self.generate(requests)

    async def _write(self, request: Request) -> Generation:
        sampling, problem = request.sampling, request.problem.id
        try:
            reply = await self._complete(request)
        except (UnreachableError, TooSlowError, UnusableError) as error:
            raise self._complaints.no_answer(error, problem) from None
        if reply.status >= 300:
            if why := self._complaints.unwritten(reply):
                return Generation.without_text(why)
            chat, prefilled = self._messages(request) is not None, bool(prefill_of(request.prompt))
            chat_only = not chat and await self._chat_only(reply)
            raise self._complaints.refusal(reply, problem, chat=chat, prefilled=prefilled, chat_only=chat_only)
        try:
            # Who says which model it is knows better than the server, whose names for it may differ.
            model = None if self.options.identity else self._model
            chat = self._messages(request) is not None
            completion = read_completion(reply.body, model, sampling.max_tokens, chat=chat)
            told = read_choices(reply.body, request.choices) if request.choices else None
        except (BadAnswerError, OtherModelError) as error:
            raise self._complaints.bad_answer(error, reply.body, problem, self._model) from None
        if told is not None:
            prompt, cached = completion.prompt_tokens, completion.cached_tokens
            return Generation.of_choices(told[0], bound=told[1], prompt_tokens=prompt, cached_tokens=cached)
        if completion.unwritten is not None:
            return Generation.without_text(self._complaints.said(completion.unwritten))
        text = cut_at_stops(completion.text, sampling.stop)
        ended = "length" if completion.cut_off and text == completion.text else "stop"
        return Generation(
            text=text,
            tokens=completion.tokens,
            finish_reason=ended,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            thought=completion.thought,
        )

    async def _complete(self, request: Request) -> Reply:
        """The server's reply to a request, which has a seed where the text is sampled."""
        sampling, messages = request.sampling, self._messages(request)
        path = _COMPLETIONS if messages is None else CHAT
        body: dict[str, Any] = {
            "model": self._model,
            **({"prompt": request.prompt} if messages is None else self._chat_fields(messages)),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if stops := [stop for stop in sampling.stop if stop]:
            body["stop"] = stops
        if request.choices:
            body |= {"logprobs": 5} if messages is None else {"logprobs": True, "top_logprobs": 20}
        if not sampling.temperature or not self.options.send_seed:
            return await self._limited(path, body)
        # The same bits for every text of the server, whichever request found out that it takes no more of them.
        short = request.seed & _SEED_BITS
        seed = short if self._short_seeds else request.seed
        reply = await self._limited(path, {**body, "seed": seed})
        # What was sent decides: while it was under way another request may have found it out.
        if seed != short and may_be_the_seed(reply):
            again = await self._limited(path, {**body, "seed": short})
            if again.status < 300:
                self._short_seeds = True
                return again
        return reply

    def _chat_fields(self, messages: Sequence[Message]) -> dict[str, Any]:
        """What a request has in place of a prompt; prefill and thinking in the words of vLLM's server."""
        fields: dict[str, Any] = {"messages": [{"role": m.role, "content": m.content} for m in messages]}
        if messages[-1].role == "assistant":
            fields |= {"continue_final_message": True, "add_generation_prompt": False}
        if self.chat and self.chat.enable_thinking is not None:
            fields["chat_template_kwargs"] = {"enable_thinking": self.chat.enable_thinking}
        return fields

    async def _limited(self, path: str, body: dict[str, Any]) -> Reply:
        """The reply to a body, whose limit has the name that the server takes; it is found out once."""
        if not self._other_limit:
            reply = await self._post(path, body)
            if path != CHAT or not wants_other_limit(reply):
                return reply
            self._other_limit = True
        other = {"max_completion_tokens" if name == "max_tokens" else name: value for name, value in body.items()}
        return await self._post(path, other if path == CHAT else body)

    async def _post(self, path: str, body: dict[str, Any]) -> Reply:
        content = json.dumps(body, ensure_ascii=False).encode()
        return await self._client.ask(path, content, timeout=self.options.timeout, retries=self.options.max_retries)

    async def _chat_only(self, reply: Reply) -> bool:
        """Whether a server without completions has chat completions; it is asked without a prompt."""
        if reply.status not in _NOT_THERE:
            return False
        body = json.dumps({"model": self._model, "messages": []}).encode()
        try:
            chat = await self._client.ask(CHAT, body, timeout=_OPEN_TIMEOUT_S, retries=0)
        except (UnreachableError, TooSlowError, UnusableError):
            return False
        return chat.status < 500 and chat.status not in _NOT_THERE

    async def _served(self) -> list[str] | None:
        """The models that the server lists; None where it keeps no list."""
        try:
            reply = await self._client.ask("/models", timeout=_OPEN_TIMEOUT_S, retries=1)
        except (UnreachableError, TooSlowError, UnusableError) as error:
            raise self._complaints.not_opened(error, self.options.model) from None
        if reply.status in _NOT_THERE:
            return None
        try:
            if reply.status < 300:
                return read_models(reply.body)
        except BadAnswerError:
            pass
        raise self._complaints.no_list(reply)

    def _choose(self, served: list[str] | None) -> str:
        """The model to ask for; ModelError where the server has no such, UsageError where it must be named."""
        model = self.options.model
        if model and (served is None or model in served):
            return model
        if not model and served is not None and len(served) == 1:
            return served[0]
        raise self._complaints.no_model(model, served or (), self.option_name.rstrip("="))


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
