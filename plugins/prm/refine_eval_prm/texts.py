"""What each family of reward models reads: token ids, and the positions at which steps are scored.

Places are found as characters of the text and then as tokens, so a tokenizer that merges a separator with its
neighbours is noticed instead of being read one token off.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from refine_eval import TokenRow

QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
QWEN_SEPARATOR = "<extra_0>"
SHEPHERD_TAG = "ки"
GOOD, BAD = "+", "-"


class Misread(Exception):
    """A text that the model would not read as it was trained to; the message says why."""


def math_shepherd(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """ "question Step 1: ... ки\\nStep 2: ... ки", scored at each "ки" (Wang et al. 2024, arXiv 2312.08935)."""
    text, tags = f"{question} ", []
    for number, step in enumerate(steps, 1):
        numbered = step if re.match(r"Step \d+:", step) else f"Step {number}: {step}"
        text += f"{numbered} {SHEPHERD_TAG}"
        tags.append(len(text) - 1)
        text += "\n"
    return _marked(tokenizer, text.removesuffix("\n"), tags, _token(tokenizer, SHEPHERD_TAG, -1), special=True)


def rlhflow_prm(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """A user's turn for each step, answered by "+", scored where that "+" is about to come (RLHFlow, 2024)."""
    return _answered(tokenizer, [f"{question} {steps[0]}", *steps[1:]] if steps else [])


def rlhflow_orm(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """The whole solution as one user's turn, answered by "+", scored where that "+" is about to come."""
    solution = "\n".join(steps)
    return _answered(tokenizer, [f"{question} {solution}"])


def qwen(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """Qwen2.5-Math-PRM's conversation, "<extra_0>" after each step (Zhang et al. 2025, arXiv 2501.07301)."""
    answer = "".join(step + QWEN_SEPARATOR for step in steps)
    system = {"role": "system", "content": QWEN_SYSTEM}
    text = _rendered(tokenizer, [system, *_exchange(question, answer)])
    begin = text.rfind(answer)
    if begin < 0:
        raise Misread("the chat template changes the solution")
    places, end = [], begin
    for step in steps:
        end += len(step) + len(QWEN_SEPARATOR)
        places.append(end - 1)
    return _marked(tokenizer, text, places, _token(tokenizer, QWEN_SEPARATOR, 0), special=True)


def skywork(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """Question and steps, each encoded for itself and ended by a newline token (Skywork-o1-Open-PRM, 2024)."""
    newline = _token(tokenizer, "\n", -1)
    ids, ends = tokenizer.encode((tokenizer.bos_token or "") + question + "\n"), []
    for step in steps:
        ids = [*ids, *tokenizer.encode(step), newline]
        ends.append(len(ids) - 1)
    return ids, ends


def trl(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """Question and steps, each encoded for itself, a newline after each step (TRL's PRM format)."""
    separator = tokenizer.encode("\n", add_special_tokens=False)
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids, ends = [*first, *tokenizer.encode(question, add_special_tokens=False)], []
    for step in steps:
        ids = [*ids, *tokenizer.encode(step, add_special_tokens=False), *separator]
        ends.append(len(ids) - 1)
    return ids, ends


def implicit(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """The steps, an empty line between them, as the assistant's turn (Yuan et al. 2024, arXiv 2412.01981).

    Positions are the last token before the solution and the last of each step: a step's reward is what is added from
    one to the next.
    """
    answer = "\n\n".join(steps)
    text = _rendered(tokenizer, _exchange(question, answer))
    begin = text.rfind(answer)
    if begin < 1:
        raise Misread("the chat template changes the solution")
    places, end = [begin - 1], begin
    for step in steps:
        end += len(step)
        places.append(end - 1)
        end += len("\n\n")
    ids, starts = _tokens(tokenizer, text, special=False)
    return ids, [_token_of(starts, place) for place in places]


def sequence_classifier(tokenizer: Any, question: str, steps: Sequence[str]) -> TokenRow:
    """Question and solution as a conversation, or one after the other without a template; scored as a whole."""
    solution = "\n".join(steps)
    if tokenizer.chat_template:
        ids, _ = _tokens(tokenizer, _rendered(tokenizer, _exchange(question, solution)), special=False)
    else:
        ids = tokenizer.encode(f"{question}\n{solution}")
    return ids, [len(ids) - 1]


def _exchange(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _answered(tokenizer: Any, turns: Sequence[str]) -> TokenRow:
    """A conversation in which each turn is answered by "+": the positions before those answers."""
    if not turns:
        return [], []
    messages = [message for turn in turns for message in _exchange(turn, GOOD)]
    text, places = _rendered(tokenizer, messages), []
    for number in range(len(turns)):
        before = _rendered(tokenizer, messages[: 2 * number + 1], add_generation_prompt=True)
        place = len(before) + len(text[len(before) :]) - len(text[len(before) :].lstrip(" "))
        if not text.startswith(before) or text[place : place + 1] != GOOD:
            raise Misread('the chat template does not put the assistant\'s "+" after its prompt for an answer')
        places.append(place)
    ids, ends = _marked(tokenizer, text, places, tokenizer.encode(GOOD)[-1], special=False)
    return ids, [end - 1 for end in ends]


def _rendered(tokenizer: Any, messages: Sequence[dict[str, str]], **how: Any) -> str:
    if not tokenizer.chat_template:
        raise Misread("its tokenizer has no chat template")
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **how))
    except Exception as error:  # a template raises whatever it likes
        raise Misread(f"its chat template fails ({type(error).__name__}: {error})") from error


def _token(tokenizer: Any, mark: str, at: int) -> int:
    """The first or last token of what marks a place; Misread where the tokenizer does not know it."""
    ids: list[int] = tokenizer.encode(mark)
    if not ids or ids[at] == tokenizer.unk_token_id:
        raise Misread(f"its tokenizer has no token for {mark!r}")
    return ids[at]


def _marked(tokenizer: Any, text: str, places: Sequence[int], mark: int, *, special: bool) -> TokenRow:
    """The tokens of a text, and those at some of its characters; Misread where one of these is not `mark`."""
    ids, starts = _tokens(tokenizer, text, special=special)
    found = [_token_of(starts, place) for place in places]
    for index in found:
        if ids[index] != mark:
            raise Misread(
                f"its tokenizer merges the separator with its neighbours ({tokenizer.decode([ids[index]])!r})"
            )
    return ids, found


def _tokens(tokenizer: Any, text: str, *, special: bool) -> tuple[list[int], list[int]]:
    """The token ids of a text, and the character at which each begins."""
    found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    starts, last = [], 0
    for start, end in found["offset_mapping"]:
        last = start if end > start else last  # special tokens that were added stand nowhere
        starts.append(last)
    return list(found["input_ids"]), starts


def _token_of(starts: Sequence[int], place: int) -> int:
    """The last token that begins at or before a character."""
    return bisect_right(starts, place) - 1
