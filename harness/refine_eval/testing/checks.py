"""The contract of a component as a list of checks: functions whose first docstring line says what must hold."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from refine_eval.critics.token_classifier import TokenClassifierCritic
from refine_eval.data import Critique
from refine_eval.errors import RefineEvalError
from refine_eval.formats import STEP_END
from refine_eval.models.tokens import encode_steps
from refine_eval.plugin.hooks import COMPONENT_NAME
from refine_eval.plugin.options import click_options, option_fields
from refine_eval.plugin.runtime import Grader
from refine_eval.terminal import shown
from refine_eval.testing.choices import check_choices
from refine_eval.testing.conversations import of_messages
from refine_eval.testing.endings import check_lengths, check_stop_strings
from refine_eval.testing.probe import Probe, probe
from refine_eval.testing.subjects import CriticSubject, Subject
from refine_eval.testing.text_subjects import EngineSubject, SplitterSubject
from refine_eval.testing.toys import ToyRuntime

INIT_SECONDS = 0.5
"""Processor time that `__init__` may take."""

SPLIT_SECONDS = 1.0
"""Processor time in which a splitter must cut a text of 100,000 characters."""


class Case:
    """A subject and what several checks need of it, found out once."""

    def __init__(self, subject: Subject[Any, Any]) -> None:
        self.subject = subject

    @cached_property
    def probe(self) -> Probe:
        """What importing and making the component does."""
        return probe(self.subject.component, self.subject.options)


Contract = Callable[[Case], None]


def name_and_docstring(case: Case) -> None:
    """It has a name in lower case with hyphens, and a docstring whose first line says what it does."""
    component = case.subject.component
    name = getattr(component, "name", "")
    assert COMPONENT_NAME.fullmatch(str(name)), f"the name is {name!r}; write it like 'my-critic'"
    docstring = component.__dict__.get("__doc__") or ""
    assert docstring.strip(), "the class has no docstring; its first line is what `plugins list` shows"


def valid_options(case: Case) -> None:
    """Options is a frozen keyword-only dataclass; each field has a default, a supported type and a help text."""
    component = case.subject.component
    assert dataclasses.is_dataclass(component.Options), "Options is no dataclass"
    parameters = vars(component.Options).get("__dataclass_params__")
    assert getattr(parameters, "frozen", False), "Options is not frozen: @dataclass(frozen=True, kw_only=True)"
    for field in dataclasses.fields(component.Options):
        assert field.kw_only, f"option {field.name!r} is not keyword-only: @dataclass(frozen=True, kw_only=True)"
    for option in option_fields(component):
        assert option.help, f"option {option.name!r} has no help: option(default, 'what it does')"
    click_options(component)


def light_import(case: Case) -> None:
    """Importing its module loads none of torch, transformers, vllm, lm_eval, datasets."""
    imported = case.probe.imported
    assert not imported, f"importing it also imports {', '.join(imported)}; import them in the methods that need them"


def init_does_no_work(case: Case) -> None:
    """`__init__` is quick, opens no file and no connection, and imports nothing heavy: `open` is for that."""
    found = case.probe
    assert not found.error, f"it cannot be made in a new process: {found.error}"
    late = [name for name in found.constructed if name not in found.imported]
    assert not late, f"__init__ imports {', '.join(late)}; do it in open()"
    assert not found.touched, f"__init__ does {', '.join(found.touched[:3])}; do it in open()"
    assert found.seconds < INIT_SECONDS, f"__init__ takes {found.seconds:.1f} s; do the work in open()"


def empty_batch(case: Case) -> None:
    """An empty batch gives an empty list."""
    with case.subject.opened() as instance:
        case.subject.outputs(instance, [])


def one_output_per_input(case: Case) -> None:
    """A batch gives a list with one output of the right form per input; not all ordinary inputs are left out."""
    subject = case.subject
    with subject.opened() as instance:
        batch = subject.inputs()
        outputs = subject.outputs(instance, batch)
        for given, found in zip(batch, outputs, strict=True):
            subject.verify(instance, given, found)
    reasons = [subject.left_out(found) for found in outputs]
    assert not batch or None in reasons, f"all {len(batch)} ordinary inputs are left out, the first for: {reasons[0]}"


def batch_does_not_matter(case: Case) -> None:
    """The output for an input is the same alone, in a batch, and in the batch turned round."""
    subject = case.subject
    batch = subject.inputs()
    with subject.opened() as instance:
        together = subject.outputs(instance, batch)
        reversed_ = subject.outputs(instance, batch[::-1])[::-1]
        alone = [subject.outputs(instance, [given])[0] for given in batch]
    for given, whole, turned, single in zip(batch, together, reversed_, alone, strict=True):
        assert subject.alike(whole, turned), (
            f"the output for {subject.label(given)} depends on the batch's order: {whole} and, turned round, {turned}"
        )
        assert subject.alike(whole, single), (
            f"the output for {subject.label(given)} depends on the batch: {whole} in a batch, {single} alone"
        )


def same_seed_same_output(case: Case) -> None:
    """Two instances opened with one seed give the same outputs and have the same identity."""
    subject = case.subject
    found = []
    for _ in range(2):
        with subject.opened(subject.runtime(seed=7, gold=subject.needs_gold)) as instance:
            found.append((subject.outputs(instance, subject.inputs()), instance.identity()))
    (first, identity), (second, other_identity) = found
    for given, one, other in zip(subject.inputs(), first, second, strict=True):
        assert subject.alike(one, other), f"the output for {subject.label(given)} changes: {one}, then {other}"
    assert isinstance(identity, str), f"identity() returns {identity!r}, not a text"
    assert identity == other_identity, f"identity() changes: {identity!r}, then {other_identity!r}"


def scores_in_range(case: Case) -> None:
    """All scores are finite Python floats in [0, 1]."""
    _each_critique(case, CriticSubject.verify_scores)


def one_score_per_step(case: Case) -> None:
    """There are as many step scores as steps."""
    _each_critique(case, CriticSubject.verify_step_scores)


def first_bad_step_in_range(case: Case) -> None:
    """The first bad step is None or the index of a step, counted from 0."""
    _each_critique(case, CriticSubject.verify_first_bad_step)


def words_are_texts(case: Case) -> None:
    """Feedback is a text or None; where no verdict could be parsed there is no score, but a reason as `unscored`."""
    _each_critique(case, CriticSubject.verify_words)


def step_ends_are_tokens(case: Case) -> None:
    """The tokenizer keeps the end of each step as one token of its own: that is where scores are read."""
    with case.subject.opened() as instance:
        tokenizer = instance._model.tokenizer
        for given in case.subject.inputs():
            steps = given.solution.steps
            ids, ends = encode_steps(tokenizer, given.problem.question, steps, instance.name)
            assert len(ends) == len(steps), f"{len(ends)} step ends for {len(steps)} steps"
            found = tokenizer.decode([ids[end] for end in ends])
            assert found == STEP_END * len(steps), f"the tokens at the step ends read {found!r}"


def scores_equal_transformers(case: Case) -> None:
    """Served by another engine, it gives transformers' scores: within 1e-4 in float32, 1e-2 in half precision.

    Half precision may cost a critic more than that. Then the engines may be as far apart as twice what it costs
    transformers itself.
    """
    subject = case.subject
    plain = dataclasses.replace(subject.options, engine="transformers", engine_args={})
    dtype, elsewhere = _step_scores(subject, subject.options, "auto")
    _, here = _step_scores(subject, plain, dtype)
    allowed = 1e-4
    if dtype != "float32":
        _, precise = _step_scores(subject, plain, "float32")
        allowed = max(1e-2, 2 * max(abs(a - b) for a, b in zip(here, precise, strict=True)))
    apart = max(abs(a - b) for a, b in zip(elsewhere, here, strict=True))
    who = subject.options.engine
    assert apart <= allowed, f"the scores of {who} are up to {apart:.2g} from those of transformers, in {dtype}"


def _step_scores(subject: Subject[Any, Any], options: Any, dtype: str) -> tuple[str, list[float]]:
    """What it computed in, and the scores of all steps of the ordinary inputs."""
    runtime = subject.runtime(gold=subject.needs_gold)
    runtime.dtype = dtype
    with type(subject)(subject.component, options).opened(runtime) as instance:
        found = subject.outputs(instance, subject.inputs())
        return instance._model.dtype, [score for critique in found for score in critique.step_scores]


def _each_critique(case: Case, verify: Callable[[CriticSubject, Any, Any], None]) -> None:
    subject = case.subject
    assert isinstance(subject, CriticSubject)
    with subject.opened() as instance:
        batch = subject.inputs()
        for given, found in zip(batch, subject.outputs(instance, batch), strict=True):
            assert isinstance(found, Critique), f"returned {found!r} instead of a Critique"
            verify(subject, given, found)


def ends_at_stop_strings(case: Case) -> None:
    """A text ends before the first stop string that would stand in it, with the finish reason "stop"."""
    with case.subject.opened() as instance:
        assert isinstance(case.subject, EngineSubject)
        check_stop_strings(case.subject, instance)


def ends_at_its_limit(case: Case) -> None:
    """The finish reason is "length" where max_tokens cuts a text off, and else "stop"; no end token is in a text."""
    with case.subject.opened() as instance:
        assert isinstance(case.subject, EngineSubject)
        check_lengths(case.subject, instance)


def choices_are_probabilities(case: Case) -> None:
    """Where it has `choose`: the choices' probabilities add up to at most 1, and do not depend on the batch."""
    assert isinstance(case.subject, EngineSubject)
    with case.subject.opened() as instance:
        check_choices(case.subject, instance)


