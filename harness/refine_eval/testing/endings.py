"""How texts end, one rule for all engines: the checks of a contract that engines alone have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from refine_eval.data import Generation, Request
from refine_eval.formats import cut_at_stops
from refine_eval.terminal import shown
from refine_eval.testing.text_subjects import EngineSubject

END_TOKENS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<eos>")
"""How models write that they are done."""

_SHORT = 3
"""Tokens: fewer than a toy solution takes."""


def check_stop_strings(subject: EngineSubject, instance: Any) -> None:
    """AssertionError where a text does not end before a stop string in it, with the finish reason "stop"."""
    requests = [request for request in subject.inputs() if request.sampling.temperature == 0]
    whole = _written(subject, instance, requests, ())
    for request, found in zip(requests, whole, strict=True):
        middle = len(found.text) // 2
        for stop in sorted({found.text[:1], found.text[-1:], found.text[middle : middle + 2]} - {""}):
            expected = cut_at_stops(found.text, [stop])
            (cut,) = _written(subject, instance, [request], (stop,))
            where = f"for {subject.label(request)} with the stop string {stop!r}"
            assert cut.text == expected, (
                f"the text {where} is {shown(cut.text)} instead of {shown(expected)}, the text without it "
                f"up to the first {stop!r}; cut it with refine_eval.cut_at_stops(text, sampling.stop)"
            )
            assert cut.finish_reason == "stop", f"the finish reason {where} is {cut.finish_reason!r} instead of 'stop'"


def check_lengths(subject: EngineSubject, instance: Any) -> None:
    """AssertionError where the finish reason is not "length" for exactly the texts that `max_tokens` cuts off.

    An engine that serves what was written elsewhere may write the same text whatever the limit.
    """
    requests = [request for request in subject.inputs() if request.sampling.temperature == 0]
    whole = _written(subject, instance, requests, ())
    short = _written(subject, instance, requests, (), _SHORT)
    for request, long, cut in zip(requests, whole, short, strict=True):
        where = f"for {subject.label(request)}"
        for found, limit in ((long, request.sampling.max_tokens), (cut, _SHORT)):
            assert found.finish_reason == "stop" or found.tokens in (0, limit), (
                f"the text {where} has {found.tokens} tokens and the finish reason 'length', where the limit is {limit}"
            )
        expected = "length" if long.text != cut.text else long.finish_reason
        assert cut.finish_reason == expected, (
            f"the text {where} is {shown(long.text)}, and {shown(cut.text)} where {_SHORT} tokens are allowed; "
            f"its finish reason is {cut.finish_reason!r} then instead of {expected!r}"
        )
        for end in END_TOKENS:
            assert end not in long.text, f"the end-of-text token {end!r} is left in the text {where}"


def _written(
    subject: EngineSubject, instance: Any, requests: Sequence[Request], stop: tuple[str, ...], limit: int | None = None
) -> list[Generation]:
    """What the engine writes for the requests with other stop strings, and another limit if one is given."""
    return subject.outputs(
        instance,
        [
            replace(r, sampling=replace(r.sampling, stop=stop, max_tokens=limit or r.sampling.max_tokens))
            for r in requests
        ],
    )
