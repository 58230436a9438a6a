"""Token-classification critics served by vLLM, as `LLM.encode(pooling_task="token_classify")`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from refine_eval.critics.labels import good_label, probability_of_good
from refine_eval.critics.step_models import TokenRow
from refine_eval.errors import ModelError
from refine_eval.models.loading import choose_device, choose_dtype
from refine_eval.models.sources import ModelSource, without_adapter
from refine_eval.models.vllm_llm import VllmLlm, deciding, vllm_arguments


class VllmStepModel:
    """A `refine_eval.critics.step_models.StepModel` on vLLM.

    vLLM serves Llama-style token classifiers through its sequence-classification adapter and pools every token. `good`
    is the label that means good; None: the model's configuration says.
    """

    def __init__(
        self,
        source: ModelSource,
        dtype: str,
        batch_size: int | None,
        rest: Mapping[str, str],
        good: int | None = None,
    ) -> None:
        without_adapter(source, "vLLM serves no critics as adapters: leave the critic to transformers")
        given = vllm_arguments(rest, "engine_args")
        self.deciding = deciding(given)
        arguments = {"dtype": choose_dtype(choose_device(), dtype), **given}
        if batch_size:
            arguments.setdefault("max_num_seqs", batch_size)
        from vllm.config import PoolerConfig

        # Cached prefixes have no hidden states to score, so none are kept.
        self._served = VllmLlm(
            source,
            {
                "enable_prefix_caching": False,
                **arguments,
                "runner": "pooling",
                "pooler_config": PoolerConfig(task="token_classify", tok_pooling_type="ALL"),
            },
        )
        self.source, self.tokenizer, self.config = source, self._served.tokenizer, self._served.config
        try:
            self.good = good_label(self.config, source.name) if good is None else good
        except ModelError:
            self._served.close()
            raise
        self.dtype = self._served.dtype
        self.read_tokens: list[int] = []
        self.context: int | None = self._served.context

    def scores(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        """See `StepModel.scores`."""
        from vllm import PoolingParams

        self.read_tokens = [len(ids) for ids, _ in rows]
        outputs = self._served.llm.encode(
            [{"prompt_token_ids": ids} for ids, _ in rows],
            pooling_params=PoolingParams(use_activation=False),
            pooling_task="token_classify",
            use_tqdm=False,
        )
        return [
            tuple(probability_of_good(output.outputs.data[ends], self.good).tolist())
            for output, (_, ends) in zip(outputs, rows, strict=True)
        ]

    def close(self) -> None:
        """Ends vLLM's processes."""
        self._served.close()
