"""What engines make of messages: the checks of a contract for those that take them, and for those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from refine_eval.data import Message, Prompt
from refine_eval.errors import RefineEvalError, UsageError
from refine_eval.formats import continued, prefill_of, prompt_text
from refine_eval.plugin.contract import check_prompts
from refine_eval.terminal import shown
from refine_eval.testing.text_subjects import EngineSubject
from refine_eval.testing.toys import toy_problems

BEGUN = "So, to write the solution down a step a line:\n"
"""The beginning of an answer, which no model says a second time by chance."""


def conversations() -> list[Prompt]:
    """A question, one with a system text, and one after a question that was answered."""
    question, other = (Message(role="user", content=problem.question) for problem in toy_problems()[:2])
    system, answer = Message(role="system", content="Be brief."), Message(role="assistant", content="#### 84")
    return [(question,), (system, question), (question, answer, other)]


def of_messages(subject: EngineSubject) -> tuple[Callable[[Any], None], ...]:
    """The checks for an engine that takes messages, or the one for an engine that does not."""
    taken = getattr(subject.component, "takes_messages", False)
    return (messages_are_written, begun_answers_go_on, keys_tell_messages_apart) if taken else (messages_are_refused,)


def messages_are_written(case: Any) -> None:
    """It declares takes_messages, and writes for messages as for plain prompts, or says in one sentence why not."""
    with case.subject.opened() as instance:
        _written(case.subject, instance)


def begun_answers_go_on(case: Any) -> None:
    """After messages that end in a begun answer it yields what follows that, or says in one sentence that it cannot."""
    with case.subject.opened() as instance:
        _continued(case.subject, instance)


def keys_tell_messages_apart(case: Any) -> None:
    """Prompts with different texts, plain or messages, have different keys in the store."""
    with case.subject.opened() as instance:
        _keys(case.subject, instance)


def messages_are_refused(case: Any) -> None:
    """It does not declare takes_messages: messages for it are refused in one sentence, before it is asked."""
    with case.subject.opened() as instance:
        _refused(case.subject, instance)


def _written(subject: EngineSubject, instance: Any) -> None:
    batch = [subject.request(0, prompt, *how) for prompt in conversations() for how in ((0.0, 0), (0.8, 1))]
    try:
        found = subject.outputs(instance, batch)
    except RefineEvalError:
        return
    for request, generation in zip(batch, found, strict=True):
        subject.verify(instance, request, generation)
        (alone,) = subject.outputs(instance, [request])
        assert subject.alike(generation, alone), (
            f"the text for messages, {subject.label(request)}, depends on the batch: {generation} in a batch, {alone} "
            "alone"
        )
    reasons = [generation.unwritten for generation in found]
    assert None in reasons, f"all {len(batch)} messages are left out, the first for: {reasons[0]}"


def _continued(subject: EngineSubject, instance: Any) -> None:
    request = subject.request(0, continued(conversations()[0], BEGUN), 0.0, 0)
    try:
        (found,) = subject.outputs(instance, [request])
    except RefineEvalError:
        return
    subject.verify(instance, request, found)
    begun = prefill_of(request.prompt).strip()
    assert not found.text.lstrip().startswith(begun), (
        f"the text for an answer that begins with {begun!r} begins so again: {shown(found.text)}; yield what follows"
    )


def _keys(subject: EngineSubject, instance: Any) -> None:
    first = conversations()[0]
    prompts = (prompt_text(first), *conversations(), continued(first, BEGUN))
    requests = [subject.request(0, prompt, 0.0, 0) for prompt in prompts]
    written: dict[str, tuple[Prompt, Any]] = {}
    for request in requests:
        try:
            (found,) = subject.outputs(instance, [request])
        except RefineEvalError:
            continue
        prompt, before = written.setdefault(instance.cache_key_of(request), (request.prompt, found))
        assert subject.alike(before, found), (
            f"cache_key_of() is the same for {shown(prompt)} and {shown(request.prompt)}, and the texts differ: "
            f"{shown(before.text)} and {shown(found.text)}"
        )


def _refused(subject: EngineSubject, instance: Any) -> None:
    assert not instance.only_messages, (
        "its only_messages says that it reads nothing else, and its takes_messages that it takes none; declare "
        "takes_messages = True"
    )
    try:
        check_prompts(instance, [subject.request(0, prompt, 0.0, 0) for prompt in conversations()])
    except UsageError:
        return
    raise AssertionError(
        "an instance takes messages, and its class does not say so; declare takes_messages = True there"
    )
