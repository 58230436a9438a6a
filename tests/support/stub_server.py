"""A small HTTP server with OpenAI's API, in a thread: what it answers, a test decides; and who asks it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from refine_eval.data import Problem, Request, Sampling
from refine_eval.engines.server_engine import ServerEngine
from refine_eval.testing import ToyRuntime

MODELS = ("student",)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer after `delay` seconds; `cut`: the connection ends in the middle of the body.

    `headers` are further lines of its head; `drip` seconds pass before each byte of the body; `endless`: the body never
    ends; `raw`: all of it, in place of everything else.
    """

    body: Any = None
    status: int = 200
    delay: float = 0.0
    cut: bool = False
    headers: tuple[str, ...] = ()
    drip: float = 0.0
    endless: bool = False
    raw: bytes = b""

    def encoded(self) -> bytes:
        if self.raw:
            return self.raw
        return self.head() + (self.content()[: len(self.content()) // 2] if self.cut else self.content())

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def head(self) -> bytes:
        length = 2**60 if self.endless else len(self.content())
        lines = ("Content-Type: application/json", f"Content-Length: {length}", *self.headers)
        return "\r\n".join((f"HTTP/1.1 {self.status} -", *lines, "", "")).encode()

    async def write(self, writer: asyncio.StreamWriter) -> None:
        """Sends it; ConnectionError when a client that had enough hangs up."""
        if not self.drip and not self.endless:
            writer.write(self.encoded())
            return await writer.drain()
        writer.write(self.head())
        content = self.content()
        for at in count():
            if at >= len(content) and not self.endless:
                return None
            if self.drip:
                await asyncio.sleep(self.drip)
            size = 1 if self.drip else 2**16
            writer.write(content[at : at + size].ljust(size))
            await writer.drain()


def completion(text: str, tokens: int = 3, reason: str = "stop", **changes: Any) -> dict[str, Any]:
    """The body of an answer, in OpenAI's form."""
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
    return {"id": "c", "object": "text_completion", "choices": [choice], "usage": usage, **changes}


def chat_completion(content: Any, tokens: int = 3, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """The body of a chat's answer; `message` has what else the message holds."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}
    return {**completion("", tokens), "object": "chat.completion", "choices": [choice]}


def error(status: int, message: str) -> Reply:
    """A refusal, in OpenAI's form."""
    return Reply(status=status, body={"error": {"message": message, "type": "stub", "code": status}})


def models(*names: str) -> Reply:
    """The list of models."""
    return Reply(body={"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


@dataclass
class StubServer:
    """`answer(body, number)` makes the reply to the completion request number 0, 1, ... in order of arrival.

    `requests` are the bodies received, `headers` those of the latest; `most` the highest number in flight at once.
    `chat` answers chat completions, whose bodies are `chats`; None: there are none, as with `answer`.
    """

    answer: Callable[[dict[str, Any], int], Reply] | None = None
    listed: Reply = field(default_factory=lambda: models(*MODELS))
    chat: Callable[[dict[str, Any], int], Reply] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    chats: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: str = ""
    connections: int = 0
    in_flight: int = 0
    most: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> StubServer:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, started: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(_ended(left))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client is gone, or the test over
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lengths = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
        content = await reader.readexactly(int(lengths[0].split(":")[1])) if lengths else b""
        path = head.split()[1]
        self.paths.append(path)
        if path.endswith("/models") or head.startswith("CONNECT "):  # the latter asks a proxy
            self.headers = head
            reply = self.listed
        else:
            received, answer = (
                (self.chats, self.chat) if path.endswith("/chat/completions") else (self.requests, self.answer)
            )
            reply = await self._until_gone(reader, self._complete(json.loads(content), head, received, answer))
        await reply.write(writer)
        return not reply.cut

    async def _complete(
        self,
        body: dict[str, Any],
        head: str,
        received: list[dict[str, Any]],
        answer: Callable[[dict[str, Any], int], Reply] | None,
    ) -> Reply:
        number = len(received)
        received.append(body)
        self.headers = head
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            reply = answer(body, number) if answer else error(404, "Not Found")
            await asyncio.sleep(reply.delay)
            return reply
        finally:
            self.in_flight -= 1

    @staticmethod
    async def _until_gone(reader: asyncio.StreamReader, work: Coroutine[Any, Any, Reply]) -> Reply:
        """The work's result; given up, as servers do, when the client hangs up."""
        working, gone = asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            raise ConnectionResetError
        gone.cancel()
        await asyncio.wait((gone,))
        return working.result()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


# The engine against it.


def echo(body: dict[str, Any], number: int = 0) -> Reply:
    return Reply(body=completion(f"re: {body['prompt']}", tokens=len(body["prompt"])))


def requests(count: int, **sampling: Any) -> list[Request]:
    problems = [Problem(id=f"p/{i}", task="p", question=f"q{i}", prompt=f"prompt {i}") for i in range(count)]
    settings = Sampling(**{"max_tokens": 16, **sampling})
    return [
        Request(problem=p, prompt=p.prompt, sampling=settings, purpose="draft", sample=0, seed=2**62 + i)
        for i, p in enumerate(problems)
    ]


@contextmanager
def opened(server: StubServer | str, **options: Any) -> Iterator[ServerEngine]:
    url = server if isinstance(server, str) else server.url
    engine = ServerEngine(ServerEngine.Options(**{"base_url": url, "max_retries": 1, **options}))
    engine.open(ToyRuntime())
    try:
        yield engine
    finally:
        engine.close()
