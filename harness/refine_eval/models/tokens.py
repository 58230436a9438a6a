"""Texts as tokens: prompts of engines, and the lines that critics score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from refine_eval.data import Prompt, Request
from refine_eval.errors import ModelError
from refine_eval.formats import PLAIN, STEP_END, PromptForm, student_prompt
from refine_eval.models.chat import UnrenderedError, form_text


def encode_prompts(
    tokenizer: Any,
    config: Any,
    requests: Sequence[Request],
    option_name: str,
    context: int | None,
    text_of: Callable[[Prompt], str],
) -> dict[Prompt, list[int] | str]:
    """The tokens of each different prompt, with the special tokens that the tokenizer adds, as in lm-eval.

    In place of the tokens of a prompt that cannot be continued, why: it fills the `context`, is empty, has words
    that a bundled tiny model does not know, or holds messages of which `text_of` makes no text. `option_name` is what
    the user may pass instead of that.
    """
    first = {request.prompt: request for request in reversed(requests)}
    result: dict[Prompt, list[int] | str] = {}
    texts: dict[Prompt, str] = {}
    for prompt in first:
        try:
            texts[prompt] = text_of(prompt)
        except UnrenderedError as error:
            result[prompt] = str(error)
    bos = tokenizer.bos_token
    for special in (True, False):
        # A prompt that begins with the beginning-of-text token does not get a second one.
        prompts = [prompt for prompt, text in texts.items() if special is not bool(bos and text.startswith(bos))]
        if prompts:
            found = tokenizer([texts[p] for p in prompts], add_special_tokens=special, verbose=False).input_ids
            for prompt, ids in zip(prompts, found, strict=True):
                why = _why_unreadable(tokenizer, config, first[prompt], texts[prompt], ids, option_name, context)
                result[prompt] = why or ids
    return result


def _why_unreadable(
    tokenizer: Any,
    config: Any,
    request: Request,
    text: str,
    ids: Sequence[int],
    option_name: str,
    context: int | None,
) -> str | None:
    """Why a prompt of these tokens cannot be continued; None where it can."""
    if not ids:
        return "empty prompt, which leaves nothing to continue"
    if context is not None and len(ids) >= context:
        return (
            f"prompt longer than the model's context ({len(ids):,} tokens of {context:,}); {shorter_prompt(request)}, "
            "or a model with a longer context"
        )
    return foreign_token(config, ids, option_name) or unknown_word(tokenizer, config, text, option_name, ids)


def shorter_prompt(request: Request) -> str:
    """What makes a prompt shorter: the beginning of advice on one that fills the context."""
    if request.purpose in ("draft", "sample", "rollout"):
        return "use fewer few-shot examples (--num-fewshot)"
    return "it holds the draft: use a lower --max-gen-toks"


def unknown_word(tokenizer: Any, config: Any, text: str, option: str, ids: Sequence[int] | None = None) -> str | None:
    """Why a bundled tiny model cannot read a text with a word that it does not know; None for all else.

    Bundled models carry the key `refine_eval_task` in their config.json. `option` is what the user may pass instead,
    and `ids` the text's tokens where they are known already.
    """
    task = getattr(config, "refine_eval_task", None)
    if task is None:
        return None
    unknown = tokenizer.unk_token_id
    if ids is None:
        ids = tokenizer(text, add_special_tokens=False).input_ids
    if unknown not in ids:
        return None
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start, end = encoded["offset_mapping"][encoded["input_ids"].index(unknown)]
    word = text[start:end].strip() or text[start:end]
    return (
        f"its model knows only the words of the bundled task {task!r} ({word[:40]!r} is none of them); pass your own "
        f"with {option}"
    )


def foreign_token(config: Any, ids: Sequence[int], option: str) -> str | None:
    """Why a model cannot read tokens that it does not have; None where it has them all. `option` as above."""
    known = getattr(config.get_text_config(), "vocab_size", None)
    if not known or not ids or max(ids) < known:
        return None
    return (
        f"its tokenizer is of another model (token {max(ids)} of {known:,}); put the model's own into its folder, or "
        f"pass another with {option}"
    )


def newline_token(tokenizer: Any, model_name: str) -> int:
    """The token that ends a step; ModelError where the tokenizer has no single token for it."""
    ids: list[int] = tokenizer.encode(STEP_END, add_special_tokens=False)
    if len(ids) == 2:
        # Llama-2's tokenizer puts a space before every text; the newline itself is one token.
        alone, followed = (tokenizer.encode(text, add_special_tokens=False) for text in ("a", "a" + STEP_END))
        ids = followed[len(alone) :] if followed[: len(alone)] == alone else ids
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ModelError(
            f"The tokenizer of {model_name} has {len(ids) if len(ids) != 1 else 'no'} tokens for the newline that ends "
            "a step, where a critic needs exactly one; pass a critic whose tokenizer has it as one token."
        )
    return ids[0]


def encode_steps(
    tokenizer: Any,
    question: str,
    steps: Sequence[str],
    model_name: str = "the critic",
    form: PromptForm = PLAIN,
) -> tuple[list[int], list[int]]:
    """What a critic reads, and the positions of the step ends, where it is scored: (token ids, positions).

    Prompt and steps are encoded apart, with a newline token after each step, so that no tokenizer can merge
    across the place where a score is read. The beginning-of-text token is added where the tokenizer adds it.
    ModelError where the tokenizer splits the newline; as `form_text` where the question is a message.
    """
    prompt = form_text(model_name, tokenizer, form, student_prompt(question))
    return encode_lines(tokenizer, prompt, steps, model_name)


def encode_lines(
    tokenizer: Any, prompt: str, steps: Sequence[str], model_name: str = "the critic"
) -> tuple[list[int], list[int]]:
    """`encode_steps` after any prompt."""
    newline = newline_token(tokenizer, model_name)
    texts = [prompt, *steps]
    encoded_prompt, *encoded = tokenizer(texts, add_special_tokens=False, verbose=False).input_ids
    ids = [*first_tokens(tokenizer, prompt), *encoded_prompt]
    positions = []
    for step in encoded:
        ids += [*step, newline]
        positions.append(len(ids) - 1)
    return ids, positions


def first_tokens(tokenizer: Any, text: str = "") -> list[int]:
    """[beginning-of-text] where the tokenizer puts it before every text, and this one does not have it; else []."""
    bos = tokenizer.bos_token_id
    there = bool(bos is not None and tokenizer.bos_token and text.startswith(tokenizer.bos_token))
    return [bos] if bos is not None and not there and tokenizer("").input_ids[:1] == [bos] else []


def encode(tokenizer: Any, text: str) -> list[int]:
    """The token ids of a text, nothing added."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def probe_texts(config: Any) -> list[list[int]]:
    """Two short texts of different length that begin alike, by which to see how a model of this configuration reads.

    Of tokens from all over the vocabulary: its first are often special ones, which bfloat16 alone can put far off.
    """
    vocabulary = config.get_text_config().vocab_size
    return [[token * vocabulary // 10 for token in text] for text in ([5, 6, 7, 8, 4, 2], [5, 6, 9, 3])]
