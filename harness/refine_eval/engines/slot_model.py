"""A language model of transformers, run on a slot cache: prompts into free slots, then a token a text at a time.

Works with any decoder whose layers attend to all earlier tokens or to a window of them, and says so of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from refine_eval.engines.llama_forward import LlamaForward
from refine_eval.engines.packed_linear import pack_linear_layers
from refine_eval.engines.slot_cache import SlotCache, use_slot_attention
from refine_eval.errors import ModelError


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
        self._last: torch.Tensor | None = None
        try:
            with torch.inference_mode():
                expected = self._whole_texts()
            self._llama = self._take_over()
            with torch.inference_mode():
                found = self._in_slots()
        except Exception as error:  # whatever an architecture does with a cache that it does not know
            raise self._unfit(f"{type(error).__name__}: {error}") from error
        # Half precision is off by a hundredth or so of the logits' spread, another text by about all of it.
        if (found - expected).abs().max() > 0.2 * expected.std() + 1e-6:
            raise self._unfit("its logits depend on how its cache is laid out")

    def _take_over(self) -> LlamaForward | None:
        if LlamaForward.fits(self.model):
            return LlamaForward(self.model)
        use_slot_attention(self.model)
        pack_linear_layers(self.model)
        self.model.get_output_embeddings().register_forward_pre_hook(self._keep_last)
        return None

    def _probe(self) -> list[list[int]]:
        """Two short texts of different length."""
        vocabulary = self.model.config.get_text_config().vocab_size
        return [[token % vocabulary for token in text] for text in ([5, 6, 7, 8, 4], [9, 3, 2])]

    def _whole_texts(self) -> torch.Tensor:
        """The model's own logits after each probe, of shape (2, vocabulary)."""
        ids = [torch.tensor([text], device=self.model.device) for text in self._probe()]
        return torch.cat([self.model(input_ids=row, use_cache=False).logits[:, -1] for row in ids]).float()

    def _in_slots(self) -> torch.Tensor:
        """The same by reading all but the last token, then that in a step."""
        probe = self._probe()
        cache = self.new_cache(2, 5)
        self.read(cache, [text[:-1] for text in probe], 0, [0, 1])
        return self.step(cache, [text[-1] for text in probe], [len(text) - 1 for text in probe]).float()

    def new_cache(self, slots: int, length: int) -> SlotCache:
        """An empty cache for `slots` texts of up to `length` tokens."""
        return SlotCache(self.layers, slots, length, self.model.device)

    def read(self, cache: SlotCache, prompts: Sequence[list[int]], first: int, source: list[int]) -> torch.Tensor:
        """Reads prompts, the longest first: slot `first + i` gets that of number `source[i]`.

        Returns the logits after each prompt, of shape (prompts, vocabulary).
        """
        device, longest = self.model.device, len(prompts[0])
        # Padding on the right is never looked at, so no mask is needed.
        ids = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts], device=device)
        cache.for_prompts(first, torch.tensor(source, device=device), longest)
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

    def _unfit(self, reason: str) -> ModelError:
        return ModelError(
            f"Models of the architecture {self.model.config.model_type} cannot be served by the engine transformers "
            f"({' '.join(reason.split())[:200]}); use a decoder with ordinary or sliding-window attention."
        )

    def _logits(self, ids: torch.Tensor, positions: torch.Tensor, mask: Any, cache: SlotCache) -> torch.Tensor:
        if self._llama:
            return self._llama.logits(ids, positions, mask, cache, self._last)
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
