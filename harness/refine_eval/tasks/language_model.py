"""Models of lm-eval's own classes, for the engine `lm-eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

from refine_eval.data import Prompt, Request, Sampling
from refine_eval.errors import ModelError, UsageError, first_line, suggestion
from refine_eval.formats import prefill_of
from refine_eval.tasks.quiet import quiet

_PICKLED = ("nemo_lm", "megatron_lm")
"""Classes whose own file format is pickled, and which make whatever classes a file names."""

_NO_CODE = {"trust_remote_code": False}
_SAFETENSORS = {**_NO_CODE, "load_format": "safetensors"}
_SAFE_HERE: dict[str, dict[str, Any]] = {
    "vllm": _SAFETENSORS,
    "vllm-vlm": _SAFETENSORS,
    "sglang": _SAFETENSORS,
    "trtllm": _NO_CODE,
}
"""What makes classes that load models in processes of their own read safetensors, and run no code of a model."""


class LanguageModel:
    """A model of one of lm-eval's classes, by name. Used by the engine `lm-eval`."""

    def __init__(
        self, name: str, arguments: Mapping[str, Any], *, batch_size: int, device: str, dtype: str, seed: int
    ) -> None:
        """UsageError for a class that lm-eval does not have, ModelError where it cannot be made of `arguments`."""
        import lm_eval.models
        from lm_eval.api.registry import MODEL_REGISTRY
        from lm_eval.models.huggingface import HFLM

        known = list(MODEL_REGISTRY)
        if name not in known:
            raise UsageError(
                f"lm-eval has no model class {name!r}.{suggestion(name, known)} It has: {', '.join(known)}."
            )
        if name in _PICKLED:
            raise ModelError(
                f"lm-eval's model class {name!r} reads pickled files, which can run any code, and refine-eval reads "
                "weights only as safetensors; convert the model to a folder of transformers and pass --model "
                "transformers."
            )
        if name == "trtllm" and not Path(str(arguments.get("pretrained", ""))).is_dir():
            raise ModelError(
                "lm-eval's model class 'trtllm' reads what the hub has, pickled weights too; pass a local folder "
                "with safetensors as pretrained."
            )
        self._name, self.device, self.seed = name, device, seed
        with quiet():
            try:
                kind = lm_eval.api.registry.get_model(name)
                own = {**arguments, **_SAFE_HERE.get(name, {})}
                if issubclass(kind, HFLM):
                    # Weights are read as safetensors only.
                    own = {"dtype": "auto" if dtype == "auto" else dtype, **own, "use_safetensors": True}
                self._model = kind.create_from_arg_obj(own, {"batch_size": batch_size, "device": device})
            except ModelError:
                raise
            except Exception as error:  # whatever a model class of anybody's raises
                detail = " ".join(str(error).split())[:300] or type(error).__name__
                raise ModelError(f"lm-eval cannot make its model {name!r} of these arguments: {detail}") from error
        found = getattr(getattr(self._model, "model", None), "dtype", "")
        self.dtype = str(found).removeprefix("torch.")

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that the class has loaded; None where it has none, or would fetch one when asked."""
        return vars(self._model).get("tokenizer")

    def rendered(self, prompt: Prompt) -> str:
        """A prompt in the class's form: messages as its own chat template, or its server, takes them.

        ModelError for a class that has none, ValueError with the reason where it does not take these messages.
        """
        if isinstance(prompt, str):
            return prompt
        turns = [{"role": message.role, "content": message.content} for message in prompt]
        try:
            with quiet():
                found: str = self._model.apply_chat_template(turns, add_generation_prompt=not prefill_of(prompt))
        except NotImplementedError:
            raise ModelError(
                f"lm-eval's model class {self._name!r} takes no messages; leave out --apply-chat-template."
            ) from None
        except Exception as error:  # whatever a template of anybody's raises
            raise ValueError(first_line(error)) from error
        return found

    def texts(
        self, requests: Sequence[Request], prompts: Sequence[str], sampling: Sampling
    ) -> list[tuple[str | None, int]]:
        """Each request's text, None where the class gives none, and its tokens; 0 where it has no tokenizer.

        `prompts` are the requests' as `rendered`.
        """
        import torch

        arguments: dict[str, Any] = {"until": list(sampling.stop), "max_gen_toks": sampling.max_tokens}
        arguments |= {"do_sample": sampling.temperature > 0, "temperature": sampling.temperature}
        if sampling.temperature > 0:
            arguments["top_p"] = sampling.top_p
            torch.manual_seed(requests[0].seed)
        instances = [
            Instance("generate_until", {}, (prompt, arguments), index, metadata=(request.problem.task, index, 1))
            for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True))
        ]
        with quiet():
            texts = self._model.generate_until(instances, disable_tqdm=True)
        return [(text, 0 if text is None else self._tokens(text)) for text in texts]

    @property
    def config(self) -> Any:
        """The configuration of the model, of classes that load one with transformers; None of others."""
        return vars(self._model).get("_config")

    def prompt_tokens(self, request: Request) -> int | None:
        """How many tokens of its prompt the model reads: it is cut from the left where the text would find no room.

        None where the class has no tokenizer, and of messages.
        """
        if not isinstance(request.prompt, str):
            return None
        tokens, longest = self._tokens(request.prompt), getattr(self._model, "max_length", None)
        room = longest - request.sampling.max_tokens if isinstance(longest, int) else tokens
        return min(tokens, max(room, 1)) or None

    def _tokens(self, text: str) -> int:
        if not hasattr(self._model, "tok_encode"):
            return 0
        encoded = self._model.tok_encode(text)
        return len(encoded[0]) if encoded and isinstance(encoded[0], list) else len(encoded)
