"""What it saves that the transformers engine reads once what prompts share: prompt tokens and seconds.

    python benchmarks/perf/prefix_sharing.py [--solutions 32] [--samples 8]
    python benchmarks/perf/prefix_sharing.py --few-shot FOLDER [--prompts 16] [--examples 8] [--max-tokens 16]

The first samples solutions of the bundled apples student, then continues each of them after each of its steps, so
many times. The second puts the same examples before different questions and writes short greedy answers with the
model in FOLDER. Both are done with all sharing, with equal prompts alone read once, and (the first) with every prompt
read, in turn in one process; times are medians of `--runs` rounds. Prints a table and a line of JSON. Where other
work shares the machine, --threads 1 --clock cpu gives steadier ratios.
"""

import json
import statistics
import sys
from collections import deque
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

from common import CPU, Clock, add_timing_options, clock_of, parser_of, requests_of

import refine_eval_benchmarks
from refine_eval.data import Request, Sampling
from refine_eval.engines.decoder.prefixes import Chain, chains
from refine_eval.engines.transformers_engine import TransformersEngine
from refine_eval.formats import student_prompt
from refine_eval_benchmarks.apples import generate

STUDENT = Path(refine_eval_benchmarks.__file__).parent / "models" / "student"


def equal_alone(texts: Iterable[Any], shared: int = 0) -> deque[Chain]:
    """A chain for each different prompt."""
    alike: dict[tuple[int, ...], Chain] = {}
    for text in texts:
        chain = alike.setdefault(tuple(text.prompt), Chain(tokens=text.prompt, lengths=[len(text.prompt)]))
        chain.texts.append(text)
    return deque(sorted(alike.values(), key=lambda chain: (-len(chain.tokens), chain.tokens)))


def no_two(texts: Iterable[Any], shared: int = 0) -> deque[Chain]:
    """A chain for each text."""
    apart = [Chain(tokens=text.prompt, texts=deque([text]), lengths=[len(text.prompt)]) for text in texts]
    return deque(sorted(apart, key=lambda chain: -len(chain.tokens)))


WAYS = {"all sharing": chains, "equal prompts": equal_alone, "none": no_two}


def opened(model: str | Path) -> TransformersEngine:
    """The engine with this model."""
    engine = TransformersEngine(TransformersEngine.Options(pretrained=str(model)))
    engine.open(CPU)
    return engine


def rollouts(engine: TransformersEngine, solutions: int, samples: int) -> list[Request]:
    """`samples` continuations of every step prefix of so many sampled solutions."""
    questions = [student_prompt(row["question"]) for row in generate("test", solutions)]
    sampling = Sampling(max_tokens=128, temperature=0.7, stop=("Question:",))
    prompts = []
    for index, generation in engine.generate(requests_of(questions, sampling)):
        steps = generation.text.splitlines(keepends=True)
        prompts += list(accumulate(steps[:-1], initial=questions[index])) * samples
    return requests_of(prompts, sampling)


def few_shot(prompts: int, examples: int, max_tokens: int) -> list[Request]:
    """Greedy answers to questions that all stand after the same examples."""
    rows = generate("train", examples)
    before = "".join(f"{student_prompt(row['question'])}{row['answer']}\n\n" for row in rows)
    questions = (before + student_prompt(row["question"]) for row in generate("test", prompts))
    return requests_of(questions, Sampling(max_tokens=max_tokens))


def measure(
    engine: TransformersEngine, asked: list[Request], ways: list[str], runs: int, clock: Clock
) -> dict[str, dict[str, Any]]:
    """Prompt tokens read, tokens written, seconds of each round, by way of sharing."""
    from refine_eval.engines.decoder import decoding

    decoder = engine._decoder
    found: dict[str, dict[str, Any]] = {}
    texts: dict[str, list[str]] = {}
    list(engine.generate(asked))  # warms up
    for _ in range(runs):
        for way in ways:
            decoding.chains = WAYS[way]  # type: ignore[attr-defined]  # it imports the name
            decoder.model.shares_prefixes = WAYS[way] is chains
            before, started = decoder.prompt_tokens_read, clock()
            written = dict(engine.generate(asked))
            seconds = clock() - started
            print(f"{way}: {seconds:.2f} s", file=sys.stderr, flush=True)
            entry = found.setdefault(
                way,
                {
                    "prompt_tokens_read": decoder.prompt_tokens_read - before,
                    "tokens_written": sum(generation.tokens for generation in written.values()),
                    "seconds": [],
                },
            )
            entry["seconds"].append(seconds)
            texts[way] = [written[index].text for index in range(len(asked))]
    for way, entry in found.items():
        entry["equal_texts"] = sum(a == b for a, b in zip(texts[way], texts[ways[-1]], strict=True))
    return found


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--solutions", type=int, default=32)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--few-shot", metavar="FOLDER", help="a model; instead of the rollouts")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=16)
    add_timing_options(parser)
    args = parser.parse_args()

    clock = clock_of(args)
    engine = opened(args.few_shot or STUDENT)
    if args.few_shot:
        asked = few_shot(args.prompts, args.examples, args.max_tokens)
    else:
        asked = rollouts(engine, args.solutions, args.samples)
    # Questions differ, so without equal prompts there are two ways alone.
    found = measure(engine, asked, list(WAYS)[: 2 if args.few_shot else 3], args.runs, clock)
    least = found["all sharing"]
    print(f"{'read once':14}{'prompt tokens':>14}{'per written':>12}{'ratio':>7}", end="")
    print(f"{'seconds':>9}{'lowest':>8}{'highest':>8}{'ratio':>7}{'equal texts':>14}")
    for way, entry in found.items():
        read, seconds = entry["prompt_tokens_read"], sorted(entry["seconds"])
        middle, ours = statistics.median(seconds), statistics.median(least["seconds"])
        print(
            f"{way:14}{read:14}{read / entry['tokens_written']:12.2f}{read / least['prompt_tokens_read']:7.2f}"
            f"{middle:9.2f}{seconds[0]:8.2f}{seconds[-1]:8.2f}{middle / ours:7.2f}"
            f"{entry['equal_texts']:7} of {len(asked)}"
        )
    print(json.dumps({"texts": len(asked), "ways": found}))


if __name__ == "__main__":
    main()
