"""Rows that begin alike, laid out as one row that branches: what they share is read once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from refine_eval.models.tokens import probe_texts

_MOST_TOKENS = 4096
"""In a row with branches: its mask has the square of that."""

_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""How configurations call the reach of attention that does not look at all earlier tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Rows as one: the tokens of the first, then of each further one those that no row before it has there.

    `members` are the rows' numbers; `paths[n]` has, in ascending order, the places in `tokens` at which the tokens of
    row `members[n]` stand, of which the last `fresh[n]` were added for it.
    """

    members: list[int]
    tokens: list[int]
    paths: list[list[int]]
    fresh: list[int]

    @classmethod
    def alone(cls, number: int, ids: Sequence[int]) -> Packed:
        """One row, as it is."""
        return cls(members=[number], tokens=list(ids), paths=[list(range(len(ids)))], fresh=[len(ids)])

    def shared(self, ids: Sequence[int]) -> int:
        """How many tokens a row begins with as the last one here does."""
        last = (self.tokens[place] for place in self.paths[-1])
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(last, ids, strict=False)))

    def add(self, number: int, ids: Sequence[int], shared: int) -> None:
        """Adds a row whose first `shared` tokens are those of the last one."""
        fresh = range(len(self.tokens), len(self.tokens) + len(ids) - shared)
        self.members.append(number)
        self.tokens.extend(ids[shared:])
        self.paths.append([*self.paths[-1][:shared], *fresh])
        self.fresh.append(len(fresh))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be packed for a model of this `width` (of its hidden states): so many `rows` (None: any), `tokens`."""

    width: int
    tokens: int
    rows: int | None = None

    @classmethod
    def of(cls, config: Any, rows: int | None) -> Limits:
        """Those of a model with this configuration."""
        config = config.get_text_config()
        reaches = [getattr(config, name, None) for name in _WINDOWS]
        tokens = min([_MOST_TOKENS, *(reach for reach in reaches if reach and isinstance(reach, int))])
        return cls(width=getattr(config, "hidden_size", 0), tokens=tokens, rows=rows)

    def admit(self, pack: Packed, ids: Sequence[int], shared: int) -> bool:
        """Whether a row is read for less as a branch of a pack than by itself."""
        before, after = len(pack.tokens), len(pack.tokens) + len(ids) - shared
        return (
            len(pack.members) != self.rows
            and after <= self.tokens
            and self._cost(after) < self._cost(before) + self._cost(len(ids))
        )

    def _cost(self, tokens: int) -> int:
        # A layer takes about 24 width^2 operations a token, and attention 4 width more for each token in the row,
        # those that a mask hides included.
        return tokens * (6 * self.width + tokens)


def packed(rows: Iterable[tuple[int, list[int]]], limits: Limits | None) -> list[Packed]:
    """Rows by their numbers, each in one pack, the longest first; without `limits` each by itself."""
    found: list[Packed] = []
    # In this order a row comes next to those that it shares most with.
    for number, ids in sorted(rows, key=lambda row: row[1]):
        if limits and found and limits.admit(found[-1], ids, shared := found[-1].shared(ids)):
            found[-1].add(number, ids, shared)
        else:
            found.append(Packed.alone(number, ids))
    return sorted(found, key=lambda pack: -len(pack.tokens))


def laid_out(packs: Sequence[Packed], dtype: Any) -> tuple[Any, Any]:
    """What a model needs beside the tokens: a mask (packs, 1, length, length) and positions (packs, length).

    The mask is 0 where a token may look, which is at its own row, and the least number of `dtype` elsewhere.
    """
    import torch

    longest = max(len(pack.tokens) for pack in packs)
    mask = torch.full((len(packs), longest, longest), torch.finfo(dtype).min, dtype=dtype)
    positions = torch.zeros(len(packs), longest, dtype=torch.long)
    for index, pack in enumerate(packs):
        for path, fresh in zip(pack.paths, pack.fresh, strict=True):
            depth, places = torch.arange(len(path)), torch.tensor(path, dtype=torch.long)
            new = slice(len(path) - fresh, None)
            positions[index, places[new]] = depth[new]
            hidden = depth > depth[new, None]
            mask[index, places[new, None], places] = hidden.to(dtype) * torch.finfo(dtype).min
    return mask[:, None], positions


def reads_packed(model: Any) -> bool:
    """Whether a model of transformers computes for rows in a pack what it computes for each by itself.

    Not so where tokens look ahead, where memory runs from token to token, or where it takes no such mask.
    """
    import torch

    base, rows = model.base_model, probe_texts(model.config)
    pack = Packed.alone(0, rows[0])
    pack.add(1, rows[1], 2)
    try:
        with torch.inference_mode():
            device = model.device
            alone = [
                base(input_ids=torch.tensor([row], device=device), use_cache=False).last_hidden_state[0] for row in rows
            ]
            mask, positions = (tensor.to(device) for tensor in laid_out([pack], model.dtype))
            ids = torch.tensor([pack.tokens], device=device)
            together = base(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    except Exception:  # whatever an architecture does with a mask that it does not know; it works without
        return False
    expected = torch.cat(alone).float()
    found = torch.cat([together.last_hidden_state[0, path] for path in pack.paths]).float()
    apart, spread = (found - expected).square().mean().sqrt(), expected.std()
    return bool(apart <= (1e-4 if model.dtype == torch.float32 else 0.1) * spread)
