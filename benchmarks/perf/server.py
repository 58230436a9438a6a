"""What the server engine costs beside waiting: many requests to a stub that answers each after a fixed time.

    python benchmarks/perf/server.py
    python benchmarks/perf/server.py --chat        # messages and chat completions

The stub is a process of its own, so that its processor time is not the engine's (it does share the cores). Ideal is
requests / concurrency * latency. Then as many requests again times `--more` are sent once in a process of their own,
to see whether memory grows with their number; the list of requests, which the caller holds anyway, is not counted.
Prints a table and a line of JSON.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from common import CPU, parser_of, requests_of

from refine_eval.data import Request, Sampling
from refine_eval.engines.server_engine import ServerEngine

PROMPT = "Question: Ann has 3 apples and buys 4 more. How many has she?\nAnswer:\n" * 8
TEXT = "3 + 4 = 7\n#### 7\n"


class Stub(asyncio.Protocol):
    """Answers after `latency` seconds, and does as little else as it can."""

    latency = 0.2

    def connection_made(self, transport: Any) -> None:
        self.transport, self.received, self.expected = transport, b"", 0

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.expected and b"\r\n\r\n" in self.received:
            head, _, _ = self.received.partition(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self.expected = len(head) + 4 + (int(lengths[0].split(b":")[1]) if lengths else 0)
        if self.expected and len(self.received) >= self.expected:
            listing, chat = self.received.startswith(b"GET"), b"/chat/completions" in self.received[:64]
            self.received, self.expected = self.received[self.expected :], 0
            asyncio.get_running_loop().call_later(0 if listing else self.latency, self.reply, listing, chat)

    def reply(self, listing: bool, chat: bool) -> None:
        said: dict[str, Any] = {"message": {"role": "assistant", "content": TEXT}} if chat else {"text": TEXT}
        choice = {"index": 0, **said, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 100, "completion_tokens": 12, "total_tokens": 112}
        body = {"data": [{"id": "stub"}]} if listing else {"id": "c", "choices": [choice], "usage": usage}
        content = json.dumps(body).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write(head.encode() + content)


async def serve(latency: float) -> None:
    """Serves until it is ended; prints the port first."""
    Stub.latency = latency
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def make_requests(count: int) -> list[Request]:
    """So many different requests."""
    sampling = Sampling(max_tokens=256, temperature=0.7, stop=("Question:",))
    return requests_of((f"{PROMPT}{i}" for i in range(count)), sampling)


def measure(url: str, count: int, concurrent: int, runs: int, chat: bool) -> dict[str, Any]:
    """Wall and processor seconds of each run, and by how many MB the process's highest memory grew."""
    engine = ServerEngine(ServerEngine.Options(base_url=url, num_concurrent=concurrent, chat=chat))
    engine.open(CPU)
    list(engine.generate(make_requests(2 * concurrent)))  # imports and connections, as any run has them once
    requests = make_requests(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, Any] = {"wall": [], "cpu": []}
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        tokens = sum(generation.tokens for _, generation in engine.generate(requests))
        found["wall"].append(time.perf_counter() - wall)
        found["cpu"].append(time.process_time() - cpu)
        assert tokens == 12 * count
    found["grown_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    engine.close()
    return found


def in_process(arguments: list[str]) -> dict[str, Any]:
    """The same measurement in a fresh process, whose highest memory is its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--requests", type=int, default=640)
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--more", type=int, default=10, help="how many times as many requests for the memory")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.latency))
        return
    if args.measure:
        print(json.dumps(measure(args.measure, args.requests, args.concurrent, args.runs, args.chat)))
        return

    stub = subprocess.Popen(
        [sys.executable, __file__, "--serve", "--latency", str(args.latency)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert stub.stdout is not None
        url = f"http://127.0.0.1:{int(stub.stdout.readline())}/v1"
        common = ["--measure", url, "--concurrent", str(args.concurrent), *["--chat"] * args.chat]
        few = in_process([*common, "--requests", str(args.requests), "--runs", str(args.runs)])
        many = in_process([*common, "--requests", str(args.more * args.requests), "--runs", "1"])
    finally:
        stub.terminate()
        stub.wait()

    ideal = args.requests / args.concurrent * args.latency
    median = statistics.median(few["wall"])
    outcome = {
        "requests": args.requests,
        "concurrent": args.concurrent,
        "seconds": round(median, 3),
        "ideal": ideal,
        "overhead": round(median - ideal, 3),
        "cpu_ms_per_request": round(1000 * statistics.median(few["cpu"]) / args.requests, 3),
        "many_requests": args.more * args.requests,
        "many_seconds": round(many["wall"][0], 3),
        "many_overhead": round(many["wall"][0] - args.more * ideal, 3),
        "grown_mb": round(few["grown_mb"], 1),
        "many_grown_mb": round(many["grown_mb"], 1),
    }
    load = os.getloadavg()[0]
    print(f"{args.requests} requests, {args.concurrent} in flight, {args.latency:g} s each, load {load:.1f}")
    print(f"seconds  {median:6.2f}  ({min(few['wall']):.2f}-{max(few['wall']):.2f}, median of {args.runs})")
    print(f"ideal    {ideal:6.2f}")
    print(f"overhead {median - ideal:6.2f}  ({outcome['cpu_ms_per_request']} ms of processor time a request)")
    print(f"memory   +{few['grown_mb']:.1f} MB; +{many['grown_mb']:.1f} MB for {args.more * args.requests} requests")
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
