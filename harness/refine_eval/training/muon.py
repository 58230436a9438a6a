"""Muon for the matrices inside the layers, AdamW for everything else, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch


def muon_and_adamw(model: torch.nn.Module, muon_rate: float, adam_rate: float) -> torch.optim.Optimizer:
    """One optimizer over the trainable parameters of `model`; the rates are peak learning rates."""
    hidden: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (hidden if parameter.ndim == 2 and ".layers." in name else others).append(parameter)
    found: list[torch.optim.Optimizer] = []
    if hidden:
        found.append(torch.optim.Muon(hidden, lr=muon_rate, weight_decay=0.0))
    if others:
        found.append(torch.optim.AdamW(others, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0))
    return _Several(found)


class _Several(torch.optim.Optimizer):
    """Steps several optimizers as one; the groups of all are its own, so that a schedule reaches them."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self._optimizers = optimizers
        groups = [group for one in optimizers for group in one.param_groups]
        super().__init__([parameter for group in groups for parameter in group["params"]], {})
        self.param_groups = groups

    def step(self, closure: Any = None) -> Any:
        for one in self._optimizers:
            one.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [one.state_dict() for one in self._optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for one, found in zip(self._optimizers, state["optimizers"], strict=True):
            one.load_state_dict(found)
        self.param_groups = [group for one in self._optimizers for group in one.param_groups]
