"""A key-value cache of fixed slots, one text a slot, whose rows come and go while others go on.

Slot i holds the keys of text i from position 0 on, so a text's position is its column: no padding on the left,
nothing moves while a text grows, and a finished text's slot is taken by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "refine_eval_slots"

_SPARE = 16
"""Columns to spare: so many steps go by before the cache is copied to make room."""


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values, both of shape (slots, heads, columns, head size)."""

    is_sliding = False

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.cache = cache
        self.keys: Any
        self.values: Any
        self.prefix: tuple[torch.Tensor, ...] = ()
        self.kept: tuple[torch.Tensor, ...] = ()

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocates zeros: masked columns are multiplied by 0, which garbage such as NaN would survive."""
        for name, states in (("keys", key_states), ("values", value_states)):
            setattr(self, name, self._zeros(states))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stores new states of shape (rows, heads, tokens, size); returns the states to attend to."""
        cache, states = self.cache, (key_states, value_states)
        if cache.prefix_next:
            self.prefix = key_states.clone(), value_states.clone()
            return states
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if cache.at is not None:
            self._fit()
            return self._step(self.keys, key_states), self._step(self.values, value_states)
        if cache.prefix:
            before = (held.expand(len(key_states), -1, -1, -1) for held in self.prefix)
            states = torch.cat([next(before), key_states], 2), torch.cat([next(before), value_states], 2)
        self.kept = (states[0][-1:].clone(), states[1][-1:].clone()) if cache.keep else ()
        self.fill(states)
        return states

    def fill(self, states: Sequence[torch.Tensor]) -> None:
        """Copies a prompt's keys and values into each of the slots that come next."""
        self._fit()
        first, source = self.cache.rows, self.cache.source
        for held, new in zip((self.keys, self.values), states, strict=True):
            held[first : first + len(source), :, : new.shape[2]] = new[source]

    def _fit(self) -> None:
        """Makes room for as many columns as the cache has now."""
        if self.keys.shape[2] != self.cache.columns:
            self.keys, self.values = self._resized(self.keys), self._resized(self.values)

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        return like.new_zeros((self.cache.slots, like.shape[1], self.cache.columns, like.shape[3]))

    def _resized(self, held: torch.Tensor) -> torch.Tensor:
        new, kept, rows = self._zeros(held), min(self.cache.columns, held.shape[2]), self.cache.rows
        new[:rows, :, :kept] = held[:rows, :, :kept]
        return new

    def _step(self, held: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        rows, heads, _, size = states.shape
        held.view(-1, size).index_copy_(0, self.cache.places(heads), states.reshape(-1, size))
        return held[:rows, :, : self.cache.seen]

    def get_seq_length(self) -> int:
        """0: transformers asks where a prompt is read from its beginning; all else comes with positions and mask."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """A prompt attends to itself."""
        return query_length, 0

    def get_max_length(self) -> int:
        """The most tokens that a slot holds."""
        return self.cache.length


class SlotCache(Cache):  # type: ignore[misc]  # transformers is untyped here
    """`slots` texts of up to `length` tokens. Texts fill the slots 0, 1, ... without gaps.

    On a CPU there are only as many columns as the longest text of the moment needs and a few to spare, and a step
    reads them all: its time is that of reading the cache, and memory is read up to three times as fast without gaps.

    `prefix` tokens with which all texts begin may be held apart, to be copied into the slots; and so may the last
    prompt that was read, for texts that are still waiting for a slot.
    """

    def __init__(self, layers: int, slots: int, length: int, device: torch.device) -> None:
        self.slots, self.length = slots, length
        self.tight = device.type == "cpu"
        self.columns = 0 if self.tight else length
        self.rows = self.prefix = 0
        self.prefix_next = self.keep = False
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])
        self.at: torch.Tensor | None = None
        self._places: dict[int, torch.Tensor] = {}

    def for_prefix(self, tokens: int) -> None:
        """What comes next is the prefix of all prompts."""
        self.prefix, self.prefix_next, self.at = tokens, True, None

    def for_prompts(self, rows: int, source: torch.Tensor, longest: int, keep: bool) -> None:
        """What comes next are prompts of up to `longest` tokens, less the prefix: slot `rows + i` gets row `source[i]`.

        The slots before `rows` are taken. With `keep`, `repeat` can copy the last row once more.
        """
        self.rows, self.source, self.at, self.keep, self.prefix_next = rows, source, None, keep, False
        if longest > self.columns:
            self.columns = min(longest + _SPARE, self.length)

    def repeat(self, rows: int, count: int) -> None:
        """Copies the prompt that was kept into the slots `rows` to `rows + count - 1`."""
        kept = self.layers[0].kept[0]
        self.for_prompts(rows, torch.zeros(count, dtype=torch.long, device=kept.device), kept.shape[2], keep=True)
        for layer in self.layers:
            layer.fill(layer.kept)

    def for_step(self, positions: Sequence[int], device: torch.device) -> torch.Tensor:
        """What comes next is one token a text, at `positions`; returns them as a tensor of shape (rows,)."""
        at = self.at = torch.tensor(positions, device=device)
        self._places.clear()
        self.rows, longest = len(positions), max(positions) + 1
        if longest > self.columns or (self.tight and longest + 2 * _SPARE < self.columns):
            self.columns = min(longest + _SPARE, self.length)
        self.seen = self.columns if self.tight else longest
        return at

    def places(self, heads: int) -> torch.Tensor:
        """Where the step's new states go, in a layer with so many heads seen as rows of one head size each."""
        assert self.at is not None
        if heads not in self._places:
            first = torch.arange(len(self.at) * heads, device=self.at.device).view(-1, heads) * self.columns
            self._places[heads] = (first + self.at[:, None]).flatten()
        return self._places[heads]

    def move(self, source: list[int], target: list[int]) -> None:
        """Texts move from slots to other slots; no slot is in both lists."""
        for layer in self.layers:
            for held in (layer.keys, layer.values):
                held[target] = held[source]


def step_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """Attention of one token a row; heads that share keys are read as so many queries, so no key is copied.

    Shapes: query (rows, heads, 1, size), key and value (rows, key heads, columns, size), mask (rows, 1, 1, columns);
    result (rows, 1, heads, size).
    """
    rows, heads, _, size = query.shape
    query = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    if key.device.type == "cpu" and key.dtype == torch.float32:
        # For so few queries a head, the fused kernel's set-up takes longer than what it saves.
        weights = torch.matmul(query * (size**-0.5 if scale is None else scale), key.transpose(2, 3))
        heard = torch.matmul(weights.add_(mask).softmax(-1), value)
    else:
        heard = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return heard.reshape(rows, 1, heads, value.shape[-1])


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`step_attention` in transformers' form; what is not a plain step goes to transformers' own."""
    if query.shape[2] > 1 or attention_mask is None or kwargs.get("position_bias") is not None:
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return result
    return step_attention(query, key, value, attention_mask, scaling), None


def use_slot_attention(model: Any) -> None:
    """Let the model use `slot_attention`, if it uses torch's attention now."""
    AttentionInterface.register(ATTENTION, slot_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ATTENTION)
