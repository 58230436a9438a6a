"""The contract of a trainer: what it makes of toy samples and labels is held to what the training loop takes.

A trainer has no output per input and nothing to open, so of the other kinds' checks it shares the first four only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from refine_eval.errors import RefineEvalError
from refine_eval.formats import PromptForm, split_steps
from refine_eval.plugin.components import Trainer
from refine_eval.terminal import shown
from refine_eval.testing.checks import SHARED, Case, Contract
from refine_eval.testing.subjects import HOSTILE, Subject
from refine_eval.testing.toys import ToyRuntime, toy_problems, toy_tokenizer, toy_training_data
from refine_eval.training_rows import IGNORE, Example, LabelledSample, QuestionSamples, Sample, TrainingData

STAGES = ("collect", "label")
"""Whose outputs a trainer may read."""


class TrainerSubject(Subject[TrainingData, list[Example]]):
    """A trainer: the rows of stages in, examples out."""

    kind = Trainer

    @contextmanager
    def opened(self, runtime: ToyRuntime | None = None) -> Iterator[Any]:
        """A fresh instance. Nothing opens a trainer."""
        yield self.component(self.options)

    def call(self, instance: Trainer, batch: Sequence[TrainingData]) -> Any:
        return [instance.examples(data, self.tokenizer, 0) for data in batch]

    def inputs(self) -> list[TrainingData]:
        if not self.reads:
            return [TrainingData()]
        found = [toy_training_data()]
        return [*found, toy_training_data(soft=True)] if "label" in self.reads else found

    def empty_inputs(self) -> list[TrainingData]:
        if not self.reads:
            return []
        data = toy_training_data()
        without_text = TrainingData(
            samples=tuple(
                replace(row, samples=tuple(replace(sample, text="\n", tokens=0) for sample in row.samples))
                for row in data.samples
            ),
            labels=tuple(replace(row, steps=(), labels=(), verified={}) for row in data.labels),
        )
        without_samples = replace(data, samples=tuple(replace(row, samples=()) for row in data.samples), labels=())
        return [TrainingData(), without_samples, without_text, *(_of_one_outcome(data, it) for it in (True, False))]

    def hostile_inputs(self) -> list[TrainingData]:
        if not self.reads:
            return []
        data = toy_training_data()
        samples = tuple(Sample(text=text, correct=n % 2 == 0, tokens=9) for n, text in enumerate(HOSTILE))
        rows = tuple(QuestionSamples(id=p.id, question=p.question, samples=samples) for p in toy_problems())
        marked = [(n, split_steps(text)) for n, text in enumerate(HOSTILE)]
        labels = tuple(
            LabelledSample(
                id=f"toy/{n}",
                question=f"{toy_problems()[0].question} {steps[0]}",
                steps=steps,
                correct=n % 2 == 0,
                labels=(1, *[n % 2] * (len(steps) - 1)),
                verified={1: steps},
            )
            for n, steps in marked
        )
        # Beside the ordinary ones, so that a trainer that has to tell outcomes apart can.
        return [TrainingData(samples=data.samples + rows, labels=data.labels + labels)]

    @property
    def trainer(self) -> type[Trainer]:
        """The class under test, known to be a trainer."""
        assert issubclass(self.component, Trainer)
        return self.component

    @property
    def reads(self) -> tuple[str, ...]:
        """The stages that it reads."""
        return self.trainer.reads

    @cached_property
    def started(self) -> tuple[Any, Any]:
        """The model and the tokenizer of a trainer that needs no base."""
        started = self.trainer(self.options).start(None, 0)
        assert started is not None, "it declares needs_base = False, and its start() returns None instead of a model"
        return started

    @cached_property
    def tokenizer(self) -> Any:
        """The trainer's own where it makes the model, else the toy one."""
        return toy_tokenizer() if self.trainer.needs_base else self.started[1]

    @cached_property
    def made(self) -> list[tuple[TrainingData, list[Example]]]:
        """Ordinary data with what is made of them, known to be lists of Examples; made once for several checks."""
        data = self.inputs()
        found = self.call(self.trainer(self.options), data)
        for examples in found:
            check_examples(examples)
        return list(zip(data, found, strict=True))


