"""A server's answers are checked here and nowhere else: behind `read_completion` and `read_models` all is typed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.engines.server.replies import Reply
from refine_eval.terminal import encodable

_FILTERED = "content_filter"
_CUT_OFF = frozenset({"length", "max_tokens", "max_length", "model_length", _FILTERED})
_FAILED = frozenset({"abort", "error"})
# A count may lie a little above the limit, never far: servers do not write on.
_HUGE = 10
_MOST_PROMPT_TOKENS = 2**31
_LONGEST_NAME = 500
_MOST_OF_A_REFUSAL = 10_000
_DATED = re.compile(r"[-:@]v?\d{3,}[\w.:-]*")
_TOO_LONG = re.compile(r"context.?(length|size|window)|max_model_len|max_new_tokens. must be", re.IGNORECASE)
_FILTER = re.compile(
    r"content.?filter|content.?management|(content|safety|usage|responsible.?ai).?polic", re.IGNORECASE
)
_SEED = re.compile(r"\bseeds?\b", re.IGNORECASE)
_PREFILL = re.compile(r"continue_final_message|add_generation_prompt|prefill|\bassistant\b", re.IGNORECASE)
_THINKING = re.compile(r"chat_template_kwargs|enable_thinking", re.IGNORECASE)
_REASONING = ("reasoning_content", "reasoning")
_LIMIT = re.compile(r"\bmax_completion_tokens\b")
_MESSAGES = re.compile(r"\bmessages\b", re.IGNORECASE)


class BadAnswerError(Exception):
    """An answer that is no completion; the message says what is wrong with it, "" where it is not even of the form."""


class OtherModelError(Exception):
    """An answer by another model than the one that was asked: its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A text that can be stored as it is; `tokens` is 0 where the server does not count, `prompt_tokens` None.

    `thought` is what the server tells apart as the model's, None where it tells nothing. `unwritten` says why there is
    no text, where the server gave none on purpose.
    """

    text: str
    tokens: int
    cut_off: bool
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    unwritten: str | None = None
    thought: str | None = None


def read_completion(body: bytes, model: str | None, max_tokens: int, *, chat: bool = False) -> Completion:
    """The one completion that was asked for, or with `chat` the one message; `model` None takes any model's answer.

    BadAnswerError or OtherModelError where it is something else. Left out may be the counts, why it ended, the model.
    """
    content = _json(body)
    if not isinstance(content, dict):
        raise BadAnswerError
    answered = content.get("model")
    if answered is not None and not isinstance(answered, str):
        raise BadAnswerError("its model is not named by a text")
    if model is not None and answered and not _same_model(model, answered):
        raise OtherModelError(answered)
    choice = _choice(content.get("choices"))
    choice = _with_message(choice) if chat else choice
    field = "content" if chat else "text"
    if why := _why_no_text(choice, field):
        return Completion(text="", tokens=0, cut_off=False, unwritten=why)
    text = choice.get(field)
    if not isinstance(text, str):
        raise BadAnswerError("it is a chat's" if not chat and "message" in choice else "its text is not a text")
    reason = choice.get("finish_reason")
    if reason is not None and not isinstance(reason, str):
        raise BadAnswerError("its finish_reason is not a text")
    if reason in _FAILED:
        raise BadAnswerError(f"its finish_reason is {reason}")
    tokens = _tokens(content.get("usage"), max_tokens)
    prompt, cached = _prompt_tokens(content.get("usage"))
    return Completion(
        text=encodable(text),
        tokens=tokens,
        prompt_tokens=prompt,
        cached_tokens=cached,
        cut_off=reason in _CUT_OFF or (reason is None and tokens >= max_tokens),
        thought=_thought(choice) if chat else None,
    )


def read_choices(body: bytes, choices: Sequence[str]) -> tuple[tuple[float | None, ...], float | None]:
    """How likely each choice is to be the first token, and what bounds those that are not among the likeliest.

    BadAnswerError for an answer without its likeliest tokens. A choice of several tokens is missing; it is no likelier
    than the token with which it begins.
    """
    given: Any = _choice(_json(body).get("choices")).get("logprobs")
    try:
        if given.get("content"):  # a chat's form, which some servers use for completions, too
            pairs = [(each["token"], each["logprob"]) for each in given["content"][0]["top_logprobs"]]
        else:
            pairs = list(given["top_logprobs"][0].items())
        told = {_spelt(token): min(float(logprob), 0.0) for token, logprob in pairs if math.isfinite(logprob)}
    except (AttributeError, LookupError, TypeError, ValueError):
        told = {}
    if not told:
        raise BadAnswerError("it does not say how likely its tokens are; have it written as text instead")
    found = tuple(told.get(choice) for choice in choices)
    missing = [choice for choice, logprob in zip(choices, found, strict=True) if logprob is None]
    begun = [logprob for token, logprob in told.items() if token and any(c.startswith(token) for c in missing)]
    return found, max(min(told.values()), *begun) if missing and begun else min(told.values()) if missing else None


def _spelt(token: str) -> str:
    """A token as text: some servers name it as its tokenizer spells it."""
    return token.replace("\u2581", " ").replace("\u0120", " ")


def read_models(body: bytes) -> list[str]:
    """The names in a server's list of models; BadAnswerError where it is none."""
    content = _json(body)
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise BadAnswerError
    names = [entry.get("id") if isinstance(entry, dict) else None for entry in entries]
    found = [name for name in names if isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME]
    if len(found) < len(names):
        raise BadAnswerError("a model in it has no usable name")
    return found


