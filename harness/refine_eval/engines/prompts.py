"""Prompts as tokens: the same for every engine that has a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refine_eval.data import Request
from refine_eval.errors import GenerationError
from refine_eval.models import check_vocabulary


def encode_prompts(
    tokenizer: Any, config: Any, requests: Sequence[Request], what: str, option_name: str
) -> dict[str, list[int]]:
    """The tokens of each different prompt, with the special tokens that the tokenizer adds, as in lm-eval.

    `what` and `option_name` are for errors: what the model is called, and what the user may pass instead. ModelError
    where a bundled tiny model does not know a word, GenerationError for an empty prompt; both name the problem.
    """
    problem = {request.prompt: request.problem.id for request in requests}
    encoded: dict[str, list[int]] = {}
    bos = tokenizer.bos_token
    for special in (True, False):
        # A prompt that begins with the beginning-of-text token does not get a second one.
        prompts = [p for p in problem if special is not bool(bos and p.startswith(bos))]
        if prompts:
            found = tokenizer(prompts, add_special_tokens=special, verbose=False).input_ids
            encoded.update(zip(prompts, found, strict=True))
    for prompt, ids in encoded.items():
        check_vocabulary(tokenizer, config, prompt, problem[prompt], what, option_name, ids)
        if not ids:
            raise GenerationError(f"The prompt of problem {problem[prompt]} is empty; there is nothing to continue.")
    return encoded
