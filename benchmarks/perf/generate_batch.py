"""Problems per second of our transformers engine against transformers' own continuous batching, `generate_batch`.

    python benchmarks/perf/generate_batch.py benchmarks/refine_eval_benchmarks/models/student --prompts apples:256
    python benchmarks/perf/generate_batch.py FOLDER --prompts SVAMP.json:32 --max-gen-toks 64

Both get the same prompts, limit, weights and threads, in float32 on the CPU, greedy, in turn in one process.
`generate_batch` knows no stop strings, so texts end at the end-of-text token or at the limit. Left to itself it makes a
cache as large as the machine's memory and does not come to an end on a CPU; here its cache has room for as many texts
as it writes at once. It tries `--batch-sizes` once and keeps its best; then `--runs` rounds are timed and medians
compared. Loading is not timed. Prints a table and a line of JSON.
"""

import json
import sys
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

PAGE = 256
"""Tokens in a page of the cache: transformers' default."""


class GenerateBatch:
    """A model that writes with `generate_batch`."""

    def __init__(self, model: str, prompts: list[str], max_tokens: int) -> None:
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self._model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype="float32")
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        self._prompts: list[list[int]] = self._tokenizer(prompts).input_ids
        self._max_tokens = max_tokens
        ends = self._model.generation_config.eos_token_id
        self._ends = {self._tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}

    def writer(self, rows: int) -> Writer:
        """Writes so many texts at once."""
        from transformers import GenerationConfig
        from transformers.generation import ContinuousBatchingConfig

        settings = GenerationConfig(
            max_new_tokens=self._max_tokens,
            do_sample=False,
            eos_token_id=sorted(self._ends),
            pad_token_id=min(self._ends),
        )
        longest = max(map(len, self._prompts)) + self._max_tokens
        batching = ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=rows * -(-longest // PAGE),
            max_batch_tokens=max(1024, rows),  # our engine, too, reads prompts in pieces of 1024 tokens on a CPU
            max_requests_per_batch=rows,
        )

        def write() -> list[str]:
            outputs = self._model.generate_batch(
                self._prompts, generation_config=settings, continuous_batching_config=batching
            )
            errors = [output.error for output in outputs.values() if output.error]
            if errors or len(outputs) < len(self._prompts):
                raise RuntimeError(errors[0] if errors else f"only {len(outputs)} of {len(self._prompts)} texts came")
            return [self._text(output) for output in outputs.values()]

        return write

    def _text(self, output: Any) -> str:
        tokens = [token for token in output.generated_tokens if token not in self._ends]
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__)
    parser.add_argument("model", help="a folder or hub name")
    parser.add_argument("--prompts", default="apples:256")
    parser.add_argument("--max-gen-toks", type=int, default=128)
    parser.add_argument("--batch-size", type=int, help="ours; default: automatic")
    parser.add_argument("--batch-sizes", default="4,16,64", help="of generate_batch")
    add_timing_options(parser, runs=5)
    given = parser.parse_args()

    clock = clock_of(given)
    prompts = read_prompts(given.prompts)
    ours = our_writer(given.model, prompts, Sampling(max_tokens=given.max_gen_toks), given.batch_size)
    theirs = GenerateBatch(given.model, prompts, given.max_gen_toks)
    tried: dict[int, float] = {}
    for rows in map(int, given.batch_sizes.split(",")):
        try:
            tried[rows], _ = timed(theirs.writer(rows), clock)
        except Exception as error:  # whatever transformers raises for this model on this device
            print(f"generate_batch with {rows} texts at once: {type(error).__name__}: {error}", flush=True)
            continue
        print(f"generate_batch with {rows} texts at once: {len(prompts) / tried[rows]:.2f} problems/s", flush=True)
    if not tried:
        sys.exit(f"generate_batch does not run for {given.model} here; the errors stand above.")
    best = min(tried, key=lambda rows: tried[rows])
    ours()  # warms up, as the tries did

    seconds, same = in_turn({"refine-eval": ours, "generate_batch": theirs.writer(best)}, given.runs, clock)
    print_rates(seconds, len(prompts))
    ratio = ratio_of(seconds, "refine-eval", "generate_batch")
    print(f"ratio {ratio:.2f}; equal texts {same} of {len(prompts)}; generate_batch's batch size {best}")
    print(json.dumps({"ratio": ratio, "equal": same, "problems": len(prompts), "seconds": seconds, "tried": tried}))


if __name__ == "__main__":
    main()