def _of_one_outcome(data: TrainingData, correct: bool) -> TrainingData:
    return TrainingData(
        samples=tuple(
            replace(row, samples=tuple(replace(sample, correct=correct) for sample in row.samples))
            for row in data.samples
        ),
        labels=tuple(
            replace(row, correct=correct, labels=(int(correct),) * len(row.steps), verified={}) for row in data.labels
        ),
    )


def check_examples(examples: object) -> None:
    """AssertionError where this is not a list of Examples with one label for each token."""
    assert isinstance(examples, list), f"examples() returned {shown(examples)} instead of a list"
    for number, example in enumerate(examples):
        assert isinstance(example, Example), f"example {number} is {shown(example)}, not an Example"
        ids, labels = len(example.input_ids), len(example.labels)
        assert ids, f"example {number} has no tokens"
        assert ids == labels, f"example {number} has {ids} tokens and {labels} labels"


def declarations(case: Case) -> None:
    """`head` is "generator" or "critic"; `reads` names stages that there are; without a base `start` makes a model."""
    subject = _subject(case)
    trainer = subject.trainer
    assert trainer.head in ("generator", "critic"), f"head is {trainer.head!r}; it must be 'generator' or 'critic'"
    assert isinstance(trainer.reads, tuple), f"reads is {trainer.reads!r}; it must be a tuple"
    unknown = [stage for stage in trainer.reads if stage not in STAGES]
    assert not unknown, f"reads names {unknown[0]!r}; there are {' and '.join(map(repr, STAGES))}"
    if not trainer.needs_base:
        model, tokenizer = subject.started
        assert model is not None, "start() returned no model"
        assert tokenizer is not None, "start() returned no tokenizer"


def lists_of_examples(case: Case) -> None:
    """Ordinary data give a list of Examples, and not an empty one; each has as many labels as tokens, and some."""
    for _, examples in _subject(case).made:
        assert examples, "examples() makes nothing of ordinary data: right and wrong samples, good and bad steps"


def ids_in_vocabulary(case: Case) -> None:
    """All token ids are the tokenizer's."""
    subject = _subject(case)
    size = len(subject.tokenizer)
    for number, example in _numbered(subject):
        wrong = [token for token in example.input_ids if not isinstance(token, int) or not 0 <= token < size]
        assert not wrong, f"example {number} has the token id {wrong[0]!r}; the tokenizer has 0 to {size - 1}"


def labels_for_its_head(case: Case) -> None:
    """Labels are IGNORE or, of a generator, token ids; of a critic, 0, 1 or shares: floats, then in all rows alike."""
    subject = _subject(case)
    size = len(subject.tokenizer)
    generator = subject.trainer.head == "generator"
    for number, example in _numbered(subject):
        for label in example.labels:
            if label == IGNORE:
                continue
            fits = isinstance(label, int) and 0 <= label < size if generator else 0 <= label <= 1
            wanted = f"a token id, 0 to {size - 1}" if generator else "0, 1 or a share between them"
            assert fits, f"example {number} has the label {label!r}; a {subject.trainer.head}'s is {wanted}"
    for _, examples in subject.made:
        kinds = {any(isinstance(label, float) for label in example.labels) for example in examples}
        assert len(kinds) < 2, "some examples have labels that are floats and others have none: make all floats"


def every_example_teaches(case: Case) -> None:
    """Each example has a label that counts: a row of nothing but IGNORE costs time and teaches nothing."""
    for number, example in _numbered(_subject(case)):
        assert any(label != IGNORE for label in example.labels), f"example {number} has no label but IGNORE"


def questions_named(case: Case) -> None:
    """Each example names its question, one of the data's: by it rows are held out and leaks of test questions found."""
    subject = _subject(case)
    for data, examples in subject.made:
        known = {row.question for row in data.samples} | {row.question for row in data.labels}
        for number, example in enumerate(examples):
            question = example.question
            assert isinstance(question, str), f"the question of example {number} is {question!r}, not a text"
            assert question.strip(), f"example {number} names no question"
            assert not known or question in known, f"example {number} is of {question!r}, not a question of the data"


def prompts_in_its_form(case: Case) -> None:
    """It declares takes_messages, and makes examples of rendered messages where its `form` asks for them."""
    subject = _subject(case)
    tokenizer = copy.deepcopy(subject.tokenizer)
    tokenizer.chat_template = (
        "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}<answer>"
    )
    for data in subject.inputs():
        instance = subject.trainer(subject.options)
        instance.form = PromptForm(messages=True, system="Be brief.")
        for number, example in enumerate(instance.examples(data, tokenizer, 0)):
            read = tokenizer.decode(example.input_ids)
            assert read.startswith("<system>Be brief.<user>"), (
                f"example {number} is of a plain prompt, {shown(read)}, where messages are asked for; make it with "
                "completion_example or critic_example and self.form"
            )


