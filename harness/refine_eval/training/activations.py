"""What frozen layers make of the rows of a training, computed once and kept on the disk while it lasts.

A row is known again by its tokens: with causal attention and padding on the right they alone decide what is computed of
it. Each is computed among rows of like length, the same ones in every training of the same rows, so that a training
that was interrupted goes on to the same weights. Nothing is kept for another process: the file has no name, so that a
kill removes it and none that was cut off is ever read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from refine_eval.terminal import Progress
from refine_eval.training.examples import collate
from refine_eval.training_rows import Example

SHARE_OF_FREE = 0.5
"""How much of the free disk they may take; checkpoints need room, too."""


@contextmanager
def kept_activations(
    model: Any,
    frozen: int,
    rows: Sequence[Example],
    *,
    pad: int,
    batch_size: int,
    bf16: bool,
    folder: Path,
    progress: Progress,
) -> Iterator[None]:
    """In the block the first `frozen` layers of a causal model are read from `folder` where a batch has only `rows`.

    They are kept in what the model computes in. Where the disk has too little room, or the layers drop out at random,
    they are computed as ever; of the disk a note says so.
    """
    layers = model.model.layers[:frozen] if frozen else []
    if not rows or not frozen or any(map(_is_random, layers)):
        yield
        return
    kept = _Activations(rows, pad)
    with contextlib.ExitStack() as stack:
        stack.callback(model.model.register_forward_pre_hook(kept.look_up, with_kwargs=True).remove)
        for number, layer in enumerate(layers, 1):
            layer.forward = partial(
                kept.layer, layer.forward, number == frozen
            )  # leaves the weights' names as they are
            stack.callback(delattr, layer, "forward")
        try:
            kept.compute(model.model, batch_size, bf16, folder, progress)
        except OSError as error:
            progress.note(
                f"Note: the frozen layers' activations are computed in every epoch, as {folder} has no room for them "
                f"({error.strerror})."
            )
        yield


def _is_random(layer: Any) -> bool:
    """Whether a layer drops out some of its activations in training."""
    return bool(getattr(getattr(layer, "self_attn", None), "attention_dropout", 0)) or any(
        isinstance(module, torch.nn.Dropout) and module.p for module in layer.modules()
    )


class _Last(Exception):
    """Ends a forward pass behind the last frozen layer."""

    def __init__(self, states: torch.Tensor) -> None:
        super().__init__()
        self.states = states


class _Activations:
    """The activations of rows, of shape (all tokens, width), row after row."""

    def __init__(self, rows: Sequence[Example], pad: int) -> None:
        self._pad = pad
        longest: dict[bytes, Example] = {}
        for row in rows:
            key = self._key(torch.tensor(row.input_ids))
            longest[key] = max(longest.get(key, row), row, key=lambda each: len(each.input_ids))
        self._rows = sorted(longest.items(), key=lambda item: -len(item[1].input_ids))
        self._places: dict[bytes, tuple[int, int]] = {}  # where a row begins, and its length
        self._values: torch.Tensor | None = None
        self._batch: list[tuple[int, int]] | None = None
        """The places of the rows of the forward pass that goes on; None where it has others."""
        self._stops = False

    def look_up(self, base: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A pre-hook of the model below its head: finds the rows that it is about to read."""
        given = {"input_ids": args[0] if args else None, **kwargs}
        ids = given.pop("input_ids")
        # A mask, positions or embeddings of the caller's could make other activations of the same tokens.
        plain = ids is not None and len(args) <= 1 and all(each is None or each is False for each in given.values())
        found = (
            [self._places.get(self._key(row)) for row in ids.cpu()] if plain and self._values is not None else [None]
        )
        self._batch = None if None in found else found  # type: ignore[assignment]

    def layer(self, forward: Any, is_last: bool, states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Stands for a frozen layer's forward pass, and for that of the last one."""
        if self._batch is not None:
            return self._read(states, self._batch) if is_last else states
        made = forward(states, *args, **kwargs)
        if self._stops and is_last:
            raise _Last(made)
        return made

    def _read(self, states: torch.Tensor, places: Sequence[tuple[int, int]]) -> torch.Tensor:
        assert self._values is not None
        found = torch.zeros(states.shape, dtype=self._values.dtype)
        for row, (start, length) in zip(found, places, strict=True):
            row[:length] = self._values[start : start + min(length, len(row))]
        return found.to(states.device)

    def compute(self, base: Any, batch_size: int, bf16: bool, folder: Path, progress: Progress) -> None:
        """Computes them; OSError where there is too little room."""
        device = next(base.parameters()).device.type
        places: dict[bytes, tuple[int, int]] = {}
        values: torch.Tensor | None = None
        begin = 0
        with (
            progress.stage("activations of frozen layers", len(self._rows), "rows") as tick,
            torch.no_grad(),
            torch.autocast(device, dtype=torch.bfloat16, enabled=bf16),
        ):
            for first in range(0, len(self._rows), batch_size):
                batch = self._rows[first : first + batch_size]
                states = self._frozen(base, collate([row for _, row in batch], self._pad).input_ids)
                if values is None:
                    values = self._reserve(folder, states)
                for (key, row), made in zip(batch, states.cpu(), strict=True):
                    length = len(row.input_ids)
                    values[begin : begin + length] = made[:length]
                    places[key] = begin, length
                    begin += length
                tick(len(batch))
        self._values, self._places = values, places

    def _frozen(self, base: Any, ids: torch.Tensor) -> torch.Tensor:
        self._stops = True
        try:
            base(input_ids=ids.to(next(base.parameters()).device), use_cache=False)
        except _Last as last:
            return last.states
        finally:
            self._stops = False
        raise AssertionError("the last frozen layer was not reached")

    def _reserve(self, folder: Path, like: torch.Tensor) -> torch.Tensor:
        """Room for all rows on the disk, mapped; reserved now, as a disk that is full under a map ends the process."""
        tokens, width = sum(len(row.input_ids) for _, row in self._rows), like.shape[-1]
        size = tokens * width * like.element_size()
        free = shutil.disk_usage(folder).free
        if size > SHARE_OF_FREE * free:
            raise OSError(errno.ENOSPC, f"{size / 1e9:.1f} GB, of {free / 1e9:.1f} GB free at most {SHARE_OF_FREE:.0%}")
        if not hasattr(os, "posix_fallocate"):
            raise OSError(errno.ENOSYS, "this system reserves none")
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=like.dtype).view(tokens, width)

    def _key(self, ids: torch.Tensor) -> bytes:
        """A hash of a row without the padding behind it, or what looks like it."""
        read = (ids != self._pad).nonzero()
        content = ids[: int(read[-1]) + 1 if len(read) else 0]
        return hashlib.blake2b(content.numpy().tobytes(), digest_size=16).digest()
