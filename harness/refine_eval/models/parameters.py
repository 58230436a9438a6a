"""How many of a model's parameters multiply with each token that it reads or writes: for FLOPs, without its weights.

Counted as N in Kaplan et al. (2020, arXiv 2001.08361, section 2.1): a forward pass takes 2 N FLOPs a token.
Embeddings, of tokens and of positions, are looked up and not multiplied, and the output layer, which may be the same
weights, is left out with them; so is attention over the context. Of a layer of experts those count that a token goes
through.
"""

from __future__ import annotations

import math
from typing import Any

from refine_eval.models.adapters import adapter_shapes
from refine_eval.models.loading import quiet_transformers
from refine_eval.models.sources import ModelSource

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_EXPERTS_A_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k")


def computing_parameters(config: Any, adapter: ModelSource | None = None) -> int | None:
    """The parameters of a model of this transformers configuration, with those of an adapter that is not merged.

    They are counted in a model without memory for weights, so that quantised ones are as many as they stand for; None
    where transformers cannot make one of the configuration.
    """
    import torch
    import transformers

    try:
        with quiet_transformers(), torch.device("meta"):
            text = config.get_text_config()
            model = transformers.AutoModel.from_config(text, trust_remote_code=False)
    except Exception:  # an architecture that it does not know, or no configuration at all
        return None
    share = _share_of_experts(text)
    counted = {
        id(weight): weight.numel() * (share if "experts" in name.split(".") else 1.0)
        for name, module in model.named_modules()
        if not isinstance(module, torch.nn.Embedding)
        for weight in module.parameters(recurse=False)
    }
    brought = adapter_shapes(adapter) if adapter else {}
    return round(sum(counted.values())) + sum(math.prod(s) for name, s in brought.items() if ".lora_" in name) or None


def _share_of_experts(config: Any) -> float:
    """The share of a layer's experts that a token goes through; 1 where there are none."""
    experts, chosen = (_first(config, names) for names in (_EXPERTS, _EXPERTS_A_TOKEN))
    return chosen / experts if experts and chosen and chosen < experts else 1.0


def _first(config: Any, names: tuple[str, ...]) -> int | None:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if isinstance(value, int)), None)
