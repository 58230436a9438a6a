"""Linear layers with weights laid out for oneDNN: on CPUs, for the few rows of a decode step, up to twice as fast.

Torch's own linear layer in float32 calls a BLAS that reads the weights as they lie, which is at its worst for 8 to
64 rows; in bfloat16 it has oneDNN lay them out anew at each call. Results differ from torch's in the last bits only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch

Linear = Callable[[torch.Tensor], torch.Tensor]
"""From shape (..., in) to (..., out)."""

_LEAST_WEIGHTS = 1 << 13
"""Smaller layers gain nothing."""

_ROWS = 32
"""The number of rows that the layout is made for; any other works too."""

_MOST_ROWS = 512
"""In bfloat16, more rows at once are slower again, by up to a half."""


def fast_linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    """The linear map of `weight` (out, in) and `bias` (out,), from a packed copy of the weights where that pays."""
    if weight.device.type == "cpu" and weight.numel() >= _LEAST_WEIGHTS and _works(weight.dtype):
        return _packed(weight, bias)
    return partial(torch.nn.functional.linear, weight=weight, bias=bias)


class PackedLinear(torch.nn.Module):
    """What `linear` computes, made fast."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._map = fast_linear(linear.weight.detach(), linear.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """From shape (..., in_features) to (..., out_features)."""
        return self._map(hidden)


def pack_linear_layers(model: torch.nn.Module) -> None:
    """Replaces the linear layers of a model on a CPU, one at a time, so that little memory is taken twice."""
    if next(model.parameters()).device.type != "cpu":
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear:
                setattr(parent, name, PackedLinear(child))


def _packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    operators: Any = torch.ops.mkldnn  # those that torch's compiler uses
    packed = operators._reorder_linear_weight(weight, _ROWS)
    compute, weight_type = operators._linear_pointwise, weight.dtype

    def linear(hidden: torch.Tensor) -> torch.Tensor:
        if weight_type is torch.bfloat16 and hidden.numel() > _MOST_ROWS * hidden.shape[-1]:
            rows = hidden.reshape(-1, hidden.shape[-1])
            parts = [compute(part, packed, bias, "none", [], "") for part in torch.split(rows, _MOST_ROWS)]
            return torch.cat(parts).view(*hidden.shape[:-1], -1)
        result: torch.Tensor = compute(hidden, packed, bias, "none", [], "")
        return result

    return linear


@cache
def _works(dtype: torch.dtype) -> bool:
    """Whether this build of torch, on this processor, has the two operators for `dtype`, and they compute right."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    weight, hidden = torch.linspace(-1, 1, 128).view(8, 16).to(dtype), torch.ones(3, 16, dtype=dtype)
    try:
        return torch.allclose(
            _packed(weight, None)(hidden), hidden @ weight.T, atol=1e-4 if dtype == torch.float32 else 0.05
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
