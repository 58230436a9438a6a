"""Problems per second of a whole run (draft, critique, refine, choose) on vLLM against plain `transformers.generate`.

    python benchmarks/perf/vllm_run.py --model FOLDER --data-dir DIR --limit 64 --max-gen-toks 128

The plain side is lm-eval's `hf` (transformers' `generate`, one batch after the other) with critics on transformers; the
other has student, refiners and critics on vLLM. Both refiners are the student's model, untrained, and the critic is
it with a new head: what is measured is speed. Models' loading is shown apart and left out of the ratio. Prints a table
and JSON. Needs vLLM (an environment as .ci/vllm makes it).
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from common import parser_of

from refine_eval.plugin.registry import registry
from refine_eval.runs.execute import execute
from refine_eval.runs.settings import RunSettings
from refine_eval.terminal import Progress

_loading = 0.0


def timed(owner: Any, name: str) -> None:
    """Counts the time of `owner.name` as loading."""
    original = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        global _loading
        start = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            _loading += time.perf_counter() - start

    setattr(owner, name, wrapper)


def critic(model: str, folder: Path) -> str:
    """A token classifier with the model's body and a head that was never trained."""
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    torch.manual_seed(0)
    made = AutoModelForTokenClassification.from_pretrained(model, num_labels=2, dtype=torch.float32)
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return str(folder)


def main() -> None:
    """Measures and prints."""
    global _loading
    parser = parser_of(__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", default="gsm8k_zero_shot")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--max-gen-toks", type=int, default=128)
    parser.add_argument("--dtype", default="bfloat16", help="of both sides")
    parser.add_argument("--batch-size", type=int, default=16, help="of the plain side")
    parser.add_argument("--kv-cache-memory-bytes", default=str(1 << 30))
    given = parser.parse_args()

    from refine_eval.critics import step_models
    from refine_eval.engines import lm_eval_engine
    from refine_eval.models import vllm_llm

    timed(step_models, "load_model")
    timed(vllm_llm.VllmLlm, "__init__")
    timed(vllm_llm.VllmLlm, "close")
    timed(lm_eval_engine.LmEvalEngine, "open")
    memory = {"kv_cache_memory_bytes": given.kv_cache_memory_bytes}
    sides: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
        "vllm": ("vllm", memory, {"engine": "vllm", "engine_args": memory}),
        "generate": ("lm-eval", {"batch_size": str(given.batch_size)}, {}),
    }
    rates, table = {}, {}
    with tempfile.TemporaryDirectory() as work:
        head = critic(given.model, Path(work) / "critic")
        for name, (engine, arguments, served) in sides.items():
            critics = {("critic", "orm"): {"model": head, **served}}
            refiners = {("refiner", refiner): {"model": given.model} for refiner in ("local", "global")}
            _loading, start = 0.0, time.perf_counter()
            outcome = execute(
                RunSettings(
                    task=given.task,
                    model=engine,
                    model_options={"pretrained": given.model, **arguments},
                    where="orm",
                    options={**critics, **refiners},
                    limit=given.limit,
                    num_fewshot=0,
                    max_gen_toks=given.max_gen_toks,
                    data_dir=given.data_dir,
                    dtype=given.dtype,
                    results=Path(work) / name,
                ),
                registry(),
                Progress(),
                record=False,
            )
            whole = time.perf_counter() - start
            rates[name] = len(outcome.traces) / (whole - _loading)
            tokens = sum(text.tokens for texts in outcome.requested.values() for text in texts.values())
            table[name] = {"problems": len(outcome.traces), "tokens": tokens, "seconds": whole, "loading": _loading}
    print(f"{'':10}{'problems/s':>12}{'tokens':>10}{'work, s':>10}{'loading, s':>12}")
    for name, row in table.items():
        work_s = row["seconds"] - row["loading"]
        print(f"{name:10}{rates[name]:12.2f}{row['tokens']:10,}{work_s:10.1f}{row['loading']:12.1f}")
    ratio = rates["vllm"] / rates["generate"]
    print(f"ratio {ratio:.2f}")
    print(json.dumps({"ratio": ratio, **table}))


if __name__ == "__main__":
    main()
