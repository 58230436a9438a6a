"""From texts to training batches, for generators and for critics.

An example is a list of token ids with one target for each position: what the loss expects *at* that
position, `IGNORE` where nothing is expected. Targets that are shares in [0, 1] are floats, in all rows alike.
Rows are padded on the right; with causal attention the padding changes nothing before it, so no attention
mask is needed.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from refine_eval.data import IGNORE
from refine_eval.formats import student_prompt
from refine_eval.models.tokens import encode, encode_lines, first_tokens


class Example(NamedTuple):
    """One row: token ids and a target for each position, equally long."""

    ids: list[int]
    targets: Sequence[float]


class Batch(NamedTuple):
    """Token ids and targets, both of shape (rows, length), int64; targets that are shares are float32."""

    ids: torch.Tensor
    targets: torch.Tensor


def completion_example(tokenizer: Any, prompt: str, completion: str) -> Example:
    """A generator's example: the loss counts the completion and the end token, not the prompt.

    Prompt and completion are encoded apart, as they are when the model generates, and the beginning-of-text token is
    added where the tokenizer adds it.
    """
    before = [*first_tokens(tokenizer), *encode(tokenizer, prompt)]
    after = [*encode(tokenizer, completion), tokenizer.eos_token_id]
    ids = before + after[:-1]
    return Example(ids, [IGNORE] * (len(before) - 1) + after)


def text_example(tokenizer: Any, text: str) -> Example:
    """A generator's example in which every token of the text is learnt."""
    ids = encode(tokenizer, text)
    return Example(ids[:-1], ids[1:])


def critic_example(tokenizer: Any, question: str, steps: Sequence[str], labels: Sequence[float]) -> Example:
    """A critic's example: label 1 (good), 0 (bad), a share between or `IGNORE` at the end of each step."""
    return judged_lines(tokenizer, student_prompt(question), steps, labels)


def judged_lines(tokenizer: Any, prompt: str, lines: Sequence[str], labels: Sequence[float]) -> Example:
    """A critic's example after any prompt: one label at the end of each line."""
    ids, ends = encode_lines(tokenizer, prompt, lines)
    targets: list[float] = [IGNORE] * len(ids)
    for end, label in zip(ends, labels, strict=True):
        targets[end] = label
    return Example(ids, targets)


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Rows of one length, padded on the right."""
    length = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), length), pad)
    targets = torch.full((len(examples), length), IGNORE, dtype=torch.tensor(examples[0].targets).dtype)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        targets[row, : len(example.ids)] = torch.tensor(example.targets)
    return Batch(ids, targets)


class LengthGroupedSampler:
    """An order of rows in which those of a batch are of like length, and the batches are shuffled.

    Like lengths are found within groups of 32 batches only, so that batches stay random enough to learn from; each
    epoch has its own order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, by accelerate."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed} {self._epoch}")
        order = list(range(len(self._lengths)))
        rng.shuffle(order)
        size = self._batch_size
        for start in range(0, len(order), 32 * size):
            group = sorted(order[start : start + 32 * size], key=self._lengths.__getitem__)
            batches = [group[at : at + size] for at in range(0, len(group), size)]
            # A short batch anywhere but at the end would shift the borders of all after it.
            short = [batches.pop()] if len(batches[-1]) < size else []
            rng.shuffle(batches)
            for batch in [*batches, *short]:
                yield from batch


class Rows:
    """Examples as a data set of the Trainer's."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    @property
    def lengths(self) -> list[int]:
        """Each row's tokens."""
        return [len(example.ids) for example in self._examples]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._examples[index]
        return {"input_ids": example.ids, "labels": example.targets}


class Collator:
    """Rows of one length, padded on the right; with causal attention no mask is needed."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = collate([Example(row["input_ids"], row["labels"]) for row in rows], self._pad)
        return {"input_ids": batch.ids, "labels": batch.targets}
