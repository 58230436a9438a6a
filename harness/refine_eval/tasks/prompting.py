"""How lm-eval is asked for prompts and texts: messages, few-shot turns, its `gen_kwargs`."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.data import Message, Prompt
from refine_eval.errors import UsageError, suggestion
from refine_eval.terminal import encodable

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""lm-eval's names for the longest text, the first that is given counts."""
_DRAWING = ("do_sample", "temperature", "top_p")
_KNOWN = (*_LENGTHS, *_DRAWING, "until")


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """Arguments of lm-eval's evaluator, by its names."""

    system_instruction: str | None = None
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = False

    @classmethod
    def of(cls, *, messages: bool, system_instruction: str | None, fewshot_as_multiturn: bool | None) -> Prompting:
        """As lm-eval's command line reads them: with messages few-shot examples are turns, if nothing else is said.

        UsageError for turns without messages.
        """
        if fewshot_as_multiturn and not messages:
            raise UsageError("--fewshot-as-multiturn makes turns of messages: add --apply-chat-template.")
        turns = messages if fewshot_as_multiturn is None else fewshot_as_multiturn
        return cls(system_instruction=system_instruction, apply_chat_template=messages, fewshot_as_multiturn=turns)


class _Rendered(str):
    """Messages as JSON, which lm-eval carries about as the text that it takes them for."""


def rendered(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
    """What lm-eval gets from a model's chat template: here messages stay messages, for `read_prompt`."""
    return _Rendered(json.dumps(messages))


def read_prompt(prompt: str) -> Prompt:
    """A prompt of lm-eval: a text, or the messages that `rendered` kept."""
    if not isinstance(prompt, _Rendered):
        return prompt
    return tuple(Message(role=each["role"], content=each["content"]) for each in json.loads(prompt))


def written_as(gen_kwargs: str | None) -> dict[str, Any]:
    """lm-eval's `gen_kwargs` out of `name=value,name=value` or JSON; UsageError for what is not taken."""
    if gen_kwargs is None or not gen_kwargs.strip():
        return {}
    found = _pairs(gen_kwargs)
    for name in found:
        if name not in _KNOWN:
            raise UsageError(
                f"--gen-kwargs has no {name!r}.{suggestion(name, _KNOWN)} It takes max_gen_toks, temperature, top_p, "
                "do_sample and until."
            )
    until = found.get("until", [])
    stops = [until] if isinstance(until, str) else until
    lengths = [found.pop(name) for name in _LENGTHS if name in found][:1]
    for fits, name, wanted in (
        (_are_texts(stops), "until", "a text or a list of texts"),
        (all(_is(int, n) and 1 <= n < 2**63 for n in lengths), _LENGTHS[0], "a whole number of at least 1"),
        (_is(float, t := found.get("temperature", 0)) and 0 <= t <= 100, "temperature", "a number from 0 to 100"),
        (_is(float, p := found.get("top_p", 1)) and 0 < p <= 1, "top_p", "a number above 0 and at most 1"),
        (isinstance(found.get("do_sample", True), bool), "do_sample", "true or false"),
    ):
        if not fits:
            raise UsageError(f"{name} in --gen-kwargs must be {wanted}: {gen_kwargs[:80]!r}.")
    return {**found, **({"max_gen_toks": lengths[0]} if lengths else {})}


def drawn_as(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, float]:
    """Temperature and top-p of drafts, by lm-eval's rule: greedy where `gen_kwargs` say nothing of it."""
    if not any(name in given for name in _DRAWING):
        return {}
    temperature = float(arguments.get("temperature", 0.0) or 0.0)
    if arguments.get("do_sample", temperature > 0) is False:
        temperature = 0.0
    top_p = float(arguments.get("top_p", 1.0) or 1.0)
    return {"temperature": temperature, "top_p": top_p} if temperature else {}


def stays_greedy(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What people are told where their temperature draws nothing, as the task says `do_sample: false`; else ""."""
    if not given.get("temperature") or drawn_as(arguments, given):
        return ""
    return (
        f"Note: drafts are greedy in spite of temperature={given['temperature']:g} in --gen-kwargs, as the task says "
        "do_sample: false; add do_sample=true."
    )


def _pairs(text: str) -> dict[str, Any]:
    wrong = f"--gen-kwargs is name=value,name=value or a JSON object, not {text[:80]!r}."
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise UsageError(wrong) from None
        return dict(found)
    result: dict[str, Any] = {}
    for part in re.split(r"\s*,\s*(?=\w+\s*=)", text.strip()):  # a value may have commas of its own
        name, equals, value = part.partition("=")
        if not equals or name.strip() in result:
            raise UsageError(wrong)
        result[name.strip()] = _value(value.strip())
    return result


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _is(kind: type, value: Any) -> bool:
    return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) and encodable(v) == v for v in values)
