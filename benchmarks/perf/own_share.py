"""The harness's own share of a run: wall time less the models' forward passes and tokenizing. Prints one line.

    python benchmarks/perf/own_share.py --limit 200 [--model-args pretrained=FOLDER --tasks svamp --data-dir DIR ...]

Takes the options of `refine-eval run`. Imports and the loading of models and data come before the clock starts or are
clocked apart: the clock runs while the pipeline does.
"""

import tempfile
import time
from collections.abc import Callable
from typing import Any

from common import parser_of

# Wall time by account, in seconds.
spent = {"forward and tokenizing": 0.0, "loading": 0.0, "pipeline": 0.0}
_inside = 0


def clocked(function: Callable[..., Any], account: str) -> Callable[..., Any]:
    """`function`, its wall time added to an account; calls inside of clocked calls count once."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        global _inside
        _inside += 1
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            _inside -= 1
            if _inside == 0:
                spent[account] += time.perf_counter() - start

    return timed


def main() -> None:
    """Runs once with clocks on what is not the harness's own."""
    parser = parser_of(__doc__)
    parser.allow_abbrev = False  # all options but --help are the run's
    _, options = parser.parse_known_args()
    import torch
    import transformers

    from refine_eval.cli import cli
    from refine_eval.critics import step_models
    from refine_eval.engines import transformers_engine
    from refine_eval.engines.decoder.slot_model import SlotModel
    from refine_eval.runs.pipeline import Pipeline

    SlotModel.__init__ = clocked(SlotModel.__init__, "loading")  # type: ignore[method-assign]
    for forward in ("read_prefix", "read", "step"):
        setattr(SlotModel, forward, clocked(getattr(SlotModel, forward), "forward and tokenizing"))
    for module in (transformers_engine, step_models):
        module.load_model = clocked(module.load_model, "loading")  # type: ignore[attr-defined]
    torch.nn.Module.__call__ = clocked(torch.nn.Module.__call__, "forward and tokenizing")  # type: ignore[method-assign]
    base = transformers.PreTrainedTokenizerBase
    base.__call__ = clocked(base.__call__, "forward and tokenizing")
    run = Pipeline.run

    def timed_run(self: Pipeline, problems: Any) -> Any:
        start = time.perf_counter()
        traces = run(self, problems)
        spent["pipeline"] += time.perf_counter() - start
        return traces

    Pipeline.run = timed_run  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        cli.main(["run", "--quiet", "--results", folder, *options], standalone_mode=False)
    working = spent["pipeline"] - spent["loading"]
    own = working - spent["forward and tokenizing"]
    print(f"pipeline {working:.2f} s, of it the harness's own {own:.2f} s: {100 * own / working:.1f} %")


if __name__ == "__main__":
    main()
