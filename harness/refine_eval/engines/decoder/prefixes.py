"""Prompts that begin alike: what they share is read once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from refine_eval.engines.decoder.text import Text

LEAST_PREFIX = 32
"""A common prefix of fewer tokens is read with each prompt: a pass of its own over the weights would cost as much."""


@dataclass(slots=True, kw_only=True, eq=False)
class Chain:
    """Texts whose prompts are all beginnings of `tokens`, the longest of them; attention looks back only, so its
    keys and values serve them all.

    `texts` are those still to be started, longest prompt first; `lengths` the different lengths of the prompts;
    `logits` of shape (lengths, vocabulary), kept once they are read for texts that found no free slot.
    """

    tokens: list[int]
    texts: deque[Text] = field(default_factory=deque)
    lengths: list[int] = field(default_factory=list)
    logits: torch.Tensor | None = None


def chains(texts: Iterable[Text], shared: int = 0) -> deque[Chain]:
    """Every text in one chain, the longest chains first: memory runs out at once or never.

    All prompts have their first `shared` tokens in common; these are not compared again.
    """
    alike: dict[tuple[int, ...], list[Text]] = {}
    for text in texts:
        alike.setdefault(tuple(text.prompt[shared:]), []).append(text)
    found: list[Chain] = []
    # In this order a prompt comes directly after those that it is the beginning of.
    for tokens in sorted(alike, reverse=True):
        prompt = alike[tokens][0].prompt
        if not found or found[-1].tokens[shared : len(prompt)] != prompt[shared:]:
            found.append(Chain(tokens=prompt))
        found[-1].texts.extend(alike[tokens])
        found[-1].lengths.append(len(prompt))
    return deque(sorted(found, key=lambda chain: -len(chain.tokens)))


def shared_length(texts: Iterable[Text]) -> int:
    """How many tokens all prompts have in common at their beginning, short of the whole of any prompt."""
    prompts = [text.prompt for text in texts]
    if not prompts:
        return 0
    # What the first and the last in lexicographic order have in common, all in between have.
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(prompts), max(prompts), strict=False))
    return min(sum(1 for _ in alike), min(map(len, prompts)) - 1)
