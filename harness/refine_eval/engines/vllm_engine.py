"""The engine for language models that vLLM serves in this process, LoRA adapters of one base unmerged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine_eval.data import Generation, Request
from refine_eval.errors import GenerationError, ModelError, RefineEvalError, UsageError
from refine_eval.files import expanded
from refine_eval.models.adapters import check_adapter
from refine_eval.models.chat import ChatTemplate
from refine_eval.models.choices import plan_choices
from refine_eval.models.parameters import computing_parameters
from refine_eval.models.sources import is_adapter, model_identity, resolve_adapter, resolve_model, without_adapter
from refine_eval.models.tokens import encode_prompts
from refine_eval.plugin.components import Engine
from refine_eval.plugin.fields import option
from refine_eval.plugin.runtime import EngineRuntime

if TYPE_CHECKING:
    from refine_eval.models.vllm_llm import VllmLlm


@dataclass(frozen=True, kw_only=True)
class VllmOptions:
    """Options of the vLLM engine; lm-eval's names where it has them, else vLLM's."""

    pretrained: str = option("", "Hub name or model folder.")
    revision: str | None = option(None, "Branch, tag or commit on the hub.")
    dtype: str = option("auto", "auto (the model's own), float32, bfloat16 or float16.")
    tensor_parallel_size: int = option(1, "GPUs that share each layer.", min=1)
    gpu_memory_utilization: float = option(
        0.9, "Share of a GPU's memory to take; models that are open together share it.", above=0, max=1
    )
    max_model_len: int | None = option(None, "Longest prompt and answer together, in tokens.", min=1)
    lora_local_path: str | None = option(None, "Folder of a LoRA adapter for the student.")
    enable_lora: bool = option(False, "Let refiners be adapters of this model.")
    rest: dict[str, str] = option({}, "Any other argument of vllm.LLM, as it spells it.", rest=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt for vLLM: for which request, and for which of the places at which its choices are looked up."""

    index: int
    prompt: list[int]
    sampling: Any
    place: int = 0


