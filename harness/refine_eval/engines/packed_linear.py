"""Linear layers with weights laid out for oneDNN: on CPUs, for the few rows of a decode step, up to twice as fast.

Torch's own linear layer in float32 calls a BLAS that reads the weights as they lie, which is at its worst for 8 to
64 rows; in bfloat16 torch uses oneDNN by itself. Results differ from torch's in the last bits only.
"""

from __future__ import annotations

from typing import Any

import torch

_LEAST_WEIGHTS = 1 << 15
"""Smaller layers gain nothing."""

_ROWS = 32
"""The number of rows that the layout is made for; any other works too."""


class PackedLinear(torch.nn.Module):
    """What `linear` computes, from a packed copy of its weights."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = _operators()._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self.bias = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """From shape (..., in_features) to (..., out_features)."""
        result: torch.Tensor = _operators()._linear_pointwise(hidden, self.packed, self.bias, "none", [], "")
        return result


def pack_linear_layers(model: torch.nn.Module) -> None:
    """Replaces the model's larger linear layers, one at a time, so that little memory is taken twice.

    Does nothing on a GPU, in other types than float32, and where this build of torch has no oneDNN.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32 or not _works():
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child.weight.numel() >= _LEAST_WEIGHTS:
                setattr(parent, name, PackedLinear(child))


def _works() -> bool:
    """Whether torch has the two operators, which are its compiler's own, and they compute what they should."""
    linear, hidden = torch.nn.Linear(16, 8), torch.ones(3, 16)
    try:
        with torch.inference_mode():
            return torch.allclose(PackedLinear(linear)(hidden), linear(hidden), atol=1e-4)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False


def _operators() -> Any:
    return torch.ops.mkldnn
