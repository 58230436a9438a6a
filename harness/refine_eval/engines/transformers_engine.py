"""The engine for language models that transformers can load: on this machine, CPU or GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from refine_eval.data import Dtype, Generation, Request
from refine_eval.errors import UsageError
from refine_eval.models.chat import ChatTemplate
from refine_eval.models.choices import plan_choices
from refine_eval.models.loading import (
    LoadedModel,
    choose_device,
    choose_dtype,
    free_memory,
    load_model,
    quiet_transformers,
)
from refine_eval.models.parameters import computing_parameters
from refine_eval.models.sources import model_identity, resolve_model
from refine_eval.models.tokens import encode_prompts
from refine_eval.plugin.components import Engine
from refine_eval.plugin.fields import option
from refine_eval.plugin.runtime import EngineRuntime

if TYPE_CHECKING:
    from refine_eval.engines.decoder.decoding import Decoder
    from refine_eval.engines.decoder.model_settings import ModelSettings
    from refine_eval.engines.decoder.text import StopStrings, Text

_MOST_ROWS = {"cpu": 256, "cuda": 512, "mps": 128}
_PROMPT_TOKENS = {"cpu": 1024, "cuda": 16384, "mps": 8192}
_CACHE_BYTES = {"cpu": 512 << 20, "mps": 2 << 30}


@dataclass(frozen=True, kw_only=True)
class TransformersOptions:
    """Options of the transformers engine."""

    pretrained: str = option("", "Hub name, folder (a LoRA adapter's too) or .gguf file.")
    revision: str | None = option(None, "Branch, tag or commit on the hub.")
    dtype: Dtype = option("auto", "What the model computes in.")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps.")
    batch_size: int | None = option(None, "Texts written at once (default: automatic).", min=1, max=65_536)
    max_length: int | None = option(None, "Longest prompt and answer together, in tokens.", min=1)


class TransformersEngine(Engine):
    """Any causal language model of the hub, a folder or a GGUF file, run here with transformers.

    A LoRA adapter is merged into its base when it is loaded, and is as fast as a whole model then.
    Texts are written many at once; a finished one leaves the batch and the next enters. A sampled text depends
    on its request's seed alone. `Generation.tokens` counts the tokens written, those of a stop string included,
    the end-of-text token not. Messages are rendered with the model's own chat template.
    """

    name = "transformers"
    takes_messages = True
    can_choose = True
    Options = TransformersOptions
    options: TransformersOptions

    option_name = "--model-args pretrained="
    """What users pass to choose this model; the pipeline sets another where it is not the student."""

    _loaded: LoadedModel | None = None

    @property
    def gpus(self) -> int:
        """One, unless the device is another."""
        return int(self.options.device == "auto" or self.options.device.startswith("cuda"))

    @property
    def preferred_batch_size(self) -> int:
        """The batch size, or on a GPU as much as a batch may hold; on a CPU larger batches soon gain little."""
        return self._rows or (_MOST_ROWS["cuda"] if self._kind == "cuda" else 64)

    def open(self, runtime: EngineRuntime) -> None:
        """Loads the model; ModelError where that fails, UsageError where none is named."""
        if not self.options.pretrained:
            raise UsageError(
                f"The engine transformers needs a model: pass {self.option_name}NAME, a hub name, folder or .gguf file."
            )
        from refine_eval.engines.decoder.decoding import Decoder
        from refine_eval.engines.decoder.model_settings import ModelSettings
        from refine_eval.engines.decoder.slot_model import SlotModel

        source = resolve_model(self.options.pretrained, self.options.revision)
        device = choose_device(self.options.device, runtime.device)
        dtype = choose_dtype(device, self.options.dtype, runtime.dtype)
        self._loaded = load_model(source, "AutoModelForCausalLM", device, dtype)
        context = f":max_length={self.options.max_length}" if self.options.max_length else ""
        self._settings: ModelSettings = ModelSettings(self._loaded.model, source.name)
        self._eos, ends = _end_tokens(self._loaded)
        self._identity = f"transformers:{model_identity(source)}:{dtype}{context}{self._settings.identity}{ends}"
        self._template = ChatTemplate(source.name, self._loaded.tokenizer, self.chat, source.folder)
        self.model_parameters = computing_parameters(self._loaded.model.config)
        self.advice, self.template_hash = self._template.advice, self._template.hash
        self.thinking = self._template.thinking
        self._stops: dict[tuple[str, ...], StopStrings] = {}
        self._kind = device.split(":")[0]
        with quiet_transformers():
            model = SlotModel(self._loaded.model)
        self._decoder: Decoder = Decoder(model, self._eos, rows=1, prompt_tokens=_PROMPT_TOKENS.get(self._kind, 1024))
        self._rows = self.options.batch_size or runtime.batch_size

    def close(self) -> None:
        """Frees the model's memory."""
        if self._loaded is not None:
            device, self._loaded = self._loaded.device, None
            del self._decoder
            free_memory(device)

    def identity(self) -> str:
        """The model's content or commit, what it computes in, and where its texts are cut; not where it computes."""
        return self._identity

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, generation) as texts are finished.

        Unwritten stay a prompt that fills the model's context or has a word that a bundled tiny model does not know,
        messages that its chat template does not take, a text for which the model computes no finite number, and one
        that alone takes more memory than there is. Where only prompt and `max_tokens` together would not fit, the text
        may be shorter.
        """
        asked = self._texts(requests)
        texts = [text for text in asked if not text.unwritten]
        yield from ((text.index, Generation.without_text(text.unwritten)) for text in asked if text.unwritten)
        self._decoder.rows = self._rows or self._automatic_rows(texts)
        with quiet_transformers():
            for text in self._decoder.run(texts):
                if text.unwritten:
                    yield text.index, Generation.without_text(text.unwritten)
                    continue
                yield (
                    text.index,
                    Generation(
                        text=text.stops.text(text.written),
                        tokens=len(text.written),
                        finish_reason=text.finish_reason,
                        seconds=text.seconds,
                        prompt_tokens=len(text.prompt),
                        cached_tokens=text.cached,
                    ),
                )

    def choose(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, log-probabilities) in order; prompts that begin alike, and their choices, are read once."""
        from refine_eval.engines.decoder.text import Text

        loaded = self._model()
        plans = plan_choices(
            loaded.tokenizer, loaded.model.config, requests, self.option_name, self._context(), self._template.text_of
        )
        self.advice = self._template.advice
        parts: dict[int, list[Text]] = {}
        for index, (request, plan) in enumerate(zip(requests, plans, strict=True)):
            if isinstance(plan, str):
                yield index, Generation.without_text(plan)
                continue
            parts[index] = [
                Text(
                    index=index,
                    problem_id=request.problem.id,
                    prompt=[*plan.prompt, *tail],
                    limit=1,
                    stops=self._stop_strings(()),
                    temperature=0.0,
                    top_p=1.0,
                    seed=0,
                    wanted=wanted,
                )
                for tail, wanted in plan.places
            ]
        texts = [text for some in parts.values() for text in some]
        self._decoder.rows = self._rows or self._automatic_rows(texts)
        with quiet_transformers():
            for _ in self._decoder.run(texts):
                pass
        for index, some in parts.items():
            plan = plans[index]
            assert not isinstance(plan, str)
            if why := next((text.unwritten for text in some if text.unwritten), ""):
                yield index, Generation.without_text(why)
                continue
            read = sum(len(text.prompt) - text.cached for text in some)
            longest = max(read, *(len(text.prompt) for text in some))
            yield (
                index,
                Generation.of_choices(
                    plan.logprobs([text.logprobs for text in some]),
                    seconds=sum(text.seconds for text in some),
                    prompt_tokens=longest,
                    cached_tokens=longest - read,
                ),
            )

    def _context(self) -> int | None:
        """The longest prompt and answer together, in tokens."""
        return min((limit for limit in (self._model().context, self.options.max_length) if limit), default=None)

    def _texts(self, requests: Sequence[Request]) -> list[Text]:
        """One text a request; those whose prompts cannot be read are given up already."""
        from refine_eval.engines.decoder.text import Text

        loaded = self._model()
        context = self._context()
        encoded = encode_prompts(
            loaded.tokenizer, loaded.model.config, requests, self.option_name, context, self._template.text_of
        )
        self.advice = self._template.advice
        texts = []
        for index, request in enumerate(requests):
            prompt, sampling = encoded[request.prompt], request.sampling
            unreadable, prompt = (prompt, []) if isinstance(prompt, str) else ("", prompt)
            room = sampling.max_tokens if context is None else context - len(prompt)
            text = Text(
                index=index,
                problem_id=request.problem.id,
                prompt=prompt,
                limit=min(sampling.max_tokens, room),
                stops=self._stop_strings(sampling.stop),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=request.seed,
            )
            if unreadable:
                text.give_up(unreadable)
            else:
                self._settings.prepare(text)
            texts.append(text)
        return texts

    def _stop_strings(self, stops: tuple[str, ...]) -> StopStrings:
        from refine_eval.engines.decoder.text import StopStrings

        if stops not in self._stops:
            tokenizer = self._model().tokenizer
            # Also where a model spells its end token in other tokens: lm-eval takes the end token for a stop string.
            self._stops[stops] = StopStrings(tokenizer, (*stops, tokenizer.eos_token or ""))
        return self._stops[stops]

    def _automatic_rows(self, texts: Sequence[Text]) -> int:
        """As many texts at once as their keys and values fit into memory, up to where more bring nothing."""
        most = _MOST_ROWS.get(self._kind, 128)
        longest = max((len(text.prompt) + text.limit for text in texts), default=1)
        config = self._model().model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token: int = 2 * config.num_hidden_layers * heads * size * self._model().model.dtype.itemsize
        return max(1, min(most, self._cache_bytes() // (token * longest)))

    def _cache_bytes(self) -> int:
        if self._kind == "cuda":
            import torch

            free, _ = torch.cuda.mem_get_info(self._model().device)
            return int(free * 0.7)
        try:
            available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
        except (ValueError, OSError, AttributeError):  # not on every system
            available = _CACHE_BYTES["cpu"]
        return min(available, _CACHE_BYTES.get(self._kind, 512 << 20))

    def _model(self) -> LoadedModel:
        assert self._loaded is not None, "open() comes first"
        return self._loaded


def _end_tokens(loaded: LoadedModel) -> tuple[frozenset[int], str]:
    """The tokens that end a text, and what an identity must say of them.

    They are those of the generation settings and the tokenizer's, as in lm-eval; the model's configuration counts where
    neither names one. Until it counted always, so where that is another set the identity says so.
    """
    configured = _tokens(getattr(loaded.model.config, "eos_token_id", None))
    ends = _tokens(getattr(loaded.model.generation_config, "eos_token_id", None))
    ends |= _tokens(loaded.tokenizer.eos_token_id)
    ends = ends or configured
    return ends, "" if configured <= ends else f":ends={'+'.join(map(str, sorted(ends)))}"


def _tokens(named: Any) -> frozenset[int]:
    tokens = named if isinstance(named, list | tuple) else [named]
    return frozenset(int(token) for token in tokens if token is not None)
