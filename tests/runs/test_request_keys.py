"""What is in the key of a request's text in the store, and what is not."""

from dataclasses import fields, replace
from typing import Any

import pytest

from refine_eval.data import Request, Sampling
from refine_eval.plugin.components import Engine
from refine_eval.runs.requests import request_key
from refine_eval.testing import toy_problems

REQUEST = Request(
    problem=toy_problems()[0],
    prompt="p",
    sampling=Sampling(max_tokens=5, temperature=0.5, top_p=0.9, stop=("x",)),
    purpose="sample",
    sample=0,
    seed=1,
)


@pytest.mark.parametrize("field", [field.name for field in fields(Sampling)])
def test_all_of_the_sampling_is_in_the_key(field: str) -> None:
    changed: dict[str, Any] = {"max_tokens": 6, "temperature": 0.6, "top_p": 0.8, "stop": ("y",)}
    other = replace(REQUEST, sampling=replace(REQUEST.sampling, **{field: changed[field]}))
    assert request_key("model", "p", REQUEST) != request_key("model", "p", other)


def test_what_else_is_in_a_requests_key() -> None:
    def key(request: Request, identity: str = "model", prompt: str = "p") -> bytes:
        return request_key(identity, prompt, request)

    greedy = replace(REQUEST, sampling=replace(REQUEST.sampling, temperature=0.0))
    assert key(REQUEST) != key(replace(REQUEST, seed=2))
    assert key(greedy) == key(replace(greedy, seed=2))
    assert len({key(REQUEST), key(REQUEST, "other"), key(REQUEST, prompt="q")}) == 3
    assert key(REQUEST) == key(replace(REQUEST, purpose="rollout", sample=3, problem=toy_problems()[1]))
    assert Engine().cache_key_of(REQUEST) == "p"
