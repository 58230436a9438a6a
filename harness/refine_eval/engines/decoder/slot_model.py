"""A language model of transformers, run on a slot cache: prompts into free slots, then a token a text at a time.

Works with any decoder whose layers attend to all earlier tokens or to a window of them, and says so of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from refine_eval.engines.decoder.llama_forward import LlamaForward
from refine_eval.engines.decoder.packed_linear import pack_linear_layers
from refine_eval.engines.decoder.slot_cache import SlotCache, use_slot_attention
from refine_eval.errors import ModelError
from refine_eval.models.tokens import probe_texts


class SlotModel:
    """Takes over `model`, a causal language model of transformers; only its settings may be used by others then.

    ModelError where the model does not compute on a slot cache what it computes on whole texts: an architecture
    that needs another kind of cache or mask is refused, instead of writing nonsense.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.config.get_text_config()
        self.layers: int = config.num_hidden_layers
        self._window: int = getattr(config, "sliding_window", None) or 0
        self._layer_types = sorted(set(getattr(config, "layer_types", None) or ()))
        self._ends: tuple[torch.Tensor, torch.Tensor] | None = None
        try:
            with torch.inference_mode():
                expected = self._whole_texts()
            self._llama = self._take_over()
            with torch.inference_mode():
                found = self._in_slots(0)
        except Exception as error:  # whatever an architecture does with a cache that it does not know
            raise self._unfit(f"{type(error).__name__}: {error}") from error
        if not _close(found[2:], expected, model.dtype):
            raise self._unfit("its logits depend on how its cache is laid out")
        self.shares_prefixes = self._shares_prefixes(found)
        """Whether `read_prefix` works with this architecture."""

    def _take_over(self) -> LlamaForward | None:
        if LlamaForward.fits(self.model):
            return LlamaForward(self.model)
        use_slot_attention(self.model)
        pack_linear_layers(self.model)
        self.model.get_output_embeddings().register_forward_pre_hook(self._keep_ends)
        return None

    def _whole_texts(self) -> torch.Tensor:
        """The model's own logits after each probe, of shape (2, vocabulary)."""
        ids = [torch.tensor([text], device=self.model.device) for text in probe_texts(self.model.config)]
        return torch.cat([self.model(input_ids=row, use_cache=False).logits[:, -1] for row in ids]).float()

    def _in_slots(self, shared: int) -> torch.Tensor:
        """Logits before and after the last tokens, (4, vocabulary): all before them is read, `shared` tokens of it
        once for both; then comes a step."""
        probe = probe_texts(self.model.config)
        cache = self.new_cache(2, 6)
        if shared:
            self.read_prefix(cache, probe[0][:shared])
        ends = [(row, len(text) - 1) for row, text in enumerate(probe)]
        read = self.read(cache, [text[:-1] for text in probe], ends, 0, [0, 1])
        step = self.step(cache, [text[-1] for text in probe], [len(text) - 1 for text in probe])
        return torch.cat([read, step]).float()

    def _shares_prefixes(self, expected: torch.Tensor) -> bool:
        try:
            with torch.inference_mode():
                return _close(self._in_slots(2), expected, self.model.dtype)
        except Exception:  # whatever an architecture does with a mask that it does not know; it works without
            return False

    def new_cache(self, slots: int, length: int) -> SlotCache:
        """An empty cache for `slots` texts of up to `length` tokens."""
        return SlotCache(self.layers, slots, length, self.model.device)

    def read_prefix(self, cache: SlotCache, tokens: list[int]) -> None:
        """Reads what all prompts that go into `cache` begin with; `read` then reads only what follows it."""
        device = self.model.device
        cache.for_prefix(len(tokens))
        positions = torch.arange(len(tokens), device=device)[None]
        self._logits(torch.tensor([tokens], device=device), positions, None, cache, [(0, len(tokens) - 1)])

    def read(
        self,
        cache: SlotCache,
        prompts: Sequence[list[int]],
        ends: Sequence[tuple[int, int]],
        first: int,
        source: list[int],
        keep: bool = False,
    ) -> torch.Tensor:
        """Reads prompts, the longest first: slot `first + i` gets that of number `source[i]`.

        Returns logits of shape (ends, vocabulary): of each pair, what follows the prompt of that number cut to so
        many tokens. With `keep`, `cache.repeat` can fill further slots with the last prompt.
        """
        device, longest, prefix = self.model.device, len(prompts[0]), cache.prefix
        cache.for_prompts(first, torch.tensor(source, device=device), longest, keep)
        ids = torch.tensor([prompt[prefix:] + [0] * (longest - len(prompt)) for prompt in prompts], device=device)
        positions = torch.arange(prefix, longest, device=device)[None]
        # Padding on the right is never looked at, so without a prefix no mask is needed.
        mask = self._mask(positions, longest) if prefix else None
        columns = [(row, length - 1 - prefix) for row, length in ends]
        return self._logits(ids, positions.expand(len(prompts), -1), mask, cache, columns)

    def step(self, cache: SlotCache, tokens: list[int], positions: list[int]) -> torch.Tensor:
        """Adds one token, which stands at `positions[i]`, to each text i; returns logits (texts, vocabulary)."""
        device = self.model.device
        at = cache.for_step(positions, device)
        ids = torch.tensor(tokens, device=device)[:, None]
        return self._logits(ids, at[:, None], self._mask(at[:, None], cache.seen), cache)

    def _unfit(self, reason: str) -> ModelError:
        return ModelError(
            f"Models of the architecture {self.model.config.model_type} cannot be served by the engine transformers "
            f"({' '.join(reason.split())[:200]}); use a decoder with ordinary or sliding-window attention."
        )

    def _logits(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: Any,
        cache: SlotCache,
        ends: Sequence[tuple[int, int]] | None = None,
    ) -> torch.Tensor:
        """Logits at these pairs of row and column; without any, at the only column of each row."""
        at = None
        if ends:
            rows, columns = torch.tensor(ends, device=ids.device).unbind(1)
            at = rows, columns
        if self._llama:
            return self._llama.logits(ids, positions, mask, cache, at)
        self._ends = at
        try:
            output = self.model(
                input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
            )
        finally:
            self._ends = None
        logits: torch.Tensor = output.logits[:, 0]
        return logits

    def _keep_ends(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Cuts what goes into the output embedding to the tokens that are asked for: the vocabulary is large."""
        return None if self._ends is None else (inputs[0][self._ends].unsqueeze(1),)

    def _mask(self, positions: torch.Tensor, longest: int) -> Any:
        """Zeros where a token may look and the least number elsewhere: from positions of shape (rows, tokens) to
        (rows, 1, tokens, longest), a dict by layer type for models that have several."""
        columns = torch.arange(longest, device=positions.device)
        positions = positions[..., None]
        later = columns > positions
        masks = {}
        for kind in self._layer_types or ["sliding_attention" if self._window else "full_attention"]:
            hidden = later
            if kind == "sliding_attention":
                hidden = later | (columns <= positions - self._window)
            mask = torch.zeros(hidden.shape, dtype=self.model.dtype, device=positions.device)
            masks[kind] = mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)[:, None]
        return masks if len(masks) > 1 else next(iter(masks.values()))


def _close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether logits agree but for rounding: another text's are off by about their spread.

    Half precision puts single logits off by a fifth of it, which is as much as a missing mask does; hence their mean.
    """
    apart = (found - expected).abs()
    if dtype == torch.float32:
        return not apart.max() > 0.2 * expected.std() + 1e-6
    return not apart.square().mean().sqrt() > 0.3 * expected.std() + 1e-6
