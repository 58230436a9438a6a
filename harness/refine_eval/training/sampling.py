"""Fast sampling from tiny Llama models, and the scores of critics, many texts at a time.

A general engine spends most of its time around such small models, not in them; this loop does only what a
Llama needs: one static cache, rows padded on the left, finished rows dropped.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from refine_eval.formats import STEP_END, split_steps, student_prompt
from refine_eval.step_scorer import encode_steps
from refine_eval.training.tokenizer import encode

_HIDDEN = torch.finfo(torch.float32).min


class Sampler:
    """Generates with the weights of a `LlamaForCausalLM` (no biases, one key-value head a query head)."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.heads = model.config.num_attention_heads
        self.qkv = [
            torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]).detach()
            for a in (layer.self_attn for layer in model.model.layers)
        ]
        self.up = [torch.cat([b.mlp.gate_proj.weight, b.mlp.up_proj.weight]).detach() for b in model.model.layers]

    def texts(
        self,
        prompts: Sequence[str],
        seed: int = 0,
        temperature: float = 0.0,
        limit: int = 96,
        rows: int = 256,
    ) -> list[str]:
        """A continuation of each prompt, without the end token; temperature 0 takes the likeliest token.

        `limit` is the most tokens a continuation may have. The same call with the same seed gives the same
        texts on one machine.
        """
        torch.manual_seed(seed)
        encoded = [encode(self.tokenizer, prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: len(encoded[index]))
        found: list[str] = [""] * len(prompts)
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            for index, ids in zip(
                chosen, self._continue([encoded[i] for i in chosen], temperature, limit), strict=True
            ):
                found[index] = self.tokenizer.decode(ids)
        return found

    @torch.no_grad()
    def _continue(self, prompts: list[list[int]], temperature: float, limit: int) -> list[list[int]]:
        longest = max(map(len, prompts))
        total = min(longest + limit, self.model.config.max_position_embeddings)
        eos, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
        mask = torch.zeros(len(prompts), 1, 1, total)
        for row, prompt in enumerate(prompts):
            mask[row, ..., : longest - len(prompt)] = _HIDDEN
        shape = (len(prompts), self.heads, total, 32)
        cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in self.qkv]
        cos, sin = self.model.model.rotary_emb(mask, torch.arange(total)[None])
        out: list[list[int]] = [[] for _ in prompts]
        rows, going = torch.arange(len(prompts)), torch.ones(len(prompts), dtype=torch.bool)
        at = 0
        while True:
            logits = self._forward(ids, at, mask, cache, cos[0], sin[0])
            at += ids.shape[1]
            if temperature > 0:
                chosen = torch.multinomial(torch.softmax(logits / temperature, -1), 1)[:, 0]
            else:
                chosen = logits.argmax(-1)
            going &= chosen != eos
            for row, token in zip(rows[going].tolist(), chosen[going].tolist(), strict=True):
                out[row].append(token)
            if at + 1 >= total or not going.any():
                return out
            if going.float().mean() < 0.75:  # each removal copies the whole cache, so not at every end
                rows, chosen, mask = rows[going], chosen[going], mask[going]
                cache = [(k[going], v[going]) for k, v in cache]
                going = going[going]
            ids = chosen[:, None]

    def _forward(
        self,
        ids: torch.Tensor,
        at: int,
        mask: torch.Tensor,
        cache: list[tuple[torch.Tensor, torch.Tensor]],
        cos: torch.Tensor,
        sin: torch.Tensor,
    ) -> torch.Tensor:
        """Logits of shape (rows, vocabulary) after the tokens `ids`, which stand at positions `at`, at+1, ..."""
        rows, length = ids.shape
        end = at + length
        seen = mask[..., :end]
        if length > 1:
            seen = seen + torch.full((length, end), _HIDDEN).triu(at + 1)
            seen = seen.clamp(min=_HIDDEN)
        hidden = F.embedding(ids, self.model.model.embed_tokens.weight)
        cos, sin = cos[at:end], sin[at:end]
        for layer, qkv, up, (keys, values) in zip(self.model.model.layers, self.qkv, self.up, cache, strict=True):
            mixed = F.linear(layer.input_layernorm(hidden), qkv).view(rows, length, 3, self.heads, 32)
            query, key, value = mixed.permute(2, 0, 3, 1, 4)
            query, key = (x * cos + torch.cat([-x[..., 16:], x[..., :16]], -1) * sin for x in (query, key))
            keys[:, :, at:end], values[:, :, at:end] = key, value
            heard = F.scaled_dot_product_attention(query, keys[:, :, :end], values[:, :, :end], attn_mask=seen)
            hidden = hidden + layer.self_attn.o_proj(heard.transpose(1, 2).reshape(rows, length, -1))
            gate, wide = F.linear(layer.post_attention_layernorm(hidden), up).chunk(2, -1)
            hidden = hidden + layer.mlp.down_proj(F.silu(gate) * wide)
        logits: torch.Tensor = self.model.lm_head(self.model.model.norm(hidden[:, -1]))
        return logits


@torch.no_grad()
def step_scores(
    critic: Any, tokenizer: Any, pairs: Sequence[tuple[str, Sequence[str]]], rows: int = 256
) -> list[list[float]]:
    """The probability of "good" at the end of each step, for (question, steps) pairs, in one pass each."""
    encoded = [encode_steps(tokenizer, question, steps) for question, steps in pairs]
    order = sorted(range(len(pairs)), key=lambda index: len(encoded[index][0]))
    found: list[list[float]] = [[] for _ in pairs]
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        longest = max(len(encoded[index][0]) for index in chosen)
        pad = tokenizer.pad_token_id
        ids = torch.tensor([encoded[i][0] + [pad] * (longest - len(encoded[i][0])) for i in chosen])
        good = critic(input_ids=ids, use_cache=False).logits.softmax(-1)[..., 1]
        for row, index in enumerate(chosen):
            found[index] = good[row, encoded[index][1]].tolist()
    return found


def sample_solutions(
    sampler: Sampler, questions: Sequence[str], each: int, temperature: float, seed: int
) -> list[list[tuple[str, ...]]]:
    """`each` sampled solutions of every question, as steps."""
    prompts = [student_prompt(question) for question in questions for _ in range(each)]
    texts = sampler.texts(prompts, seed=seed, temperature=temperature)
    return [[split_steps(text) for text in texts[at : at + each]] for at in range(0, len(texts), each)]


def continuations(
    sampler: Sampler, prefixes: Sequence[tuple[str, Sequence[str]]], temperature: float, seed: int
) -> list[tuple[str, ...]]:
    """One sampled continuation of every (question, steps so far), as further steps."""
    prompts = [student_prompt(question) + "".join(step + STEP_END for step in steps) for question, steps in prefixes]
    return [split_steps(text) for text in sampler.texts(prompts, seed=seed, temperature=temperature)]
