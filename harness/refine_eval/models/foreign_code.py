"""No code and no pickle that comes with a model is run, whatever arguments are passed on to somebody else's loader.

Arguments that could do it are refused by name before anything is loaded, and `no_pickles` stands behind them while
models are read in this process.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from refine_eval.errors import ModelError, UsageError

CODE = "code that comes with a model is never run"
WEIGHTS = "weights are read as safetensors only"
_ELSEWHERE = "the files that are read would not be those that the model is known by"
_LOADED = "it names code to load"

_REFUSED = {
    **dict.fromkeys(("trust_remote_code", "custom_generate", "code_revision", "auto_map"), CODE),
    **dict.fromkeys(("use_kernels", "allow_all_kernels", "kernel_config"), CODE),
    **dict.fromkeys(("weights_only", "autogptq", "gptqmodel", "from_tf", "from_flax", "state_dict"), WEIGHTS),
    **dict.fromkeys(("model_loader_extra_config", "custom_weight_loader", "steer_path", "pickle_module"), WEIGHTS),
    **dict.fromkeys(("subfolder", "variant", "gguf_file", "config", "key_mapping", "hf_config_path"), _ELSEWHERE),
    **dict.fromkeys(("transformers_weights", "hf_overrides", "json_model_override_args"), _ELSEWHERE),
    **dict.fromkeys(("speculative_config", "speculative_draft_model_path", "config_format"), _ELSEWHERE),
    **dict.fromkeys(("logits_processors", "extra_args"), _LOADED),
}
"""What an argument by this name could do, or where it could lead."""

_NAMES_CODE = re.compile(r".*(_cls|_plugins?|_plugin_path|_class)|enable_custom_logit_processor")
_ALLOWED = {"load_format": "safetensors", "use_safetensors": "true"}
"""Arguments that may say what holds anyway."""

_EXECUTORS = ("mp", "ray", "uni", "external_launcher")


def check_arguments(arguments: Mapping[str, Any], option: str) -> None:
    """UsageError for an argument with which a model's own code or a pickle could be read, or other files than known.

    `option` is what the user passed them in, for the message.
    """
    for name, value in arguments.items():
        why = _objection(name, str(value))
        if why:
            raise UsageError(f"{option}: {name} cannot be set: {why}; leave it out.")


def _objection(name: str, value: str) -> str:
    """Why an argument is not passed on; "" where it may be."""
    if name in _ALLOWED:
        return "" if value.lower() == _ALLOWED[name] else WEIGHTS
    if name.endswith("attn_implementation") and names_kernel(value):
        return CODE
    if name == "distributed_executor_backend" and value.lower() not in ("none", *_EXECUTORS):
        return _LOADED
    return _REFUSED.get(name, _LOADED if _NAMES_CODE.fullmatch(name) else "")


def names_kernel(implementation: object) -> bool:
    """Whether an attention implementation is somebody's code on the hub: "owner/repository"."""
    return isinstance(implementation, str) and not re.fullmatch(r"[\w.|+-]*", implementation)


@contextlib.contextmanager
def no_pickles() -> Iterator[None]:
    """As long as it lasts nothing is unpickled by torch in this process: ModelError instead, before a byte is read."""
    import torch

    def refuse(*arguments: Any, **named: Any) -> NoReturn:
        raise ModelError(
            "These arguments or files lead to weights that are pickled, and refine-eval reads weights only as "
            "safetensors; convert them where you trust them: load the model with transformers and save it with "
            "model.save_pretrained(FOLDER)."
        )

    kept = torch.load
    torch.load = refuse
    try:
        yield
    finally:
        torch.load = kept
