"""How likely a text is to come next: the tokens of choices after a prompt, and where they have to be looked up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from refine_eval.data import Prompt, Request
from refine_eval.models.chat import UnrenderedError
from refine_eval.models.tokens import encode_prompts

_Tokens = tuple[int, ...]

_LEAST = -1000.0
"""The logarithm that stands for the probability 0: finite numbers can be stored."""


@dataclass(frozen=True, slots=True)
class ChoicePlan:
    """A prompt's tokens, those of each choice after it, and the places at which tokens have to be looked up.

    A place is what stands between the prompt and there, and the tokens that may come next.
    """

    prompt: list[int]
    choices: tuple[_Tokens, ...]

    @property
    def places(self) -> list[tuple[_Tokens, _Tokens]]:
        """(tokens after the prompt, tokens that may follow them), the prompt's own end first."""
        found: dict[_Tokens, dict[int, None]] = {}
        for choice in self.choices:
            for at, token in enumerate(choice):
                found.setdefault(choice[:at], {})[token] = None
        return [(tail, tuple(tokens)) for tail, tokens in sorted(found.items(), key=lambda place: len(place[0]))]

    def logprobs(self, found: Sequence[Sequence[float]]) -> list[float]:
        """Each choice's logarithm from those of the places' tokens; of one that begins others, without theirs."""
        known: Mapping[tuple[_Tokens, int], float] = {
            (tail, token): logprob
            for (tail, tokens), logprobs in zip(self.places, found, strict=True)
            for token, logprob in zip(tokens, logprobs, strict=True)
        }
        total = {c: sum(known[c[:at], token] for at, token in enumerate(c)) for c in self.choices}
        return [_without(total[c], [total[longer] for longer in _next(c, total)]) for c in self.choices]


def _next(choice: _Tokens, all_: Mapping[_Tokens, float]) -> list[_Tokens]:
    """The choices that go on from a choice, but for those that go on from one of these."""
    longer = [other for other in all_ if len(other) > len(choice) and other[: len(choice)] == choice]
    return [o for o in longer if not any(len(p) < len(o) and o[: len(p)] == p for p in longer)]


def _without(whole: float, parts: Sequence[float]) -> float:
    left = math.exp(whole) - sum(map(math.exp, parts)) if parts else 1.0
    if not parts:
        return max(min(whole, 0.0), _LEAST)
    return max(math.log(left), _LEAST) if left > 0 else _LEAST


def plan_choices(
    tokenizer: Any,
    config: Any,
    requests: Sequence[Request],
    option_name: str,
    context: int | None,
    text_of: Callable[[Prompt], str],
) -> list[ChoicePlan | str]:
    """For each request with choices where they have to be looked up, or why its prompt cannot be read.

    A choice has the tokens that it has after the prompt; where the tokenizer merges it with the prompt's end, those
    that it has alone. The rest is as for `encode_prompts`.
    """
    prompts = encode_prompts(tokenizer, config, requests, option_name, context, text_of)
    whole: dict[tuple[Prompt, str], Request] = {}
    for request in requests:
        if isinstance(prompts[request.prompt], str):
            continue
        try:
            text = text_of(request.prompt)
        except UnrenderedError:  # pragma: no cover - it was rendered a moment ago
            continue
        for choice in request.choices:
            whole.setdefault((request.prompt, choice), replace(request, prompt=text + choice))
    read = encode_prompts(tokenizer, config, list(whole.values()), option_name, context, text_of) if whole else {}
    alone: dict[str, _Tokens] = {}
    found: list[ChoicePlan | str] = []
    for request in requests:
        prompt = prompts[request.prompt]
        if isinstance(prompt, str):
            found.append(prompt)
            continue
        tails: list[_Tokens] = []
        for choice in request.choices:
            ids = read[whole[request.prompt, choice].prompt]
            if isinstance(ids, str):
                found.append(ids)
                break
            if len(ids) > len(prompt) and ids[: len(prompt)] == prompt:
                tails.append(tuple(ids[len(prompt) :]))
            else:
                if choice not in alone:
                    alone[choice] = tuple(tokenizer(choice, add_special_tokens=False, verbose=False).input_ids)
                tails.append(alone[choice])
        else:
            found.append(ChoicePlan(prompt, tuple(tails)))
    return found
