"""The forward pass of Llama and its like on a slot cache in few operations, for CPUs.

Between small matrices, what transformers does around each operation takes longer than the operation. Here the
projections that read the same input are one matrix, a norm is one operation, and nothing is looked up by name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from refine_eval.engines.decoder.packed_linear import Linear, fast_linear
from refine_eval.engines.decoder.slot_cache import SlotCache, step_attention


class _Layer(NamedTuple):
    """What one layer computes with."""

    norm: torch.Tensor
    query_key_value: Linear
    query_key_norm: torch.Tensor | None
    """Of shape (heads, 1, head size), the queries' first; Qwen3 norms each head."""
    output: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear
    down: Linear


class LlamaForward:
    """Takes over a model that `fits`: its layers are emptied as their weights are joined."""

    def __init__(self, model: Any) -> None:
        config, inner = model.config, model.model
        self.query_heads: int = config.num_attention_heads
        self.key_heads: int = config.num_key_value_heads
        self.size: int = inner.layers[0].self_attn.head_dim
        self.eps: float = config.rms_norm_eps
        self.activation = inner.layers[0].mlp.act_fn
        self.embedding, self.rotary = inner.embed_tokens.weight, inner.rotary_emb
        self.norm = inner.norm.weight
        self.head = fast_linear(model.lm_head.weight, model.lm_head.bias)
        self.layers = []
        while len(inner.layers):
            layer = inner.layers.pop(0)
            attention, mlp = layer.self_attn, layer.mlp
            self.layers.append(
                _Layer(
                    norm=layer.input_layernorm.weight,
                    query_key_value=_joined(attention.q_proj, attention.k_proj, attention.v_proj),
                    query_key_norm=self._head_norms(attention),
                    output=_joined(attention.o_proj),
                    mlp_norm=layer.post_attention_layernorm.weight,
                    gate_up=_joined(mlp.gate_proj, mlp.up_proj),
                    down=_joined(mlp.down_proj),
                )
            )

    def _head_norms(self, attention: Any) -> torch.Tensor | None:
        if not hasattr(attention, "q_norm"):
            return None
        heads = [attention.q_norm.weight] * self.query_heads + [attention.k_norm.weight] * self.key_heads
        return torch.stack(heads)[:, None].detach()

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether the model is a Llama, or a Mistral, Qwen2 or Qwen3 without windows, on a CPU."""
        from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM

        kinds = getattr(model.config, "layer_types", None) or ()
        windows = getattr(model.config, "sliding_window", None) or any(kind != "full_attention" for kind in kinds)
        same = type(model) in (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
        return same and not windows and model.device.type == "cpu"

    def logits(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor | None,
        cache: SlotCache,
        ends: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> torch.Tensor:
        """Logits after the tokens `ids` (rows, length) at `positions` (rows or 1, length).

        `ends` None: of shape (rows, vocabulary), after each row; else of shape (ends, vocabulary), after the tokens
        at these pairs of row and column. `mask` None: each token looks at its row up to itself.
        """
        rows, length = ids.shape
        hidden = F.embedding(ids, self.embedding)
        cos, sin = (table.unsqueeze(1) for table in self.rotary(hidden, positions))
        half = self.size // 2
        # Rotating by halves is rolling by half the size, with the sign of the first half changed.
        sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        turned = self.query_heads + self.key_heads
        for number, layer in enumerate(self.layers):
            mixed = layer.query_key_value(F.rms_norm(hidden, layer.norm.shape, layer.norm, self.eps))
            heads = mixed.view(rows, length, -1, self.size).transpose(1, 2)
            query_key = heads[:, :turned]
            if layer.query_key_norm is not None:
                query_key = F.rms_norm(query_key, (self.size,), None, self.eps) * layer.query_key_norm
            query_key = torch.addcmul(query_key * cos, query_key.roll(half, -1), sin)
            query, key = query_key[:, : self.query_heads], query_key[:, self.query_heads :]
            keys, values = cache.layers[number].update(key, heads[:, turned:])
            if length > 1 or mask is None:
                grouped, causal = self.query_heads != self.key_heads, mask is None
                heard = F.scaled_dot_product_attention(query, keys, values, mask, is_causal=causal, enable_gqa=grouped)
                heard = heard.transpose(1, 2)
            else:
                heard = step_attention(query, keys, values, mask, None)
            hidden = hidden + layer.output(heard.reshape(rows, length, -1))
            gate, up = layer.gate_up(F.rms_norm(hidden, layer.norm.shape, layer.mlp_norm, self.eps)).chunk(2, -1)
            hidden = hidden + layer.down(self.activation(gate) * up)
        end = hidden[:, -1] if ends is None else hidden[ends]
        return self.head(F.rms_norm(end, self.norm.shape, self.norm, self.eps))


def _joined(*projections: torch.nn.Linear) -> Linear:
    """One map that gives what the projections of the same input give, side by side."""
    weight = torch.cat([projection.weight for projection in projections]).detach()
    biases: list[torch.Tensor] = [projection.bias for projection in projections if projection.bias is not None]
    return fast_linear(weight, torch.cat(biases).detach() if biases else None)
