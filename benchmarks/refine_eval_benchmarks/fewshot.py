"""The few-shot sampler of the svamp task: says where to get the training split when there is none."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.samplers import ContextSampler

from refine_eval import TaskError
from refine_eval_benchmarks.sources import DATA, SVAMP_HOME


class SvampSampler(ContextSampler):  # type: ignore[misc]  # lm-eval ships no types
    """lm-eval's own sampling, from MAWPS and ASDiv-A; TaskError without them."""

    def sample(self, n: int, *args: Any, **kwargs: Any) -> Sequence[dict[str, Any]]:
        """`n` documents of the training split."""
        if n and not self.df:
            raise TaskError(
                "svamp has no training split to take few-shot examples from: the hub has none; put "
                f"train_mawps_asdiv-a.csv from {SVAMP_HOME} into DIR/svamp and give --data-dir DIR (or set {DATA}=DIR)."
            )
        examples: Sequence[dict[str, Any]] = super().sample(n, *args, **kwargs)
        return examples
