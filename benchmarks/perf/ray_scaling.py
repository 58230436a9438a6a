"""How replicas scale: texts per second of 1, 2 and 16 Ray actors whose engine waits instead of computing.

    python benchmarks/perf/ray_scaling.py

The engine takes `--wait` seconds a text, one after the other, as a busy GPU or server would; so what is missing to N
times one replica is what handing out the requests and carrying the texts cost. All get the same requests. Starting is
not timed but shown; medians of `--runs` rounds. Prints a table and a line of JSON.
"""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common import CPU, parser_of, requests_of

from refine_eval.data import Generation, Request, Sampling
from refine_eval.engines.replicas.engine import ReplicatedEngine
from refine_eval.plugin.components import Engine

TARGETS = {2: 1.9, 16: 14.0}


@dataclass(frozen=True, kw_only=True)
class WaitingOptions:
    """Seconds a text."""

    wait: float = 0.05


class WaitingEngine(Engine):
    """Waits, and writes ten lines."""

    name = "waiting"
    Options = WaitingOptions
    accepts_pretrained = False

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        for index in range(len(requests)):
            time.sleep(self.options.wait)
            yield index, Generation(text="7 + 5 = 12\n" * 10, tokens=60, finish_reason="stop")


def requests(count: int) -> list[Request]:
    """Prompts of 4 KB, as few-shot ones are."""
    return requests_of(("Question: " + f"{i} apples? " * 350 for i in range(count)), Sampling(max_tokens=256))


def measure(workers: int, wanted: list[Request], wait: float, runs: int) -> dict[str, Any]:
    """Seconds to start, and of each round."""
    engine = ReplicatedEngine(WaitingEngine(WaitingOptions(wait=wait)), workers=workers, note=print)
    began = time.perf_counter()
    engine.open(CPU)
    start, seconds = time.perf_counter() - began, []
    try:
        for _ in range(runs):
            began = time.perf_counter()
            found = {index for index, _ in engine.generate(wanted)}
            seconds.append(time.perf_counter() - began)
            assert len(found) == len(wanted)
    finally:
        engine.close()
    return {"workers": workers, "start_s": round(start, 2), "seconds": [round(s, 3) for s in seconds]}


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 16])
    parser.add_argument("--requests", type=int, default=640)
    parser.add_argument("--wait", type=float, default=0.05, help="seconds a text")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    wanted = requests(arguments.requests)
    rows = [measure(n, wanted, arguments.wait, arguments.runs) for n in arguments.workers]
    one = statistics.median(rows[0]["seconds"])
    print(f"{'replicas':>8} {'start s':>8} {'median s':>9} {'texts/s':>8} {'speed-up':>9} {'target':>7}")
    for row in rows:
        median = statistics.median(row["seconds"])
        row["speed_up"] = round(one / median * rows[0]["workers"], 2)
        target = TARGETS.get(row["workers"], "")
        print(
            f"{row['workers']:>8} {row['start_s']:>8.1f} {median:>9.2f} {len(wanted) / median:>8.1f} "
            f"{row['speed_up']:>8.2f}x {target:>7}"
        )
    print(json.dumps({"requests": len(wanted), "wait_s": arguments.wait, "rows": rows}))


if __name__ == "__main__":
    main()
