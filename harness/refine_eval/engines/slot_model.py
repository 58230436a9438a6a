"""A language model of transformers, run on a slot cache: prompts into free slots, then a token a text at a time.

Works with any decoder whose layers attend to all earlier tokens or to a window of them, and says so of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from refine_eval.engines.packed_linear import pack_linear_layers
from refine_eval.engines.slot_cache import SlotCache, use_slot_attention
from refine_eval.errors import ModelError


class SlotModel:
    """Takes over `model`, a causal language model of transformers: its attention and its linear layers."""

    def __init__(self, model: Any) -> None:
        self.model = model
        config = model.config.get_text_config()
        self.layers: int = config.num_hidden_layers
        self._window: int = getattr(config, "sliding_window", None) or 0
        self._layer_types = sorted(set(getattr(config, "layer_types", None) or ()))
        self._last: torch.Tensor | None = None
        use_slot_attention(model)
        pack_linear_layers(model)
        head = model.get_output_embeddings()
        if head is None:
            raise self._unfit("it has no output embedding")
        head.register_forward_pre_hook(self._keep_last)

    def read(self, cache: SlotCache, prompts: Sequence[list[int]], first: int, source: list[int]) -> torch.Tensor:
        """Reads prompts, the longest first: slot `first + i` gets that of number `source[i]`.

        Returns the logits after each prompt, of shape (prompts, vocabulary).
        """
        device, longest = self.model.device, len(prompts[0])
        # Padding on the right is never looked at, so no mask is needed.
        ids = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts], device=device)
        cache.for_prompts(first, torch.tensor(source, device=device))
        self._last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
        try:
            return self._logits(ids, torch.arange(longest, device=device).expand(len(prompts), -1), None, cache)
        finally:
            self._last = None

    def step(self, cache: SlotCache, tokens: list[int], positions: list[int]) -> torch.Tensor:
        """Adds one token, which stands at `positions[i]`, to each text i; returns logits (texts, vocabulary)."""
        device = self.model.device
        at = cache.for_step(positions, device)
        ids = torch.tensor(tokens, device=device)[:, None]
        return self._logits(ids, at[:, None], self._mask(at, cache.seen), cache)

    @torch.inference_mode()
    def check(self) -> None:
        """ModelError where the model does not compute here what it computes on whole texts.

        So an architecture that needs another kind of cache or mask is refused, instead of writing nonsense.
        """
        texts = [[n % self.model.config.get_text_config().vocab_size for n in row] for row in ([5, 6, 7, 8], [9, 3])]
        try:
            cache = SlotCache(self.layers, 2, 5)
            self.read(cache, texts, 0, [0, 1])
            found = self.step(cache, [4, 2], [len(text) for text in texts])
            expected = [
                self.model(input_ids=torch.tensor([[*text, token]], device=self.model.device), use_cache=False).logits
                for text, token in zip(texts, (4, 2), strict=True)
            ]
        except Exception as error:  # whatever an architecture does with a cache that it does not know
            raise self._unfit(f"{type(error).__name__}: {error}") from error
        whole = torch.cat([logits[:, -1] for logits in expected]).float()
        # Half precision is off by a hundredth or so of the logits' spread, another text by about all of it.
        if (found.float() - whole).abs().max() > 0.2 * whole.std() + 1e-6:
            raise self._unfit("its logits depend on the cache's layout")

    def _unfit(self, reason: str) -> ModelError:
        return ModelError(
            f"Models of the architecture {self.model.config.model_type} cannot be served by the engine transformers "
            f"({' '.join(reason.split())[:200]}); use a decoder with ordinary or sliding-window attention."
        )

    def _logits(self, ids: torch.Tensor, positions: torch.Tensor, mask: Any, cache: SlotCache) -> torch.Tensor:
        output = self.model(
            input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
        )
        logits: torch.Tensor = output.logits[:, 0]
        return logits

    def _keep_last(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Cuts what goes into the output embedding to each prompt's last token: the vocabulary is large."""
        if self._last is None:
            return None
        hidden = inputs[0]
        return (hidden[torch.arange(len(hidden), device=hidden.device), self._last].unsqueeze(1),)

    def _mask(self, positions: torch.Tensor, longest: int) -> Any:
        """Zeros where a row may look and the least number elsewhere: (rows, 1, 1, longest), a dict by layer type
        for models that have several."""
        columns = torch.arange(longest, device=positions.device)
        later = columns > positions[:, None]
        masks = {}
        for kind in self._layer_types or ["sliding_attention" if self._window else "full_attention"]:
            hidden = later
            if kind == "sliding_attention":
                hidden = later | (columns <= positions[:, None] - self._window)
            mask = torch.zeros(hidden.shape, dtype=self.model.dtype, device=positions.device)
            masks[kind] = mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)[:, None, None]
        return masks if len(masks) > 1 else next(iter(masks.values()))
