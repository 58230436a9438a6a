"""Problems per second of the transformers engine against lm-eval's `hf` or bare `model.generate`, on the same work.

    python benchmarks/perf/throughput.py --model FOLDER --prompts apples:400 --until "Question:" --max-gen-toks 128
    python benchmarks/perf/throughput.py --model FOLDER --prompts SVAMP.json:50 --until "Question:" --against generate

    python benchmarks/perf/throughput.py --model FOLDER --prompts SVAMP.json:50 --dtype bfloat16 --against float32

Both sides get the same prompts, stop strings, limit, weights and threads, in float32, greedy, in turn in one process;
with --dtype our side computes in another, and `--against float32` is our own engine.
The other side tries `--batch-sizes` once and keeps its best; then `--runs` rounds are timed and medians compared.
`generate` gets prompts sorted by length, padded on the left, and transformers' own stop strings. Loading is not timed.
Prints a table and a line of JSON. Where other work shares the machine, --threads 1 --clock cpu gives
steadier ratios: threads that wait for one another suffer most from it.
"""

import json
from collections.abc import Callable
from typing import Any

from common import (
    Writer,
    add_timing_options,
    clock_of,
    in_turn,
    our_writer,
    parser_of,
    print_rates,
    ratio_of,
    read_prompts,
    timed,
)

from refine_eval.data import Sampling


def lm_eval(model: str, prompts: list[str], sampling: Sampling) -> Callable[[int], Writer]:
    """For a batch size, a function that writes all texts with lm-eval's hf model."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    served = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=1)
    settings = {"until": list(sampling.stop), "max_gen_toks": sampling.max_tokens, "do_sample": False}
    instances = [Instance("generate_until", {}, (p, settings), i) for i, p in enumerate(prompts)]

    def of_size(size: int) -> Writer:
        served.batch_size_per_gpu = size
        return lambda: served.generate_until(instances, disable_tqdm=True)

    return of_size


def generate(model: str, prompts: list[str], sampling: Sampling) -> Callable[[int], Writer]:
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


def ours_in_float32(model: str, prompts: list[str], sampling: Sampling) -> Callable[[int], Writer]:
    """For a batch size, a function that writes all texts with our engine in float32."""
    return lambda size: our_writer(model, prompts, sampling, size)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", default="apples:400")
    parser.add_argument("--until", action="append", default=[])
    parser.add_argument("--max-gen-toks", type=int, default=128)
    parser.add_argument("--batch-size", type=int, help="ours; default: automatic")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="ours")
    parser.add_argument("--against", choices=["lm-eval", "generate", "float32"], default="lm-eval")
    parser.add_argument("--batch-sizes", default="16,64,256", help="of the other side")
    add_timing_options(parser)
    args = parser.parse_args()

    clock = clock_of(args)
    prompts = read_prompts(args.prompts)
    sampling = Sampling(max_tokens=args.max_gen_toks, stop=tuple(args.until))
    run_ours = our_writer(args.model, prompts, sampling, args.batch_size, args.dtype)
    sides = {"lm-eval": lm_eval, "generate": generate, "float32": ours_in_float32}
    other = sides[args.against](args.model, prompts, sampling)

    tried = {}
    for size in map(int, args.batch_sizes.split(",")):
        tried[size] = timed(other(size), clock)[0]
        print(f"{args.against} with batch size {size}: {len(prompts) / tried[size]:.2f} problems/s", flush=True)
    best = min(tried, key=lambda size: tried[size])
    run_theirs = other(best)
    run_ours()

    seconds, same = in_turn({"refine-eval": run_ours, args.against: run_theirs}, args.runs, clock)
    print_rates(seconds, len(prompts))
    ratio = ratio_of(seconds, "refine-eval", args.against)
    print(f"ratio {ratio:.2f}; equal texts {same} of {len(prompts)}; {args.against}'s batch size {best}")
    print(json.dumps({"ratio": ratio, "equal": same, "problems": len(prompts), "seconds": seconds, "tried": tried}))


if __name__ == "__main__":
    main()
