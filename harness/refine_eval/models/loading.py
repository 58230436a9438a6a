"""Models: loaded from the files that `sources` found; shared by engines and trained critics.

LoRA adapters are merged into their base. Weights are read as safetensors or GGUF only, and no code that comes with a
model is ever run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from refine_eval.data import Precision
from refine_eval.errors import ModelError, first_line, missing_extra
from refine_eval.models import adapters
from refine_eval.models.foreign_code import no_pickles
from refine_eval.models.sources import ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in evaluation mode on its device, with its tokenizer."""

    source: ModelSource
    model: Any
    tokenizer: Any
    device: str
    dtype: str

    @property
    def context(self) -> int | None:
        """The most tokens that the model can read; None where its configuration does not say."""
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(length) if length else None


def choose_device(*wishes: str | None) -> str:
    """The first of `wishes` that is not None, "" or "auto", else the best device here: cuda, mps, cpu."""
    for wish in wishes:
        if wish and wish != "auto":
            return wish
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(device: str, *wishes: str | None) -> str:
    """The first of `wishes` that is not None, "" or "auto", else bfloat16 on a GPU that has it, or float32.

    ModelError for a name that is not one of float32, bfloat16, float16.
    """
    for wish in wishes:
        if wish and wish != "auto":
            if wish not in get_args(Precision):
                raise ModelError(f"dtype {wish!r} is not known; use auto, float32, bfloat16 or float16.")
            return wish
    import torch

    with_bfloat16 = device.startswith("mps") or (device.startswith("cuda") and torch.cuda.is_bf16_supported())
    return "bfloat16" if with_bfloat16 else "float32"


def load_model(source: ModelSource, auto_class: str, device: str, dtype: str) -> LoadedModel:
    """The model and its tokenizer; `auto_class` is the name of a transformers class, "AutoModelForCausalLM".

    ModelError where the files do not make such a model: broken, another architecture, weights missing.
    """
    tokenizer = read_tokenizer(source)
    model, missing = read_model(source, auto_class, dtype)
    if missing:
        raise ModelError(
            f"The model {source.name} has no weights for {min(missing)}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, so it cannot serve as "
            f"{auto_class.removeprefix('AutoModelFor')}; pass a model that was trained for it."
        )
    with _loading(source):
        model = model.to(device).eval().requires_grad_(False)
    return LoadedModel(source=source, model=model, tokenizer=tokenizer, device=device, dtype=dtype)


def read_tokenizer(source: ModelSource) -> Any:
    """The tokenizer beside a model's weights; an adapter that brings none has its base's."""
    import transformers

    if source.base and not (source.folder / "tokenizer_config.json").is_file():
        return read_tokenizer(source.base)
    with _loading(source):
        return transformers.AutoTokenizer.from_pretrained(source.folder, **_reading(source))


def read_model(source: ModelSource, auto_class: str, dtype: str, **config: Any) -> tuple[Any, set[str]]:
    """The model, and which of its weights are in no file and therefore new; `config` changes its configuration.

    Adapters are merged in float32, whatever the dtype: a bfloat16 model would round each change before it is added.
    """
    import torch
    import transformers

    if source.base:
        if "TokenClassification" in auto_class and (labels := adapters.labels(source)):
            config = {"num_labels": labels, **config}
        model, missing = read_model(source.base, auto_class, "float32", **config)
        with _loading(source):
            model, missing = adapters.merge(model, source, source.base, missing)
        for parameter in model.parameters():  # not `model.to`: buffers such as rotary frequencies stay as they are
            parameter.data = parameter.data.to(getattr(torch, dtype))
        model.config.dtype = getattr(torch, dtype)
        return model, missing
    with _loading(source):
        kind = getattr(transformers, auto_class)
        _leave_out_imports()
        model, report = kind.from_pretrained(
            source.folder,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            **({} if source.gguf else {"use_safetensors": True}),
            **_reading(source),
            **config,
        )
    return _without_quantization(model) if source.gguf else model, set(report["missing_keys"])


@cache
def _leave_out_imports() -> None:
    """Takes what is there by now out of garbage collections, once a process.

    It is what was imported and stays, a million objects: each collection would look through them, and one follows every
    model that is closed. That was a fifth of the computing time of a short run.
    """
    import gc

    gc.freeze()


def _reading(source: ModelSource) -> dict[str, Any]:
    """How transformers reads a model's files."""
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    if source.gguf:
        try:
            import gguf  # noqa: F401
        except ImportError as error:
            raise ModelError(missing_extra("gguf", "gguf")) from error
        options["gguf_file"] = source.gguf
    return options


@contextlib.contextmanager
def _loading(source: ModelSource) -> Iterator[None]:
    """Quietly, and what goes wrong is a ModelError: transformers, safetensors and gguf raise nearly anything."""
    with quiet_transformers(), no_pickles():
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"Cannot load the model {source.name}: {first_line(error)}") from error


def free_memory(device: str) -> None:
    """Give back what closed models held."""
    import gc

    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says, in one of its ways, that memory is at an end."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' advice and progress bars, as long as it lasts."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _without_quantization(model: Any) -> Any:
    """The model as if it had never been quantised: GGUF weights are unpacked when they are read."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    return model
