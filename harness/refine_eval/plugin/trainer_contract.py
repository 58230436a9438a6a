"""The entrance of what trainers make: checked here, plain and typed behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refine_eval.errors import PluginError
from refine_eval.plugin.boundary import blamed, called
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.values import listed, number, short, whole
from refine_eval.training_rows import Example


def read_start(trainer: Trainer, found: object, base: str | None) -> tuple[Any, Any] | None:
    """What a trainer starts from: a model and a tokenizer, or None where the loop is to load its base."""
    if found is None and base:
        return None
    if isinstance(found, tuple) and len(found) == 2 and all(part is not None for part in found):
        return found
    wanted = "(model, tokenizer)" if not trainer.needs_base else "(model, tokenizer) or None"
    raise PluginError(f"{called(trainer)} must return {wanted} from start(), not {short(found)}.")


def read_loss(trainer: Trainer, found: Any) -> Any:
    """A trainer's loss of a batch, one number that can be differentiated; None for the loop's own."""
    if found is None or (getattr(found, "requires_grad", None) is not None and found.numel() == 1):
        return found
    raise PluginError(f"{called(trainer)} must return a tensor of one number or None from loss(), not {short(found)}.")


def read_examples(trainer: Trainer, found: object) -> list[Example]:
    """What a trainer made, as lists of plain numbers; PluginError where it breaks the contract."""
    with blamed(trainer, "in the examples that it returned"):
        if not isinstance(found, list):
            raise PluginError(f"{called(trainer)} must return a list of Examples, and returned {short(found)}.")
        return [_example(trainer, at, example) for at, example in enumerate(found)]


def _example(trainer: Trainer, at: int, example: object) -> Example:
    who = f"{called(trainer)} made as example {at}"
    if not isinstance(example, Example) or not isinstance(example.question, str):
        raise PluginError(f"{who} {short(example)}, not an Example that names its question.")
    ids, labels = listed(example.input_ids), listed(example.labels)
    if ids is None or labels is None or not ids or len(ids) != len(labels):
        raise PluginError(f"{who} one with {short(ids)} of tokens and {short(labels)} of labels: one label each.")
    tokens: Sequence[Any] = ids if set(map(type, ids)) == {int} else [whole(token) for token in ids]
    targets: Sequence[Any] = labels if set(map(type, labels)) == {int} else [number(label) for label in labels]
    if None in tokens or None in targets or min(tokens) < 0:
        raise PluginError(f"{who} one whose tokens or labels are no numbers; tokens are whole numbers from 0.")
    if tokens is example.input_ids and targets is example.labels:
        return example
    return Example(question=example.question, input_ids=list(tokens), labels=list(targets))