def pieces_make_the_text(case: Case) -> None:
    """The pieces of each text, joined, are the text to the byte, and not all of the ordinary texts are one piece."""
    with case.subject.opened() as instance:
        batch = case.subject.inputs()
        found = case.subject.outputs(instance, batch)
    for given, pieces in zip(batch, found, strict=True):
        joined = "".join(pieces)
        assert joined == given, f"the pieces of {case.subject.label(given)} make another text: {shown(joined)}"
    assert any(len(pieces) > 1 for pieces in found), f"none of {len(batch)} ordinary texts is cut"


def linear_time(case: Case) -> None:
    """It takes time in proportion to a text's length, also where blocks are opened and never closed."""
    assert isinstance(case.subject, SplitterSubject)
    with case.subject.opened() as instance:
        for given in case.subject.long_inputs():
            start = time.process_time()
            case.subject.outputs(instance, [given])
            seconds = time.process_time() - start
            assert seconds < SPLIT_SECONDS, f"{len(given):,} characters take {seconds:.1f} s: {shown(given)}"


def empty_solution(case: Case) -> None:
    """A solution without text or steps is an ordinary input; an engine may refuse an empty prompt in a sentence."""
    subject = case.subject
    with subject.opened() as instance:
        for given in subject.empty_inputs():
            try:
                outputs = subject.outputs(instance, [given])
            except RefineEvalError:
                if subject.component.kind == "engine":
                    continue
                raise
            subject.verify(instance, given, outputs[0])


