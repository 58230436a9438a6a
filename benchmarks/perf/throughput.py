"""Problems per second of the transformers engine against lm-eval's `hf`, on the same greedy work.

    python benchmarks/perf/throughput.py --model FOLDER --prompts apples:400 --until "Question:" --max-gen-toks 128
    python benchmarks/perf/throughput.py --model FOLDER --prompts SVAMP.json:50 --until "Question:"

Both sides get the same prompts, stop strings, limit, weights and threads, in float32, in turn in one process. lm-eval
tries `--lm-eval-batch-sizes` once and keeps its best; then `--runs` rounds are timed and medians compared. Loading
is not timed. Prints a table and a line of JSON. Where other work shares the machine, --threads 1 --clock cpu gives
steadier ratios: threads that wait for one another suffer most from it.
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refine_eval.data import Problem, Request, Sampling
from refine_eval.formats import student_prompt


class Here:
    """The part of a Runtime that an engine looks at."""

    seed, device, dtype, batch_size = 0, "cpu", "float32", None


def read_prompts(source: str) -> list[str]:
    """ "apples:N", "SVAMP.json:N" or a file with one JSON string a line."""
    path, _, count = source.partition(":")
    limit = int(count) if count else None
    if path == "apples":
        from refine_eval_benchmarks.apples import generate

        return [student_prompt(row["question"]) for row in generate("test", limit or 400)]
    if path.endswith("SVAMP.json"):
        rows = json.loads(Path(path).read_text())[:limit]
        return [student_prompt(f"{row['Body'].rstrip('.')}, {row['Question']}") for row in rows]
    return [json.loads(line) for line in Path(path).read_text().splitlines()][:limit]


def ours(model: str, prompts: list[str], sampling: Sampling, batch_size: int | None) -> Callable[[], list[str]]:
    """A function that writes all texts with our engine."""
    from refine_eval.engines.transformers_engine import TransformersEngine

    engine = TransformersEngine(TransformersEngine.Options(pretrained=model, batch_size=batch_size))
    engine.open(Here())  # type: ignore[arg-type]
    problems = [Problem(id=f"p/{i}", task="p", question=p, prompt=p) for i, p in enumerate(prompts)]
    requests = [
        Request(problem=p, prompt=p.prompt, sampling=sampling, stage="draft", sample=0, seed=0) for p in problems
    ]

    def run() -> list[str]:
        texts = [""] * len(requests)
        for index, generation in engine.generate(requests):
            texts[index] = generation.text
        return texts

    return run


def lm_eval(model: str, prompts: list[str], sampling: Sampling) -> tuple[Callable[[], list[str]], Any]:
    """A function that writes all texts with lm-eval's hf model, and the model, whose batch size may be set."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    served = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=1)
    settings = {"until": list(sampling.stop), "max_gen_toks": sampling.max_tokens, "do_sample": False}
    instances = [Instance("generate_until", {}, (p, settings), i) for i, p in enumerate(prompts)]
    return lambda: served.generate_until(instances, disable_tqdm=True), served


def timed(run: Callable[[], list[str]], clock: Callable[[], float]) -> tuple[float, list[str]]:
    """Seconds and texts of one round."""
    with contextlib.redirect_stdout(io.StringIO()):
        started = clock()
        texts = run()
        return clock() - started, texts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", default="apples:400")
    parser.add_argument("--until", action="append", default=[])
    parser.add_argument("--max-gen-toks", type=int, default=128)
    parser.add_argument("--batch-size", type=int, help="ours; default: automatic")
    parser.add_argument("--lm-eval-batch-sizes", default="16,64,256")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine with other work")
    args = parser.parse_args()

    clock = time.perf_counter if args.clock == "wall" else time.process_time
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    prompts = read_prompts(args.prompts)
    sampling = Sampling(max_tokens=args.max_gen_toks, stop=tuple(args.until))
    run_ours = ours(args.model, prompts, sampling, args.batch_size)
    run_theirs, served = lm_eval(args.model, prompts, sampling)

    tried = {}
    for size in map(int, args.lm_eval_batch_sizes.split(",")):
        served.batch_size_per_gpu = size
        tried[size] = timed(run_theirs, clock)[0]
        print(f"lm-eval with batch size {size}: {len(prompts) / tried[size]:.2f} problems/s", flush=True)
    served.batch_size_per_gpu = min(tried, key=lambda size: tried[size])
    run_ours()

    seconds: dict[str, list[float]] = {"refine-eval": [], "lm-eval": []}
    same = 0
    for _ in range(args.runs):
        spent, texts = timed(run_ours, clock)
        seconds["refine-eval"].append(spent)
        spent, expected = timed(run_theirs, clock)
        seconds["lm-eval"].append(spent)
        same = sum(a == b for a, b in zip(texts, expected, strict=True))

    print(f"{'':14}{'problems/s':>12}{'lowest':>10}{'highest':>10}")
    for name, values in seconds.items():
        rates = sorted(len(prompts) / value for value in values)
        print(f"{name:14}{statistics.median(rates):12.2f}{rates[0]:10.2f}{rates[-1]:10.2f}")
    ratio = statistics.median(seconds["lm-eval"]) / statistics.median(seconds["refine-eval"])
    print(f"ratio {ratio:.2f}; equal texts {same} of {len(prompts)}; lm-eval's batch size {served.batch_size_per_gpu}")
    print(json.dumps({"ratio": ratio, "equal": same, "problems": len(prompts), "seconds": seconds, "tried": tried}))


if __name__ == "__main__":
    main()
