"""Tokens per second of the vLLM engine through the harness against a bare `LLM.generate` or `LLM.chat` of the same LLM.

    python benchmarks/perf/vllm_throughput.py --model FOLDER --prompts SVAMP.json:256 --max-gen-toks 64
    python benchmarks/perf/vllm_throughput.py --model FOLDER --prompts SVAMP.json:64 --chat --max-gen-toks 64

Both sides get the same prompts and parameters from one started vLLM, its prefix cache emptied before each round; ours
goes the whole way: runtime, engine, a store on disk. Rounds alternate. Starting is not timed. Prints a table and JSON.
Needs vLLM (an environment as .ci/vllm makes it).
"""

import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from common import parser_of, problems_of, read_prompts

from refine_eval.data import ChatForm, Message, Prompt, Sampling
from refine_eval.engines.vllm_engine import VllmEngine
from refine_eval.plugin.options import make_options
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import registry
from refine_eval.runs.runtime import RunRuntime, Tasks
from refine_eval.runs.store import Store
from refine_eval.terminal import Progress


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-args", default="kv_cache_memory_bytes=2147483648")
    parser.add_argument("--prompts", default="apples:256")
    parser.add_argument("--chat", action="store_true", help="prompts are messages, each a user's; against LLM.chat")
    parser.add_argument("--max-gen-toks", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()

    prompts = read_prompts(given.prompts)
    sampling = Sampling(max_tokens=given.max_gen_toks, stop=("Question:",))
    options = {"pretrained": given.model, **parse_pairs(given.model_args)}
    engine = VllmEngine(make_options(VllmEngine, options))
    engine.chat = ChatForm() if given.chat else None
    problems = problems_of(prompts)
    messages = [(Message(role="user", content=prompt),) for prompt in prompts]
    asked: list[Prompt] = [*messages] if given.chat else [*prompts]
    rival = "LLM.chat" if given.chat else "LLM.generate"

    def ours() -> int:
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store.sqlite") as store:
            runtime.store = store
            written = runtime.for_component(engine).generate(problems, asked, purpose="draft", sampling=sampling)
        return sum(generations[0].tokens for generations in written)

    def bare() -> int:
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=sampling.max_tokens, temperature=0.0, stop=list(sampling.stop))
        if given.chat:
            outputs = llm.chat([[asdict(m) for m in each] for each in messages], parameters, use_tqdm=False)
        else:
            outputs = llm.generate(prompts, parameters, use_tqdm=False)
        ended = (output.outputs[0] for output in outputs)
        # The end-of-text token is not counted by our engine either.
        return sum(len(o.token_ids) - (o.finish_reason == "stop" and not isinstance(o.stop_reason, str)) for o in ended)

    # No task: sampling is given.
    runtime = RunRuntime(
        student=engine, registry=registry(), store=cast(Any, None), tasks=cast(Tasks, None), progress=Progress(True)
    )
    runtime.engine(None, engine)
    llm = engine._llm().llm
    seconds: dict[str, list[float]] = {"refine-eval": [], rival: []}
    rates: dict[str, list[float]] = {name: [] for name in seconds}
    tokens = set()
    for _ in range(given.runs):
        for name, write in (("refine-eval", ours), (rival, bare)):
            llm.reset_prefix_cache()
            start = time.perf_counter()
            count = write()
            seconds[name].append(time.perf_counter() - start)
            rates[name].append(count / seconds[name][-1])
            tokens.add(count)
    runtime.close()
    print(f"{'':14}{'tokens/s':>10}{'lowest':>10}{'highest':>10}{'seconds':>10}")
    for name, found in rates.items():
        middle = statistics.median(seconds[name])
        print(f"{name:14}{statistics.median(found):10.1f}{min(found):10.1f}{max(found):10.1f}{middle:10.1f}")
    ratio = statistics.median(rates["refine-eval"]) / statistics.median(rates[rival])
    print(f"ratio {ratio:.3f}; {len(prompts)} prompts, {sorted(tokens)} tokens")
    print(json.dumps({"ratio": ratio, "prompts": len(prompts), "tokens": sorted(tokens), "seconds": seconds}))


if __name__ == "__main__":
    main()
