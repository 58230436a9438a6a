"""The models behind trained critics: a row of tokens in, the probability of "good" at some of its tokens out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from refine_eval.critics.labels import good_label, probability_of_good
from refine_eval.models.loading import (
    choose_device,
    choose_dtype,
    free_memory,
    is_out_of_memory,
    load_model,
    quiet_transformers,
)
from refine_eval.models.sources import ModelSource

_BATCH_TOKENS = {"cpu": 8192, "cuda": 65536, "mps": 16384}
"""Tokens, padding included, in one pass where no batch size is asked for."""

TokenRow = tuple[list[int], list[int]]
"""Token ids, and the positions among them at which to score."""


class StepModel(Protocol):
    """A token-classification model, loaded."""

    source: ModelSource
    tokenizer: Any
    config: Any
    dtype: str
    good: int
    """The label that means good (see `labels.good_label`)."""
    deciding: str
    """What else its scores depend on, for an identity; "" for nothing."""
    context: int | None
    """The most tokens that the model can read; None where its configuration does not say."""

    def scores(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        """A score for each position of each row, in order; none for a row that alone takes more memory than there is.

        With two labels a score is the probability of the one that means good, with one label the sigmoid of its logit.
        """
        ...

    def close(self) -> None:
        """Frees the model's memory."""
        ...


class TransformersStepModel:
    """A model run here with transformers, rows of like length together: by itself a token-classification model.

    A subclass for another kind of model names its `auto_class` and says how it is read, in `prepare` and `read`.
    """

    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    """The transformers class that loads it."""
    deciding = ""

    def __init__(self, source: ModelSource, device: str, dtype: str, batch_size: int | None) -> None:
        device = choose_device(device)
        loaded = load_model(source, self.auto_class, device, choose_dtype(device, dtype))
        self.source, self.tokenizer, self.config = source, loaded.tokenizer, loaded.model.config
        self.dtype, self.context = loaded.dtype, loaded.context
        self.good = 1
        self.model: Any = loaded.model
        self.device = device
        self._rows = batch_size
        self._tokens = _BATCH_TOKENS.get(device.split(":")[0], 8192)
        self.prepare()

    def prepare(self) -> None:
        """Finds out how the loaded model is read; ModelError where it cannot be."""
        self.good = good_label(self.config, self.source.name)

    def read(self, ids: Any, mask: Any, row: Any, column: Any) -> Any:
        """One forward pass: a probability for each pair of `row` and `column`, of shape (pairs,).

        `ids` and `mask` have the shape (rows, length), padded on the right; `row` and `column` are index tensors.
        """
        output = self.model(input_ids=ids, attention_mask=mask, use_cache=False)
        return probability_of_good(output.logits[row, column], self.good)

    def scores(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        """See `StepModel.scores`. Running out of memory halves the rows read at once."""
        scores: list[tuple[float, ...]] = [()] * len(rows)
        left = sorted(range(len(rows)), key=lambda index: -len(rows[index][0]))
        with quiet_transformers():
            while left:
                chosen = left[: self._rows or max(1, self._tokens // len(rows[left[0]][0]))]
                found = self._try_pass([rows[index] for index in chosen])
                if found is None:
                    self._rows = max(1, len(chosen) // 2)
                    continue
                for index, values in zip(chosen, found, strict=True):
                    scores[index] = values
                left = left[len(chosen) :]
        return scores

    def close(self) -> None:
        """Frees the model's memory."""
        self.model = None
        free_memory(self.device)

    def _try_pass(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]] | None:
        """The scores of rows read in one pass, or None where memory runs out on more than one row, () on one."""
        try:
            return self._pass(rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return [()] if len(rows) == 1 else None

    def _pass(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        import torch

        longest = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
        row = torch.tensor([index for index, (_, ends) in enumerate(rows) for _ in ends])
        column = torch.tensor([end for _, ends in rows for end in ends])
        with torch.inference_mode():
            found = self.read(*(tensor.to(self.device) for tensor in (ids, mask, row, column)))
        flat = iter(found.tolist())
        return [tuple(next(flat) for _ in ends) for _, ends in rows]