class VllmEngine(Engine):
    """Any language model that vLLM serves, in this process, with prefixes cached and LoRA adapters unmerged.

    A refiner whose model is a LoRA adapter, or the student's own model, is served by the student's engine. A sampled
    text depends on its request's seed. `Generation.tokens` counts the tokens written, those of a stop string
    included, the end-of-text token not. Messages are rendered with the model's own chat template.
    """

    name = "vllm"
    takes_messages = True
    can_choose = True
    Options = VllmOptions
    options: VllmOptions

    _served: VllmLlm | None = None
    _shared_with: VllmEngine | None = None
    """The engine whose model this one uses."""
    _adapters: dict[str, int]
    """Adapter folder -> the number by which vLLM knows it; one dict for all that share a model."""

    @property
    def own_model(self) -> tuple[str, str | None] | None:
        """The adapter where there is one: it names its base."""
        adapter = self.options.lora_local_path
        return (adapter, None) if adapter else super().own_model

    @property
    def gpus(self) -> int:
        """All that the model is spread over."""
        return self.options.tensor_parallel_size * int(self.options.rest.get("pipeline_parallel_size", 1))

    @property
    def preferred_batch_size(self) -> int:
        """As many as vLLM schedules."""
        return int(self._llm().llm.llm_engine.vllm_config.scheduler_config.max_num_seqs)

    def for_model(self, model: str) -> Engine | None:
        """An engine that shares this one's model where `model` is that model or an adapter; else one of its own."""
        adapter = str(expanded(model)) if is_adapter(model) else None
        if adapter is None and model != self.options.pretrained:
            return type(self)(replace(self.options, pretrained=model, revision=None, lora_local_path=None))
        engine = type(self)(replace(self.options, lora_local_path=adapter))
        engine._shared_with = self._shared_with or self
        return engine

    def open(self, runtime: EngineRuntime) -> None:
        """Starts vLLM; ModelError with its reason where it cannot, UsageError where no model is named."""
        if not self.options.pretrained:
            raise UsageError(f"The engine vllm needs a model: pass {self.option_name}NAME, a hub name or folder.")
        from refine_eval.models.vllm_llm import VllmLlm, deciding, vllm_arguments

        arguments = vllm_arguments(self.options.rest, "--model-args")
        source = without_adapter(
            resolve_model(self.options.pretrained, self.options.revision),
            "pass its base as pretrained=BASE and the adapter as lora_local_path=FOLDER",
        )
        folder = self.options.lora_local_path
        adapter = resolve_adapter(folder) if folder else None
        if adapter:
            check_adapter(adapter, source)
        if self._shared_with is None:
            self._adapters = {}
            self._served = VllmLlm(source, {**self._arguments(runtime), **arguments})
        else:
            self._adapters, self._served = self._shared_with._adapters, self._shared_with._llm()
        self._lora: Any = self._lora_request(str(adapter.folder)) if adapter else None
        self._template = ChatTemplate(source.name, self._llm().tokenizer, self.chat, (adapter or source).folder)
        self.model_parameters = computing_parameters(self._llm().config, adapter)
        self.advice, self.template_hash = self._template.advice, self._template.hash
        self.thinking = self._template.thinking
        with_adapter = f"+{model_identity(adapter)}" if adapter else ""
        cut = f":max_model_len={self.options.max_model_len}" if self.options.max_model_len else ""  # so long texts end
        self._identity = f"vllm:{model_identity(source)}{with_adapter}:{self._llm().dtype}{deciding(arguments)}{cut}"

    def _arguments(self, runtime: EngineRuntime) -> dict[str, Any]:
        """vLLM's arguments, but for those that the user names as vLLM does."""
        from refine_eval.models.vllm_llm import on_cpu

        taken = asdict(self.options)
        for ours in ("pretrained", "revision", "rest", "lora_local_path"):
            del taken[ours]
        if taken["dtype"] == "auto":
            taken["dtype"] = runtime.dtype
        if runtime.batch_size:
            taken["max_num_seqs"] = runtime.batch_size
        taken["enable_lora"] = taken["enable_lora"] or self.options.lora_local_path is not None
        defaults = {"enable_prefix_caching": True}
        if on_cpu():
            # There vLLM cannot take back a seeded text's random number after a part of its prompt (0.32).
            defaults["enable_chunked_prefill"] = False
        return {**defaults, **{name: value for name, value in taken.items() if value is not None}}

    def _lora_request(self, folder: str) -> Any:
        from vllm.lora.request import LoRARequest

        base = self._shared_with or self
        if not (base.options.enable_lora or base.options.lora_local_path):
            raise ModelError(
                f"{folder} is a LoRA adapter, and vLLM was started without them; add enable_lora=true (and "
                "max_lora_rank=RANK where the rank is over 16) to --model-args."
            )
        known = folder in self._adapters
        request = LoRARequest(Path(folder).name, self._adapters.setdefault(folder, len(self._adapters) + 1), folder)
        if not known:
            served = self._llm()
            try:
                served.llm.llm_engine.add_lora(request)
            except Exception as error:
                raise ModelError(
                    f"vLLM cannot serve the adapter {folder} on {self.options.pretrained}: {served.reason(error)}"
                ) from error
        return request

    def close(self) -> None:
        """Ends vLLM, where this engine started it."""
        if self._served is not None and self._shared_with is None:
            self._served.close()
        self._served = None

    def identity(self) -> str:
        """The model's and adapter's content or commit, what it computes in, and arguments that change its texts."""
        return self._identity

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, generation) as texts are finished.

        Unwritten stay prompts that fill the model's context or have a word that a bundled tiny model does not know,
        and messages that its chat template does not take.
        GenerationError for an adapter that does not fit the model, and where vLLM dies.
        """
        served, prompts = self._llm(), {}
        encoded = encode_prompts(
            served.tokenizer, served.config, requests, self.option_name, served.context, self._template.text_of
        )
        self.advice = self._template.advice
        for index, request in enumerate(requests):
            prompt = encoded[request.prompt]
            if isinstance(prompt, str):
                yield index, Generation.without_text(prompt)
            else:
                prompts[index] = prompt
        asked = [_Asked(index, prompt, self._sampling(requests[index])) for index, prompt in prompts.items()]
        for each, output, seconds in self._served_all(asked, requests):
            yield each.index, self._generation(output, seconds)

    def choose(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        """Yields (index, log-probabilities) in order; prompts that begin alike share what vLLM has cached of them."""
        served = self._llm()
        plans = plan_choices(
            served.tokenizer, served.config, requests, self.option_name, served.context, self._template.text_of
        )
        self.advice = self._template.advice
        asked, found = [], dict[tuple[int, int], tuple[Any, float]]()
        for index, plan in enumerate(plans):
            if isinstance(plan, str):
                yield index, Generation.without_text(plan)
                continue
            for at, (tail, wanted) in enumerate(plan.places):
                asked.append(_Asked(index, [*plan.prompt, *tail], self._telling(wanted), at))
        for each, output, seconds in self._served_all(asked, requests):
            found[each.index, each.place] = output, seconds
        for index, plan in enumerate(plans):
            if isinstance(plan, str):
                continue
            places = [(*found[index, at], wanted) for at, (_, wanted) in enumerate(plan.places)]
            told = [[output.outputs[0].logprobs[0][t].logprob for t in wanted] for output, _, wanted in places]
            lengths = [len(output.prompt_token_ids) for output, *_ in places]
            read = sum(n - max(o.num_cached_tokens or 0, 0) for n, (o, *_) in zip(lengths, places, strict=True))
            longest = max(read, *lengths)
            yield (
                index,
                Generation.of_choices(
                    plan.logprobs([[max(each, -1000.0) for each in some] for some in told]),
                    seconds=sum(seconds for _, seconds, _ in places),
                    prompt_tokens=longest,
                    cached_tokens=longest - read,
                ),
            )

    @staticmethod
    def _telling(tokens: Sequence[int]) -> Any:
        """What asks vLLM how likely these tokens are to come next."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        try:
            return SamplingParams(
                max_tokens=1,
                temperature=0.0,
                logprob_token_ids=list(tokens),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
        except TypeError:
            raise ModelError(
                "This version of vLLM does not say how likely given tokens are; install a newer one (it needs "
                "SamplingParams.logprob_token_ids)."
            ) from None

    def _served_all(self, asked: Sequence[_Asked], requests: Sequence[Request]) -> Iterator[tuple[_Asked, Any, float]]:
        """What vLLM makes of each, as it is finished, with its share of the time."""
        engine, open_ = self._llm().llm.llm_engine, dict[str, _Asked]()
        try:
            # Neighbours share what vLLM has cached: samples of a prompt, then prompts that begin alike.
            for number, each in enumerate(sorted(asked, key=lambda each: each.prompt)):
                open_[str(number)] = each
                engine.add_request(
                    str(number), {"prompt_token_ids": each.prompt}, each.sampling, lora_request=self._lora
                )
            yield from self._finished(engine, open_)
        except (RefineEvalError, GeneratorExit):
            raise
        except Exception as error:
            first = requests[next((each.index for each in open_.values()), 0)].problem.id
            raise GenerationError(
                f"vLLM failed with {len(open_)} of {len(requests)} texts to write, the first for problem {first}: "
                f"{self._llm().reason(error)}; what was written is stored, and the same command goes on from there."
            ) from error
        finally:
            if open_ and self._served is not None:
                engine.abort_request(list(open_))

    def _finished(self, engine: Any, open_: dict[str, _Asked]) -> Iterator[tuple[_Asked, Any, float]]:
        """Steps vLLM until nothing is open; takes what is finished out of `open_`."""
        before, share = time.perf_counter(), 0.0
        while open_:
            outputs = engine.step()
            now = time.perf_counter()
            # Each text's part of the time so far, as all open ones are written together.
            share += (now - before) / len(open_)
            before = now
            for output in outputs:
                if output.finished:
                    yield open_.pop(output.request_id), output, share

    def _generation(self, request_output: Any, seconds: float) -> Generation:
        output, prompt = request_output.outputs[0], len(request_output.prompt_token_ids)
        tokens = len(output.token_ids)
        if output.finish_reason == "stop" and not isinstance(output.stop_reason, str):
            tokens -= 1  # the end-of-text token
        reason = "length" if output.finish_reason == "length" else "stop"
        return Generation(
            text=output.text,
            tokens=tokens,
            finish_reason=reason,
            seconds=seconds,
            prompt_tokens=prompt,
            cached_tokens=min(max(request_output.num_cached_tokens or 0, 0), prompt),
        )

    def _sampling(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = request.sampling
        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=[stop for stop in sampling.stop if stop],
            seed=request.seed if sampling.temperature else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _llm(self) -> VllmLlm:
        assert self._served is not None, "open() comes first"
        return self._served
