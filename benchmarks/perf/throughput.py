"""Problems per second of the transformers engine against lm-eval's `hf` or bare `model.generate`, on the same work.

    python benchmarks/perf/throughput.py --model FOLDER --prompts apples:400 --until "Question:" --max-gen-toks 128
    python benchmarks/perf/throughput.py --model FOLDER --prompts SVAMP.json:50 --until "Question:" --against generate

Both sides get the same prompts, stop strings, limit, weights and threads, in float32, greedy, in turn in one process.
The other side tries `--batch-sizes` once and keeps its best; then `--runs` rounds are timed and medians compared.
`generate` gets prompts sorted by length, padded on the left, and transformers' own stop strings. Loading is not timed.
Prints a table and a line of JSON. Where other work shares the machine, --threads 1 --clock cpu gives
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
    """ "apples:N", "mixed:N" (apples after 0 to 3 solved ones), "SVAMP.json:N" or a file, one JSON string a line."""
    path, _, count = source.partition(":")
    limit = int(count) if count else None
    if path == "apples":
        from refine_eval_benchmarks.apples import generate

        return [student_prompt(row["question"]) for row in generate("test", limit or 400)]
    if path == "mixed":
        from refine_eval_benchmarks.apples import generate

        rows = list(generate("test", limit or 400))
        solved = [f"{student_prompt(row['question'])}{row['answer']}\n\n" for row in generate("train", len(rows) + 3)]
        return ["".join(solved[i : i + i % 4]) + student_prompt(row["question"]) for i, row in enumerate(rows)]
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


def lm_eval(model: str, prompts: list[str], sampling: Sampling) -> Callable[[int], Callable[[], list[str]]]:
    """For a batch size, a function that writes all texts with lm-eval's hf model."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    served = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=1)
    settings = {"until": list(sampling.stop), "max_gen_toks": sampling.max_tokens, "do_sample": False}
    instances = [Instance("generate_until", {}, (p, settings), i) for i, p in enumerate(prompts)]

    def of_size(size: int) -> Callable[[], list[str]]:
        served.batch_size_per_gpu = size
        return lambda: served.generate_until(instances, disable_tqdm=True)  # type: ignore[no-any-return]

    return of_size


def generate(model: str, prompts: list[str], sampling: Sampling) -> Callable[[int], Callable[[], list[str]]]:
    """For a batch size, a function that writes all texts with transformers' `generate`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    served = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    settings: dict[str, Any] = {"max_new_tokens": sampling.max_tokens, "do_sample": False}
    if sampling.stop:
        settings |= {"stop_strings": list(sampling.stop), "tokenizer": tokenizer}
    order = sorted(range(len(prompts)), key=lambda i: -len(tokenizer(prompts[i]).input_ids))

    def run(size: int) -> list[str]:
        texts = [""] * len(prompts)
        for batch in (order[at : at + size] for at in range(0, len(order), size)):
            inputs = tokenizer([prompts[i] for i in batch], padding=True, return_tensors="pt")
            ids, mask = inputs.input_ids, inputs.attention_mask
            output = served.generate(
                input_ids=ids, attention_mask=mask, pad_token_id=tokenizer.pad_token_id, **settings
            )
            new = tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
            for i, text in zip(batch, new, strict=True):
                for stop in sampling.stop:
                    text = text.split(stop, 1)[0]
                texts[i] = text
        return texts

    return lambda size: lambda: run(size)


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
    parser.add_argument("--against", choices=["lm-eval", "generate"], default="lm-eval")
    parser.add_argument("--batch-sizes", default="16,64,256", help="of the other side")
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
    other = {"lm-eval": lm_eval, "generate": generate}[args.against](args.model, prompts, sampling)

    tried = {}
    for size in map(int, args.batch_sizes.split(",")):
        tried[size] = timed(other(size), clock)[0]
        print(f"{args.against} with batch size {size}: {len(prompts) / tried[size]:.2f} problems/s", flush=True)
    best = min(tried, key=lambda size: tried[size])
    run_theirs = other(best)
    run_ours()

    seconds: dict[str, list[float]] = {"refine-eval": [], args.against: []}
    same = 0
    for _ in range(args.runs):
        spent, texts = timed(run_ours, clock)
        seconds["refine-eval"].append(spent)
        spent, expected = timed(run_theirs, clock)
        seconds[args.against].append(spent)
        same = sum(a == b for a, b in zip(texts, expected, strict=True))

    print(f"{'':14}{'problems/s':>12}{'lowest':>10}{'highest':>10}")
    for name, values in seconds.items():
        rates = sorted(len(prompts) / value for value in values)
        print(f"{name:14}{statistics.median(rates):12.2f}{rates[0]:10.2f}{rates[-1]:10.2f}")
    ratio = statistics.median(seconds[args.against]) / statistics.median(seconds["refine-eval"])
    print(f"ratio {ratio:.2f}; equal texts {same} of {len(prompts)}; {args.against}'s batch size {best}")
    print(json.dumps({"ratio": ratio, "equal": same, "problems": len(prompts), "seconds": seconds, "tried": tried}))


if __name__ == "__main__":
    main()
