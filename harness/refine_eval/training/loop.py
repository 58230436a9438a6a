"""The training loop: reads top to bottom, the same for generators and critics."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from refine_eval.training.batches import IGNORE, Batch


class Rates(NamedTuple):
    """Peak learning rates: Muon's for hidden matrices, AdamW's for embeddings, norms and heads."""

    muon: float
    adam: float


def token_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the positions that have a target; serves generators and critics alike.

    A causal language model's logits are (rows, length, vocabulary), a token classifier's (rows, length, 2).
    """
    logits = model(input_ids=batch.ids, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORE)


def optimizers(model: torch.nn.Module, rates: Rates) -> list[torch.optim.Optimizer]:
    """Muon for the trainable matrices inside the layers, AdamW for every other trainable parameter."""
    hidden: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (hidden if parameter.ndim == 2 and ".layers." in name else others).append(parameter)
    found: list[torch.optim.Optimizer] = []
    if hidden:
        found.append(torch.optim.Muon(hidden, lr=rates.muon, weight_decay=0.0))
    if others:
        found.append(torch.optim.AdamW(others, lr=rates.adam, betas=(0.9, 0.98), weight_decay=0.0))
    return found


def schedule(step: int, steps: int) -> float:
    """Share of the peak rate: 20 steps of warm-up, constant, and a straight way down in the second half."""
    return min(1.0, (step + 1) / 20, 2 * (steps - step) / steps)


def train(
    model: Any,
    batches: Iterator[Batch],
    steps: int,
    rates: Rates,
    log: Callable[[str], None] = print,
    loss: Callable[[Any, Batch], torch.Tensor] = token_loss,
) -> list[float]:
    """Train `model` in place for `steps` batches; returns the loss of each.

    Parameters that do not require a gradient stay as they are. Raises `FloatingPointError` on a loss that is
    not a number, before it can reach the weights.
    """
    model.train()
    used = optimizers(model, rates)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in used]
    losses: list[float] = []
    started = time.monotonic()
    for step in range(steps):
        for optimizer, rates_of in zip(used, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, rates_of, strict=True):
                group["lr"] = peak * schedule(step, steps)
        value = loss(model, next(batches))
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss became {value.item()} at step {step}; lower the learning rate")
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        for optimizer in used:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(value.item())
        if step % 100 == 99 or step == steps - 1:
            recent = sum(losses[-100:]) / len(losses[-100:])
            log(f"step {step + 1}/{steps} loss {recent:.4f} {time.monotonic() - started:.0f} s")
    model.eval()
    return losses
