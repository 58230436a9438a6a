"""From texts to training batches, for generators and for critics.

Rows are padded on the right; with causal attention the padding changes nothing before it, so no attention mask is
needed.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from refine_eval.errors import StageError
from refine_eval.formats import PLAIN, PromptForm, student_prompt
from refine_eval.models.chat import UnrenderedError, form_text
from refine_eval.models.tokens import encode, encode_lines, first_tokens
from refine_eval.training_rows import IGNORE, Example


class Batch(NamedTuple):
    """Token ids and labels, both of shape (rows, length), int64; labels that are shares are float32."""

    input_ids: torch.Tensor
    labels: torch.Tensor


def completion_example(
    tokenizer: Any, question: str, prompt: str, completion: str, form: PromptForm = PLAIN, begun: str = ""
) -> Example:
    """A generator's example: the loss counts the completion and the end token, not the prompt.

    Prompt and completion are encoded apart, as they are when the model generates, and the beginning-of-text token is
    added where the tokenizer adds it. `begun` is the beginning of the answer that the model goes on from; of messages
    in this form it is a prefill. StageError for a chat template that does not take them.
    """
    with _rendering():
        text = form_text("the base", tokenizer, form, prompt, begun)
    before = [*first_tokens(tokenizer, text), *encode(tokenizer, text)]
    after = [*encode(tokenizer, completion), tokenizer.eos_token_id]
    labels = [IGNORE] * (len(before) - 1) + after
    return Example(question=question, input_ids=before + after[:-1], labels=labels)


@contextmanager
def _rendering() -> Iterator[None]:
    """StageError for messages that the base's chat template does not take."""
    try:
        yield
    except UnrenderedError as error:
        raise StageError(f"The trainer makes {error}.") from error


def text_example(tokenizer: Any, text: str) -> Example:
    """A generator's example in which every token of the text is learnt; its question is the text."""
    ids = encode(tokenizer, text)
    return Example(question=text, input_ids=ids[:-1], labels=ids[1:])


def critic_example(
    tokenizer: Any, question: str, steps: Sequence[str], labels: Sequence[float], form: PromptForm = PLAIN
) -> Example:
    """A critic's example: label 1 (good), 0 (bad), a share between or `IGNORE` at the end of each step.

    StageError for a chat template that does not take messages in this form.
    """
    stripped = [step.strip() for step in steps]  # as critics read them when they run
    with _rendering():
        prompt = form_text("the base", tokenizer, form, student_prompt(question))
    return lines_example(tokenizer, question, prompt, stripped, labels)


def lines_example(tokenizer: Any, question: str, prompt: str, lines: Sequence[str], labels: Sequence[float]) -> Example:
    """A critic's example after any prompt: one label at the end of each line."""
    ids, ends = encode_lines(tokenizer, prompt, lines)
    by_token: list[float] = [IGNORE] * len(ids)
    for end, label in zip(ends, labels, strict=True):
        by_token[end] = label
    return Example(question=question, input_ids=ids, labels=by_token)


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Rows of one length, padded on the right."""
    length = max(len(example.input_ids) for example in examples)
    input_ids = torch.full((len(examples), length), pad)
    labels = torch.full((len(examples), length), IGNORE, dtype=torch.tensor(examples[0].labels).dtype)
    for row, example in enumerate(examples):
        input_ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    return Batch(input_ids, labels)


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