def hostile_text(case: Case) -> None:
    """Terminal escapes, markup, special tokens and long lines give an output, or an error of refine_eval.errors."""
    subject = case.subject
    with subject.opened() as instance:
        for given in subject.hostile_inputs():
            try:
                outputs = subject.outputs(instance, [given])
            except RefineEvalError:
                continue  # A refusal in one sentence: a small model may not know these characters.
            subject.verify(instance, given, outputs[0])


def inputs_untouched(case: Case) -> None:
    """The batch and what is in it are as before."""
    subject = case.subject
    batch = subject.inputs()
    before = copy.deepcopy(batch)
    with subject.opened() as instance:
        subject.call(instance, batch)
    assert len(batch) == len(before), f"the batch had {len(before)} inputs and has {len(batch)}"
    for now, then in zip(batch, before, strict=True):
        assert now == then, f"the batch's order or its inputs were changed: {subject.label(then)}"


class _WatchedRuntime(ToyRuntime):
    """Remembers whether the grader was asked for."""

    asked = False

    @property
    def grader(self) -> Grader:
        self.asked = True
        return super().grader


def gold_only_if_declared(case: Case) -> None:
    """It asks for the gold answers if, and only if, it declares `needs_gold`: tables mark such rows."""
    subject = case.subject
    runtime = type("Watched", (_WatchedRuntime, subject.runtime), {})(gold=True)
    with subject.opened(runtime) as instance:
        subject.outputs(instance, subject.inputs())
    if subject.needs_gold:
        assert runtime.asked, "it declares needs_gold = True and never asks for runtime.grader; drop the declaration"
    else:
        assert not runtime.asked, "it asks for runtime.grader without declaring needs_gold = True"