def same_seed_same_examples(case: Case) -> None:
    """Two instances make the same examples of the same data with the same seed."""
    subject = _subject(case)
    again = subject.call(subject.trainer(subject.options), subject.inputs())
    for (_, first), second in zip(subject.made, again, strict=True):
        assert len(first) == len(second), f"it makes {len(first)} examples, then {len(second)}"
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            assert one == other, f"example {number} changes: {shown(one)}, then {shown(other)}"


def little_data(case: Case) -> None:
    """No rows, no samples, no text or one outcome only: it makes what it can, or refuses in a sentence."""
    _made_or_refused(case, _subject(case).empty_inputs())


def hostile_text(case: Case) -> None:
    """Terminal escapes, markup, special tokens and long lines give examples, or an error of refine_eval.errors."""
    _made_or_refused(case, _subject(case).hostile_inputs())


def _made_or_refused(case: Case, inputs: Sequence[TrainingData]) -> None:
    subject = _subject(case)
    for data in inputs:
        try:
            (examples,) = subject.call(subject.trainer(subject.options), [data])
        except RefineEvalError:
            continue
        check_examples(examples)


def data_untouched(case: Case) -> None:
    """The data are as before."""
    subject = _subject(case)
    for data in subject.inputs():
        before = copy.deepcopy(data)
        subject.call(subject.trainer(subject.options), [data])
        assert data == before, "examples() changed the data"


def loss_of_a_batch(case: Case) -> None:
    """`loss` gives None, for the default, or one finite number that can be differentiated."""
    import torch

    subject = _subject(case)
    model = _toy_model(subject) if subject.trainer.needs_base else subject.started[0]
    for _, examples in subject.made:
        rows = sorted(examples, key=lambda example: len(example.input_ids))[:2]
        longest = max(len(row.input_ids) for row in rows)
        ids = torch.tensor([row.input_ids + [0] * (longest - len(row.input_ids)) for row in rows])
        labels = torch.tensor([[*row.labels, *[IGNORE] * (longest - len(row.labels))] for row in rows])
        loss = subject.trainer(subject.options).loss(model, ids, labels, int((labels != IGNORE).sum()))
        if loss is None:
            own = "labels that are floats need a loss of the trainer's own; the default takes whole numbers"
            assert not labels.is_floating_point(), own
            continue
        assert isinstance(loss, torch.Tensor), f"loss() returned {shown(loss)}, not a tensor"
        assert loss.numel() == 1, f"loss() returned {loss.numel()} numbers for a batch; return their mean"
        assert loss.isfinite().item(), f"the loss of two examples under a random model is {loss.item()}"
        assert loss.requires_grad, "the loss cannot be differentiated: it was computed without gradients"


def _toy_model(subject: TrainerSubject) -> Any:
    """A random model with the trainer's head, as the loop would load one: one layer, and the toy tokenizer's tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(subject.tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=2,
    )
    return (LlamaForCausalLM if subject.trainer.head == "generator" else LlamaForTokenClassification)(config)


def _subject(case: Case) -> TrainerSubject:
    assert isinstance(case.subject, TrainerSubject)
    return case.subject


def _numbered(subject: TrainerSubject) -> Iterator[tuple[int, Example]]:
    for _, examples in subject.made:
        yield from enumerate(examples)


CONTRACT: tuple[Contract, ...] = (
    *SHARED,
    declarations,
    lists_of_examples,
    ids_in_vocabulary,
    labels_for_its_head,
    every_example_teaches,
    questions_named,
    same_seed_same_examples,
    little_data,
    hostile_text,
    data_untouched,
)


def trainer_contract(subject: TrainerSubject) -> tuple[Contract, ...]:
    """The checks that apply to a trainer. The loss of one that changes its base is not known without that base."""
    changes_base = subject.trainer.needs_base and subject.trainer.start is not Trainer.start
    messages = (prompts_in_its_form,) if subject.trainer.takes_messages else ()
    return (*CONTRACT, *messages) if changes_base else (*CONTRACT, *messages, loss_of_a_batch)
