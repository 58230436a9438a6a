"""Where a step of the transformers engine spends its time on a CPU, and how near its matrix work is to the machine's.

    python benchmarks/perf/step_limits.py --model FOLDER --rows 64 --length 300 --dtype bfloat16

A step writes one token of each of `--rows` texts of `--length` tokens. Its parts are told apart by torch's profiler,
after some steps to warm up; medians of `--steps` steps, in all of which all texts are written. The machine's own rates
are measured beside it: the fastest of three products of large matrices, and of three sums over memory that no cache
holds. A step takes at least as long as the slower of two: to read all weights once, and to multiply them with all rows.
Prints a table and a line of JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from common import parser_of

CHOOSING = ("choose",)
PARTS = {
    "linear layers": ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::linear"),
    "attention": ("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::bmm", "aten::_softmax", "aten::softmax"),
    "choosing tokens": CHOOSING,
}


def best(work: Callable[[], Any], amount: float) -> float:
    """The highest rate of three rounds, after one to warm up."""
    work()
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        rates.append(amount / (time.perf_counter() - started))
    return max(rates)


def machine(dtype: Any) -> tuple[float, float]:
    """FLOP/s of a product of large matrices in this type, and bytes/s read from memory."""
    import torch

    size = 2048
    one, other = (torch.randn(size, size).to(dtype) for _ in range(2))
    memory = torch.ones(1 << 28)  # 1 GiB
    return best(lambda: one @ other, 2.0 * size**3), best(memory.sum, 4.0 * len(memory))


def profiled(decoder: Any, texts: list[Any], steps: int) -> list[dict[str, float]]:
    """For each of the last `steps` steps the milliseconds of each part, and of all; all texts are written at once."""
    from torch.profiler import ProfilerActivity, profile, record_function

    plain, choose = decoder._step, decoder._choose
    found: list[dict[str, float]] = []
    left = max(text.limit for text in texts) - 1

    def choosing(*args: Any) -> None:
        with record_function("choose"):
            choose(*args)

    def stepped(cache: Any, active: list[Any]) -> None:
        nonlocal left
        left -= 1
        if left >= steps:
            plain(cache, active)
            return
        assert len(active) == len(texts), "a step of fewer texts is another one"
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            started = time.perf_counter()
            plain(cache, active)
            whole = time.perf_counter() - started
        parts = dict.fromkeys(PARTS, 0.0)
        for event in seen.key_averages():
            for part, names in PARTS.items():
                if event.key in names:
                    parts[part] += (event.cpu_time_total if names == CHOOSING else event.self_cpu_time_total) / 1e3
        found.append({**parts, "all": whole * 1e3})

    decoder._step, decoder._choose = stepped, choosing
    for _ in decoder.run(texts):
        pass
    return found


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=300, help="tokens of a text when it is measured")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()

    import torch

    from refine_eval.engines.decoder.decoding import Decoder
    from refine_eval.engines.decoder.slot_model import SlotModel
    from refine_eval.engines.decoder.text import StopStrings, Text
    from refine_eval.models.loading import load_model
    from refine_eval.models.sources import resolve_model

    loaded = load_model(resolve_model(given.model, None), "AutoModelForCausalLM", "cpu", given.dtype)
    weights = sum(p.numel() for name, p in loaded.model.named_parameters() if "embed_tokens" not in name)
    if loaded.model.config.tie_word_embeddings:
        weights += loaded.model.get_input_embeddings().weight.numel()
    vocabulary, new = loaded.model.config.vocab_size, given.steps + 6
    drawn = torch.randint(vocabulary, (given.rows, given.length - new), generator=torch.Generator().manual_seed(0))
    texts = [
        Text(
            index=n,
            problem_id=str(n),
            prompt=row,
            limit=new,
            stops=StopStrings(loaded.tokenizer, ()),
            temperature=0.0,
            top_p=1.0,
            seed=n,
        )
        for n, row in enumerate(drawn.tolist())
    ]
    decoder = Decoder(SlotModel(loaded.model), frozenset(), rows=given.rows, prompt_tokens=given.rows * given.length)
    steps = profiled(decoder, texts, given.steps)
    flops, memory = machine(loaded.model.dtype)
    medians = {part: statistics.median(each[part] for each in steps) for part in steps[0]}
    work, size = 2.0 * weights * given.rows, float(weights * loaded.model.dtype.itemsize)
    bounds = {"multiplying": 1e3 * work / flops, "reading weights": 1e3 * size / memory}
    for part, spent in medians.items():
        print(f"{part:18}{spent:9.1f} ms{100 * spent / medians['all']:7.1f} %")
    for bound, least in bounds.items():
        share = 100 * least / medians["linear layers"]
        print(f"at least, {bound}: {least:.1f} ms, {share:.0f} % of the linear layers' time")
    rate = given.rows / medians["all"] * 1e3
    print(f"this machine: {flops / 1e9:.0f} GFLOP/s, {memory / 1e9:.1f} GB/s; the step: {rate:.0f} tokens/s")
    print(json.dumps({"parts_ms": medians, "bounds_ms": bounds, "flops": flops, "bytes": memory, "steps": len(steps)}))


if __name__ == "__main__":
    main()
