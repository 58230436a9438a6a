"""Models of the world "apples" from nothing: tokenizer, small Llamas, and critics grown on frozen language models."""

from __future__ import annotations

import functools
from itertools import islice
from typing import Any

from refine_eval import BAD, global_prompt, student_prompt
from refine_eval_benchmarks.apples import stream


@functools.cache
def world_tokenizer() -> Any:
    """The tokenizer of the world: all words of its questions, digits, signs and the formats' words."""
    from refine_eval_benchmarks.apples_tokenizer import build_tokenizer

    texts = [student_prompt(p["question"]) + p["answer"] for p in islice(stream("train"), 3_000)]
    return build_tokenizer([*texts, global_prompt("", [])], special=[BAD])


def new_language_model(width: int, layers: int, heads: int, seed: int, context: int = 512) -> Any:
    """A fresh `LlamaForCausalLM` with heads of 32, which vLLM's kernels support, and tied embeddings.

    Its configuration names its only task, so that the harness can refuse texts with words that it does not know.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    tokenizer = world_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        refine_eval_task="apples",
    )
    return LlamaForCausalLM(config)


def critic_on(backbone: Any, fresh_layers: int, residual: float, seed: int) -> Any:
    """A `LlamaForTokenClassification`: the layers of a language model with fresh ones on top.

    `residual` is the size of what the backbone's last layer gives on (`residual_size`). The
    fresh layers learn well only if what they add is of the size of what they add it to. So the backbone's
    embedding and the matrices that write into its residual are divided by it (and the norms' epsilon by its
    square): every layer normalises its own input, hence the backbone computes what it did before, and its
    output has size one. This does what a norm between the two would do, and stays an ordinary Llama.

    The head's weights do not start at zero, or Muon would amplify the noise of the vanishing gradients below them; its
    bias does, and stays there.
    """
    import torch
    from transformers import LlamaConfig, LlamaForTokenClassification

    torch.manual_seed(seed)
    depth = backbone.config.num_hidden_layers
    settings = backbone.config.to_dict()
    settings |= {
        "num_hidden_layers": depth + fresh_layers,
        "tie_word_embeddings": False,
        "rms_norm_eps": backbone.config.rms_norm_eps / residual**2,
        "architectures": None,
        "id2label": {0: "bad", 1: "good"},
        "label2id": {"bad": 0, "good": 1},
        "num_labels": 2,
        "classifier_dropout": 0.0,
    }
    critic = LlamaForTokenClassification(LlamaConfig(**settings))
    below = {k: v for k, v in backbone.model.state_dict().items() if not k.startswith("norm.")}
    critic.model.load_state_dict(below, strict=False)
    with torch.no_grad():
        critic.model.embed_tokens.weight /= residual
        for layer in critic.model.layers[:depth]:
            layer.self_attn.o_proj.weight /= residual
            layer.mlp.down_proj.weight /= residual
        critic.score.weight.normal_(std=critic.config.hidden_size**-0.5)
        critic.score.bias.zero_()
    critic.score.bias.requires_grad_(False)
    return critic


def residual_size(backbone: Any, ids: Any) -> float:
    """Size of the last layer's output, before the final norm: the median over tokens of the root mean square.

    `ids` are tokens of shape (rows, length). A median, since a few tokens can be far larger than the rest.
    """
    import torch

    caught: list[torch.Tensor] = []
    hook = backbone.model.norm.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        backbone(input_ids=ids, use_cache=False)
    hook.remove()
    return float(caught[0].pow(2).mean(-1).sqrt().median())
