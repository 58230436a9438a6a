"""A key-value cache of fixed slots, one text a slot, whose rows come and go while others go on.

Slot i holds the keys of text i from position 0 on, so a text's position is its column: no padding on the left,
nothing moves while a text grows, and a finished text's slot is taken by another.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "refine_eval_slots"

_CHUNK = 32
"""On a CPU so many texts attend together, each to as many columns as the longest among them has."""

_step = threading.local()
"""`chunks` of the step that this thread computes: the attention function is called by the model, not by us."""


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values, both of shape (slots, length, heads, head size).

    Positions stand before heads, so that what one step adds to a text is one contiguous piece.
    """

    is_sliding = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocates zeros: masked columns are multiplied by 0, which garbage such as NaN would survive."""
        for name, states in (("keys", key_states), ("values", value_states)):
            shape = (self.cache.slots, self.cache.length, states.shape[1], states.shape[3])
            setattr(self, name, states.new_zeros(shape))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stores new states of shape (rows, heads, tokens, size); returns the states to attend to."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._store(self.keys, key_states), self._store(self.values, value_states)

    def _store(self, held: Any, states: torch.Tensor) -> torch.Tensor:
        cache = self.cache
        if cache.written is None:
            held[cache.first : cache.first + len(cache.source), : states.shape[2]] = states.transpose(1, 2)[
                cache.source
            ]
            return states
        rows = len(states)
        held.view(-1, *held.shape[2:]).index_copy_(0, cache.written, states[:, :, 0])
        seen: torch.Tensor = held[:rows, : cache.seen].transpose(1, 2)
        return seen

    def get_seq_length(self) -> int:
        """0: a prompt is read from its beginning; transformers asks only then."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """A prompt attends to itself."""
        return query_length, 0

    def get_max_length(self) -> int:
        """The most tokens that a slot holds."""
        return self.cache.length


class SlotCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """`slots` texts of up to `length` tokens. Texts fill the slots 0, 1, ... without gaps."""

    def __init__(self, layers: int, slots: int, length: int) -> None:
        self.slots, self.length = slots, length
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])
        self.written: torch.Tensor | None = None

    def for_prompts(self, first: int, source: torch.Tensor) -> None:
        """What comes next are prompts: slot `first + i` gets row `source[i]`."""
        self.first, self.source, self.written = first, source, None

    def for_step(self, positions: Sequence[int], device: torch.device) -> torch.Tensor:
        """What comes next is one token a text, at `positions`; returns them as a tensor of shape (rows,)."""
        at = torch.tensor(positions, device=device)
        self.written = torch.arange(len(at), device=device) * self.length + at
        self.seen = max(positions) + 1
        size = _CHUNK if device.type == "cpu" else len(positions)
        starts = range(0, len(positions), size)
        _step.chunks = [(start, start + size, max(positions[start : start + size]) + 1) for start in starts]
        return at

    def move(self, source: list[int], target: list[int]) -> None:
        """Texts move from slots to other slots; no slot is in both lists."""
        for layer in self.layers:
            for held in (layer.keys, layer.values):
                held[target] = held[source]


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Torch's attention, for a step made to read little memory, which is what its time goes into.

    Heads that share keys are read as so many queries, so no key is copied, and texts of similar length together,
    so that short ones need not read the columns of long ones.
    """
    rows, heads, tokens, size = query.shape
    if tokens > 1 or attention_mask is None or kwargs.get("position_bias") is not None:
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return result
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            grouped[start:end],
            key[start:end, :, :seen],
            value[start:end, :, :seen],
            attn_mask=attention_mask[start:end, ..., :seen],
            scale=scaling,
        )
        for start, end, seen in _step.chunks
    ]
    heard = parts[0] if len(parts) == 1 else torch.cat(parts)
    return heard.reshape(rows, 1, heads, value.shape[-1]), None


def use_slot_attention(model: Any) -> None:
    """Let the model use `grouped_attention`, if it uses torch's attention now."""
    AttentionInterface.register(ATTENTION, grouped_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ATTENTION)
