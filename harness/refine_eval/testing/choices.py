"""What an engine that has `choose` must keep: probabilities of choices, whatever else is in the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from refine_eval.data import Generation, Request
from refine_eval.plugin.components import Engine
from refine_eval.plugin.contract import read_generations
from refine_eval.testing.text_subjects import EngineSubject

_CHOICES = ("1", "2", "12", "+")
_APART = 0.02
"""How far logarithms of one choice may lie apart in half precision."""


def check_choices(subject: EngineSubject, instance: Engine) -> None:
    """AssertionError where a choice's probability is none, all add up to more than 1, or the batch changes them."""
    greedy = [replace(request, choices=_CHOICES) for request in subject.inputs() if not request.sampling.temperature]
    assert not list(instance.choose([])), "choose yields something for no requests"
    together, backwards = _chosen(instance, greedy), _chosen(instance, greedy[::-1])[::-1]
    alone = [_chosen(instance, [request])[0] for request in greedy]
    for request, *found in zip(greedy, together, backwards, alone, strict=True):
        known = [[each for each in one.logprobs or () if each is not None] for one in found]
        where = f"the choices {_CHOICES} after the prompt of {request.problem.id}"
        total = math.fsum(map(math.exp, known[0]))
        assert total <= 1 + _APART, f"the probabilities of {where} add up to {total:.2f}"
        assert all(len(each) == len(known[0]) for each in known), f"{where} are not always told"
        apart = max((max(some) - min(some) for some in zip(*known, strict=True)), default=0.0)
        assert apart <= _APART, f"log-probabilities of {where} depend on the batch: they are up to {apart:.2g} apart"


def _chosen(instance: Engine, requests: Sequence[Request]) -> list[Generation]:
    found = dict(read_generations(instance, requests))
    missing = sorted(set(range(len(requests))) - set(found))
    assert not missing, f"choose yielded nothing for the requests {missing} of {len(requests)}"
    return [found[index] for index in range(len(requests))]