def read_message(body: bytes) -> str:
    """The server's own words in a refusal, out of OpenAI's form or FastAPI's, or else the whole answer."""
    try:
        content = _json(body)
    except BadAnswerError:
        content = None
    for name in ("error", "message", "detail"):
        if isinstance(content, dict) and content.get(name):
            content = content[name]
    return content if isinstance(content, str) else body.decode("utf-8", "replace")


def is_too_long(message: str) -> bool:
    """Whether a refusal is about a prompt that does not fit."""
    return _TOO_LONG.search(message) is not None


def is_filtered(reply: Reply) -> bool:
    """Whether a refusal is of a content filter, for one prompt."""
    return (
        reply.status in (400, 422, 451)
        and _FILTER.search(reply.body[:_MOST_OF_A_REFUSAL].decode(errors="replace")) is not None
    )


def is_about_seeds(message: str) -> bool:
    """Whether a refusal names the seed."""
    return _SEED.search(message) is not None


def is_about_messages(message: str) -> bool:
    """Whether a refusal misses a chat's messages."""
    return _MESSAGES.search(message) is not None


def is_about_prefills(message: str) -> bool:
    """Whether a refusal is of a message by the assistant that was to be continued."""
    return _PREFILL.search(message) is not None


def is_about_thinking(message: str) -> bool:
    """Whether a refusal is of what the chat template was to be told."""
    return _THINKING.search(message) is not None


def wants_other_limit(reply: Reply) -> bool:
    """Whether a refusal of `max_tokens` says that the limit is called `max_completion_tokens`, as newer models' is."""
    return reply.status in (400, 422) and _LIMIT.search(read_message(reply.body)) is not None


def may_be_the_seed(reply: Reply) -> bool:
    """Whether a smaller seed may cure a refusal; not every server says what it does not like."""
    message = read_message(reply.body)
    return reply.status >= 400 and not is_too_long(message) and (reply.status in (400, 422) or is_about_seeds(message))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise BadAnswerError from None


def _choice(choices: Any) -> dict[str, Any]:
    """The first choice by its index: one was asked for, and some servers send more, in any order."""
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise BadAnswerError
    if len(choices) == 1 and choices[0].get("index") is None:
        return choices[0]  # type: ignore[no-any-return]
    first = [choice for choice in choices if type(choice.get("index")) is int and choice["index"] == 0]
    if len(first) != 1:
        raise BadAnswerError("it has no choice, or more than one, of index 0")
    return first[0]  # type: ignore[no-any-return]


def _with_message(choice: dict[str, Any]) -> dict[str, Any]:
    """A chat's choice with what its message holds; of one that was cut off in its thought the content is empty."""
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadAnswerError("it is no chat's")
    said = {"content": None, **choice, **message}
    # Of an answer that ended, or was cut off, after nothing but a thought the text is empty.
    if said["content"] is None and (said.get("finish_reason") in _CUT_OFF - {_FILTERED} or _only_thought(said)):
        said["content"] = ""
    return said


def _only_thought(said: Mapping[str, Any]) -> bool:
    return not said.get("refusal") and not said.get("tool_calls") and _thought(said) is not None


def _thought(choice: Mapping[str, Any]) -> str | None:
    """What a server's reasoning parser took out of the message, in paragraphs of its own; None where it took nothing.

    vLLM calls it `reasoning` now, others and vLLM before `reasoning_content`.
    """
    said = next((choice[name] for name in _REASONING if choice.get(name) is not None), None)
    if said is None:
        return None
    if not isinstance(said, str):
        raise BadAnswerError("its reasoning is not a text")
    return f"{encodable(said).strip()}\n\n" if said.strip() else None


def _why_no_text(choice: Mapping[str, Any], field: str) -> str | None:
    """Why a choice holds no text under `field`, where the server or its model meant it so; None for all else."""
    if choice.get(field) or field not in choice:
        return None
    if choice.get("finish_reason") == _FILTERED:
        return "held back by the server's content filter"
    if isinstance(refusal := choice.get("refusal"), str) and refusal:
        return f"refused by the model ({refusal[:_LONGEST_NAME]})"
    if choice.get("tool_calls"):
        return "a call of a tool instead of a text"
    said_why = isinstance(choice.get("finish_reason"), str) and choice["finish_reason"] not in _FAILED
    return "an answer without a text" if choice[field] is None and said_why else None


def _tokens(usage: Any, max_tokens: int) -> int:
    if usage is None:
        return 0
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else usage
    if tokens is None:
        return 0
    if type(tokens) is not int or not 0 <= tokens <= _HUGE * max(max_tokens, 1):
        raise BadAnswerError(f"its completion_tokens are not a number from 0 to about {max_tokens}")
    return tokens


def _prompt_tokens(usage: Any) -> tuple[int | None, int]:
    """The prompt's tokens, and how many of them the server had cached; (None, 0) where it does not say, or nonsense.

    No text is lost by it: these are figures beside it.
    """
    prompt = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if type(prompt) is not int or not 0 < prompt <= _MOST_PROMPT_TOKENS:
        return None, 0
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return prompt, cached if type(cached) is int and 0 <= cached <= prompt else 0


def _same_model(asked: str, answered: str) -> bool:
    """Whether two names are one model's: written with or without its owner, or with the date of its version."""
    ours, theirs = f"/{asked}".casefold(), f"/{answered}".casefold()
    if ours.endswith(theirs) or theirs.endswith(ours):
        return True
    return theirs.startswith(ours) and _DATED.fullmatch(theirs, len(ours)) is not None
