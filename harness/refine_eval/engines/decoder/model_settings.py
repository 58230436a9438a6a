"""What a model's generation settings (generation_config.json) ask for, done as lm-eval's hf does it in greedy decoding.

lm-eval passes its own length and takes the likeliest token; transformers adds what the settings say of single tokens:
penalties, words and tokens that are forbidden or forced, least lengths. What would need another way of decoding, such
as beams, is refused. lm-eval's batches are padded, and padding counts for some penalties, so that there a text can
depend on its batch; here it is what lm-eval writes of it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from refine_eval.engines.decoder.text import Text
from refine_eval.errors import ModelError, first_line

DONE = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "min_length": 0,
    "min_new_tokens": 0,
    "max_new_tokens": None,
    "exponential_decay_length_penalty": None,
    "remove_invalid_values": False,
}
"""Entries that change single tokens, and the value with which each does nothing."""

REFUSED = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "penalty_alpha": 0.0,
    "dola_layers": None,
    "guidance_scale": 1,
    "watermarking_config": None,
    "token_healing": False,
    "constraints": None,
    "force_words_ids": None,
    "stop_strings": None,
    "max_time": None,
    "prompt_lookup_num_tokens": None,
    "assistant_early_exit": None,
    "use_mtp": False,
}
"""Entries that need another way of decoding, or with which transformers itself stops."""

WITHOUT_EFFECT = frozenset(
    (
        # what sampling alone looks at, and what lm-eval passes itself
        *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        *("max_length", "pad_token_id", "bos_token_id", "eos_token_id", "renormalize_logits"),
        # parts of what is refused
        *("early_stopping", "length_penalty", "low_memory", "diversity_penalty", "num_beam_groups"),
        *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
        *("max_matching_ngram_size", "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight"),
        "speculation_type",
        # for encoder-decoders
        "decoder_start_token_id",
        # how it is computed, and what else is given back
        *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "prefill_chunk_size"),
        *("compile_config", "disable_compile", "continuous_batching_config"),
        *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate"),
        *("_from_model_config", "transformers_version"),
    )
)
"""Entries that change no greedy text."""


class ModelSettings:
    """The settings of a model that change what it writes; `wanted` are those, by name, and empty for most models."""

    def __init__(self, model: Any, name: str) -> None:
        """ModelError, which names the entry, where the settings cannot be done; `name` is the model's."""
        self._model, self._name = model, name
        settings = model.generation_config
        for entry, idle in REFUSED.items():
            if (value := getattr(settings, entry, None)) is not None and value != idle:
                raise ModelError(
                    f"The generation_config.json of {name} asks for {entry}={str(value)[:60]}, which only takes the "
                    "likeliest token one by one; remove the entry there, if the model may be used without."
                )
        found = {entry: getattr(settings, entry, None) for entry in DONE}
        self.wanted = {
            entry: value for entry, value in found.items() if value is not None and value != DONE[entry] and value != []
        }
        if self.wanted:
            self._check()

    @property
    def identity(self) -> str:
        """The settings that change texts, as part of the model's identity; "" without any."""
        listed = "+".join(f"{entry}={value}" for entry, value in sorted(self.wanted.items()))
        return f":generation_config:{listed}" if listed else ""

    def prepare(self, text: Text) -> None:
        """Sets the text's limit, and what changes its logits, where the settings ask for something."""
        if self.wanted:
            text.limit = min(text.limit, self.wanted.get("max_new_tokens", text.limit))
            text.processors = self._processors(text.prompt, text.limit)

    def _check(self) -> None:
        """ModelError for values of which transformers can make nothing; it looks at some only with the first logits."""
        entries, device = " and ".join(self.wanted), self._model.device
        try:
            longest = self.wanted.get("max_new_tokens", 1)
            if not isinstance(longest, int) or longest < 1:
                raise ValueError(f"max_new_tokens is {longest!r}")
            vocabulary = self._model.config.get_text_config().vocab_size
            for limit in (1, 2):  # what is forced at the last token is seen with the first limit
                apply = self._processors([0], limit)
                apply(torch.tensor([[0]], device=device), torch.zeros(1, vocabulary, device=device))
        except Exception as error:  # whatever transformers makes of somebody's values
            raise ModelError(
                f"The generation_config.json of {self._name} asks for {entries}, which cannot be done "
                f"({first_line(error)}); correct or remove it there."
            ) from error

    def _processors(self, prompt: Sequence[int], limit: int) -> Any:
        """What transformers' generate would apply to the logits of a text after this prompt."""
        ids = torch.tensor([list(prompt)], device=self._model.device)
        settings, _ = self._model._prepare_generation_config(None, do_sample=False, max_length=len(prompt) + limit)
        self._model._prepare_special_tokens(settings, True, device=ids.device)
        if settings.min_new_tokens is not None:
            settings.min_length = settings.min_new_tokens + len(prompt)
        return self._model._get_logits_processor(
            settings, input_ids_seq_length=len(prompt), encoder_input_ids=ids, device=ids.device, model_kwargs={}
        )


def processed(logits: torch.Tensor, texts: Sequence[Text]) -> torch.Tensor:
    """Logits of shape (texts, vocabulary) as each text's processors change them."""
    logits = logits.to(dtype=torch.float32, copy=True)
    for row, text in enumerate(texts):
        ids = torch.tensor([[*text.prompt, *text.written]], device=logits.device)
        logits[row] = text.processors(ids, logits[row : row + 1])[0]
    return logits
