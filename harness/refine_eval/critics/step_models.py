"""The models behind trained critics: a row of tokens in, the probability of "good" at some of its tokens out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from inspect import signature
from itertools import accumulate
from typing import Any, ClassVar, Protocol

from refine_eval.critics.labels import good_label, probability_of_good
from refine_eval.critics.packing import Limits, Packed, laid_out, packed, reads_packed
from refine_eval.models.loading import (
    choose_device,
    choose_dtype,
    free_memory,
    is_out_of_memory,
    load_model,
    quiet_transformers,
)
from refine_eval.models.sources import ModelSource

_BATCH_TOKENS = {"cuda": 65536, "mps": 16384}
"""Tokens, padding included, in one pass where no batch size is asked for; of CPUs see `_tokens_at_once`."""

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

    @property
    def read_tokens(self) -> Sequence[int]:
        """How many tokens were read for each row of the last `scores`: a beginning that rows share counts for one."""
        ...

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
    Rows that begin alike are read as one row with branches where that is cheaper, if the model and `read` can do so.
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
        self.read_tokens: list[int] = []
        self._rows = batch_size
        self._tokens = _BATCH_TOKENS.get(device.split(":")[0]) or _tokens_at_once(self.config)
        self.prepare()

    def prepare(self) -> None:
        """Finds out how the loaded model is read; ModelError where it cannot be."""
        self.good = good_label(self.config, self.source.name)

    def read(self, ids: Any, mask: Any, row: Any, column: Any, positions: Any = None) -> Any:
        """One forward pass: a probability for each pair of `row` and `column`, of shape (pairs,).

        `ids` and `mask` have the shape (rows, length), padded on the right; `row` and `column` are index tensors.
        For rows with branches `mask` is one of attention, (rows, 1, length, length), 0 where a token may look, and
        `positions`, (rows, length), goes to the model as `position_ids`. A subclass whose `read` takes no `positions`
        gets none such.
        """
        output = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        return probability_of_good(output.logits[row, column], self.good)

    def scores(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        """See `StepModel.scores`. Running out of memory halves the rows read at once."""
        scores: list[tuple[float, ...]] = [()] * len(rows)
        self.read_tokens = [0] * len(rows)
        with quiet_transformers():
            left = self._packed(rows, range(len(rows)))
            while left:
                chosen = self._first(left)
                found = self._try_pass(chosen, rows)
                if found is None:
                    self._rows = max(1, sum(len(pack.members) for pack in chosen) // 2)
                    left = self._packed(rows, [number for pack in left for number in pack.members])
                    continue
                left = left[len(chosen) :]
                for pack, values in zip(chosen, found, strict=True):
                    for number, fresh, some in zip(pack.members, pack.fresh, values, strict=True):
                        scores[number], self.read_tokens[number] = some, fresh
                    if len(pack.members) > 1 and not all(math.isfinite(score) for some in values for score in some):
                        # What is no number spoils the others in a pack, though they do not look at it.
                        left += [Packed.alone(number, rows[number][0]) for number in pack.members]
        return scores

    def close(self) -> None:
        """Frees the model's memory."""
        self.model = None
        free_memory(self.device)

    @cached_property
    def _packs(self) -> bool:
        return "positions" in signature(self.read).parameters and reads_packed(self.model)

    def _packed(self, rows: Sequence[TokenRow], numbers: Iterable[int]) -> list[Packed]:
        limits = Limits.of(self.config, self._rows) if len(rows) > 1 and self._packs else None
        return packed(((number, rows[number][0]) for number in numbers), limits)

    def _first(self, left: Sequence[Packed]) -> Sequence[Packed]:
        """The packs that are read in one pass."""
        if self._rows is None:
            return left[: max(1, self._tokens // len(left[0].tokens))]
        counts = accumulate(len(pack.members) for pack in left)
        return [pack for pack, count in zip(left, counts, strict=True) if count <= self._rows]

    def _try_pass(self, packs: Sequence[Packed], rows: Sequence[TokenRow]) -> list[list[tuple[float, ...]]] | None:
        """The scores of packs read in one pass, or None where memory runs out on more than one row, () on one."""
        try:
            return self._pass(packs, rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return [[()]] if len(packs) == len(packs[0].members) == 1 else None

    def _pass(self, packs: Sequence[Packed], rows: Sequence[TokenRow]) -> list[list[tuple[float, ...]]]:
        import torch

        longest = max(len(pack.tokens) for pack in packs)
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([pack.tokens + [pad] * (longest - len(pack.tokens)) for pack in packs])
        mask = torch.tensor([[1] * len(pack.tokens) + [0] * (longest - len(pack.tokens)) for pack in packs])
        further: list[Any] = []
        if any(len(pack.members) > 1 for pack in packs):
            mask, positions = laid_out(packs, self.model.dtype)
            further.append(positions)
        ends = [[[path[end] for end in rows[n][1]] for n, path in zip(p.members, p.paths, strict=True)] for p in packs]
        row = torch.tensor([index for index, of_pack in enumerate(ends) for of_row in of_pack for _ in of_row])
        column = torch.tensor([end for of_pack in ends for of_row in of_pack for end in of_row])
        with torch.inference_mode():
            found = self.read(*(tensor.to(self.device) for tensor in (ids, mask, row, column, *further)))
        flat = iter(found.tolist())
        return [[tuple(next(flat) for _ in of_row) for of_row in of_pack] for of_pack in ends]


def _tokens_at_once(config: Any) -> int:
    """Tokens in one pass on a CPU, such that what a layer makes of them stays in its cache: 1,024 to 8,192."""
    width = getattr(config.get_text_config(), "hidden_size", 128)
    return int(max(1024, min(8192, 2**20 // width)))