def closes_twice_and_reopens(case: Case) -> None:
    """`close` may be called twice, also before `open`; opened again, the same instance gives the same outputs."""
    subject = case.subject
    batch = subject.inputs()[:3]
    instance = subject.make()
    instance.close()
    found = []
    for _ in range(2):
        instance.open(subject.runtime(gold=instance.needs_gold))
        found.append(subject.outputs(instance, batch))
        instance.close()
        instance.close()
    for given, one, other in zip(batch, *found, strict=True):
        assert subject.alike(one, other), (
            f"the output for {subject.label(given)} changes when it is opened again: {one}, then {other}"
        )


SHARED: tuple[Contract, ...] = (name_and_docstring, valid_options, light_import, init_does_no_work)
COMMON: tuple[Contract, ...] = (
    *SHARED,
    empty_batch,
    one_output_per_input,
    batch_does_not_matter,
    same_seed_same_output,
    empty_solution,
    hostile_text,
    inputs_untouched,
    gold_only_if_declared,
    closes_twice_and_reopens,
)
CRITICS: tuple[Contract, ...] = (scores_in_range, one_score_per_step, first_bad_step_in_range, words_are_texts)
TOKEN_CLASSIFIERS: tuple[Contract, ...] = (step_ends_are_tokens,)
ENGINES: tuple[Contract, ...] = (ends_at_stop_strings, ends_at_its_limit)
SPLITTERS: tuple[Contract, ...] = (pieces_make_the_text, linear_time)
OTHER_ENGINES: tuple[Contract, ...] = (scores_equal_transformers,)


def contract(subject: Subject[Any, Any]) -> tuple[Contract, ...]:
    """The checks that apply to a subject that is no trainer."""
    critic = isinstance(subject, CriticSubject)
    token_classifier = issubclass(subject.component, TokenClassifierCritic)
    # One with an encode of its own may read other places than newlines.
    reads_newlines = getattr(subject.component, "encode", None) is TokenClassifierCritic.encode
    elsewhere = token_classifier and getattr(subject.options, "engine", "transformers") != "transformers"
    return (
        *COMMON,
        *(CRITICS if critic else ()),
        *(SPLITTERS if isinstance(subject, SplitterSubject) else ()),
        *((*ENGINES, *of_messages(subject)) if isinstance(subject, EngineSubject) else ()),
        *((choices_are_probabilities,) if getattr(subject.component, "can_choose", False) else ()),
        *(TOKEN_CLASSIFIERS if reads_newlines else ()),
        *(OTHER_ENGINES if elsewhere else ()),
    )
