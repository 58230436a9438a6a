"""The engine for any model class that lm-eval has: `hf`, `local-completions`, `vllm`, `sglang`, ..."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from refine_eval.data import Generation, Request, Sampling
from refine_eval.errors import GenerationError, ModelError, UsageError
from refine_eval.files import expanded
from refine_eval.formats import as_messages, cut_at_stops, prefill_of
from refine_eval.models.chat import ChatTemplate
from refine_eval.models.foreign_code import check_arguments, no_pickles
from refine_eval.models.loading import choose_device, free_memory, quiet_transformers
from refine_eval.models.parameters import computing_parameters
from refine_eval.models.sources import (
    model_identity,
    resolve_adapter,
    resolve_model,
    tokenizer_identity,
    without_adapter,
)
from refine_eval.plugin.components import Engine
from refine_eval.plugin.fields import option
from refine_eval.plugin.pairs import scalar
from refine_eval.plugin.runtime import EngineRuntime

if TYPE_CHECKING:
    from refine_eval.tasks.language_model import LanguageModel

_BATCH_SIZE = 16
_BATCHES_A_CALL = 8
"""lm-eval returns the texts of a call together, and what a killed run loses is the call."""
_ADAPTERS = {"peft", "lora_local_path"}
_WHOLE = {"delta"}
_TOKENIZERS = {"tokenizer", "tokenizer_path", "processor"}


@dataclass(frozen=True, kw_only=True)
class LmEvalOptions:
    """Options of the lm-eval engine."""

    model: str = option("hf", "lm-eval's name of the model class.")
    pretrained: str = option("", "Hub name or model folder, for classes that take one.")
    revision: str | None = option(None, "Branch, tag or commit on the hub.")
    rest: dict[str, str] = option({}, "Any argument of that class, as lm-eval spells it.", rest=True)


class LmEvalEngine(Engine):
    """Any model class of lm-eval as the student.

    lm-eval seeds a batch rather than a text, so sampled texts are the same only for the same calls with the same
    batch size; greedy ones do not depend on that. `Generation.tokens` counts the text's tokens where the class has
    a tokenizer, else 0. A prompt longer than the context is cut from the left, as lm-eval does it. Messages go to chat
    classes as they are, and to others through their own chat template.
    """

    name = "lm-eval"
    takes_messages = True
    Options = LmEvalOptions
    options: LmEvalOptions

    _model: LanguageModel | None = None

    @property
    def gpus(self) -> int:
        """One, unless the device is another."""
        return int(self.options.rest.get("device", "cuda").startswith("cuda"))

    @property
    def preferred_batch_size(self) -> int:
        """A batch."""
        return self._batch_size

    def for_model(self, model: str) -> Engine | None:
        """The same class with another model, where it takes one."""
        if not self.options.pretrained:
            return None
        return type(self)(replace(self.options, pretrained=model, revision=None))

    def open(self, runtime: EngineRuntime) -> None:
        """Makes the model; UsageError for a class that lm-eval does not have, ModelError where it cannot be made."""
        from refine_eval.tasks.language_model import LanguageModel

        self._check_chat()
        check_arguments(self.options.rest, self.option_name.partition(" ")[0])
        arguments: dict[str, Any] = {key: scalar(value) for key, value in self.options.rest.items()}
        decisive = {k: v for k, v in arguments.items() if k not in ("batch_size", "max_batch_size", "device")}
        decisive |= _folders(arguments)
        identity = self.options.pretrained
        if self.options.pretrained:
            arguments["pretrained"] = self.options.pretrained
            if os.path.isdir(expanded(self.options.pretrained)):
                source = resolve_model(self.options.pretrained)
                identity = model_identity(without_adapter(source, "use the engine transformers, which merges it"))
        if self.options.revision:
            arguments["revision"] = decisive["revision"] = self.options.revision
        self._batch_size = int(arguments.pop("batch_size", None) or runtime.batch_size or _BATCH_SIZE)
        with quiet_transformers(), no_pickles():
            self._model = LanguageModel(
                self.options.model,
                arguments,
                batch_size=self._batch_size,
                device=str(arguments.pop("device", None) or choose_device(runtime.device)),
                dtype=runtime.dtype,
                seed=runtime.seed,
            )
        self.model_parameters = computing_parameters(self._model.config)
        template = ChatTemplate(self.options.pretrained or self.options.model, self._model.tokenizer, self.chat)
        self.advice, self.template_hash = template.advice, template.hash
        self._identity = f"lm-eval:{self.options.model}:{identity}:{self._model.dtype}:{sorted(decisive.items())}"

    def _check_chat(self) -> None:
        """UsageError for what lm-eval's classes cannot be told of their templates."""
        if self.chat and self.chat.template:
            raise UsageError(
                "lm-eval's model classes choose their chat template themselves, so write --apply-chat-template without "
                f"{self.chat.template!r}, or take the engine transformers or vllm."
            )
        if self.chat and self.chat.enable_thinking is not None:
            value = str(self.chat.enable_thinking).lower()
            raise UsageError(
                f"lm-eval's model classes are asked for thoughts by an argument of their own: leave out "
                f"--enable-thinking and add enable_thinking={value} to --model-args."
            )

    @property
    def only_messages(self) -> bool:
        """Whether the class is one of lm-eval's for chat servers."""
        return "chat" in self.options.model or self.options.model == "litellm"

    def cache_key_of(self, request: Request) -> str:
        """The prompt, as text or as the messages that are sent."""
        return super().cache_key_of(self._sent(request))

    def _sent(self, request: Request) -> Request:
        return replace(request, prompt=as_messages(request.prompt)) if self.only_messages else request

    def close(self) -> None:
        """Frees the model."""
        if self._model is not None:
            device, self._model = self._model.device, None
            free_memory(device)

    def identity(self) -> str:
        """The class, its model's content or name, and its arguments; not where, nor how many at once."""
        return self._identity

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields the texts of a few batches at a time.

        Unwritten stay messages that the class's chat template does not take, and what its server gives no text for.
        """
        assert self._model is not None, "open() comes first"
        prompts: dict[int, str] = {}
        alike: dict[Sampling, list[int]] = {}
        for index, request in enumerate(requests):
            try:
                prompts[index] = self._rendered(self._model, request)
            except ValueError as error:
                yield index, Generation.without_text(f"messages that the model's chat template does not take; {error}")
            else:
                alike.setdefault(request.sampling, []).append(index)
        preferred_batch_size = self._batch_size * _BATCHES_A_CALL
        for sampling, indices in alike.items():
            for start in range(0, len(indices), preferred_batch_size):
                chosen = indices[start : start + preferred_batch_size]
                began = time.perf_counter()
                with quiet_transformers():
                    texts = self._model.texts(
                        [requests[index] for index in chosen], [prompts[index] for index in chosen], sampling
                    )
                seconds = (time.perf_counter() - began) / len(chosen)
                for index, (text, tokens) in zip(chosen, texts, strict=True):
                    if text is None:  # a server's answer, as of a content filter
                        yield index, Generation.without_text("lm-eval's model gives no text")
                    else:
                        written = _generation(text, tokens, sampling, seconds)
                        yield index, replace(written, prompt_tokens=self._model.prompt_tokens(requests[index]))

    def _rendered(self, model: LanguageModel, request: Request) -> str:
        """The prompt as the class takes it; GenerationError for a begun answer that its server would not continue."""
        prompt = self._sent(request).prompt
        if self.only_messages and prefill_of(prompt) and not self.options.model.startswith("anthropic"):
            raise GenerationError(
                f"lm-eval's model class {self.options.model!r} does not continue a message that was begun, as problem "
                f"{request.problem.id} asks for; use the engine server, which asks vLLM's server to."
            )
        if not isinstance(prompt, str) and model.tokenizer is not None and not self.template_hash:
            raise ModelError(
                f"The model {self.options.pretrained} has no chat template in its tokenizer, so it cannot read "
                "messages; leave out --apply-chat-template, or pass a model that was trained on chats."
            )
        return model.rendered(prompt)


def _generation(text: str, tokens: int, sampling: Sampling, seconds: float) -> Generation:
    """A text of lm-eval, which says neither how it ended nor how many tokens it had: they are counted in the text."""
    ended = cut_at_stops(text, sampling.stop)  # not every class looks at stop strings
    cut_off = tokens >= sampling.max_tokens and ended == text
    return Generation(
        text=ended,
        tokens=min(tokens, sampling.max_tokens),
        finish_reason="length" if cut_off else "stop",
        seconds=seconds,
    )


def _folders(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Arguments that are local folders with files of a model, as what is in them; ModelError where that is not read."""
    found = {}
    for name, value in arguments.items():
        if name in _ADAPTERS | _WHOLE | _TOKENIZERS and os.path.isdir(expanded(str(value))):
            found[name] = _identity(name, str(value))
        elif name == "lora_local_path":
            raise ModelError(f"There is no folder {value} with a LoRA adapter; lora_local_path must be one.")
    return found


def _identity(name: str, folder: str) -> str:
    if name in _TOKENIZERS:
        return tokenizer_identity(folder)
    if name in _ADAPTERS:
        return model_identity(resolve_adapter(folder))
    return model_identity(without_adapter(resolve_model(folder), "pass it as peft"))
