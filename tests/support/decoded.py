"""An opened transformers engine on a tiny model, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_models as tiny
import torch

from refine_eval.data import Generation, Request
from refine_eval.engines.transformers_engine import TransformersEngine


def opened(folder: Path, batch_size: int | None = None, **options: Any) -> TransformersEngine:
    engine = TransformersEngine(TransformersEngine.Options(pretrained=str(folder), **options))
    engine.open(replace(tiny.CPU, batch_size=batch_size))
    return engine


def written(engine: TransformersEngine, requests: Sequence[Request]) -> list[Generation]:
    found = dict(engine.generate(requests))
    assert sorted(found) == list(range(len(requests)))
    return [found[index] for index in range(len(requests))]


def alone(model: Any, request: Request) -> tuple[str, int, str]:
    """Text, tokens and finish reason of `model.generate` on one prompt."""
    tokenizer = tiny.tokenizer()
    ids = tokenizer(request.prompt, return_tensors="pt").input_ids
    new = model.generate(input_ids=ids, max_new_tokens=request.sampling.max_tokens, do_sample=False, pad_token_id=0)[
        0, ids.shape[1] :
    ].tolist()
    ended = new[-1] == tokenizer.eos_token_id
    return tokenizer.decode(new, skip_special_tokens=True), len(new) - ended, "stop" if ended else "length"


def random_model(folder: Path, architecture: str) -> Any:
    """A random model saved in `folder`, with a window of 8 tokens where the architecture has windows.

    Its norms' weights and its biases are random too: with those that a new model has, leaving them out changes nothing.
    """
    import transformers

    small = {k: v for k, v in tiny.llama_config().to_dict().items() if k not in ("architectures", "model_type")}
    small |= {"head_dim": 16, "rope_parameters": None, "layer_types": None}
    if architecture in ("Mistral", "Gemma3"):
        small["sliding_window"] = 8
    if architecture == "Gemma3":
        small |= {"layer_types": ["sliding_attention", "full_attention"]}
    config = getattr(transformers, architecture + ("TextConfig" if architecture == "Gemma3" else "Config"))(**small)
    torch.manual_seed(0)
    model = getattr(transformers, architecture + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(torch.randn_like(weight), alpha=0.3)
    tiny.save(model, folder)
    return model
