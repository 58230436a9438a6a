"""Somebody else's model folder is checked here before anything else reads it: its numbers, its files, its weights.

What transformers would make of a million layers, of weights outside the folder or of whole numbers taken for weights
takes minutes, all memory, or goes unnoticed; here each is one sentence, from the JSON files and the weights' headers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine_eval.errors import ModelError, first_line
from refine_eval.models.foreign_code import CODE, names_kernel
from refine_eval.terminal import shown

_MOST_JSON = 256 << 20
_MOST_HEADER = 64 << 20
_DEEPEST = 64
_FEW_LAYERS = 1_000
_SMALL = 1 << 26
_PACKED = 16
"""How many of a model's numbers may lie in one of its file's at most: quantised weights are packed."""

_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_AT_LEAST_ONE = (
    *(*_LAYERS, *_WIDTHS, "vocab_size", "num_attention_heads", "n_head"),
    *("max_position_embeddings", "n_positions", "n_ctx"),
)
_AT_LEAST_ZERO = (
    *("intermediate_size", "n_inner", "ffn_dim", "num_key_value_heads", "head_dim", "moe_intermediate_size"),
    *("num_experts", "num_local_experts", "n_routed_experts"),
)
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """What a weights file says of a tensor: its kind ("F32", "I8"), its shape, and where its bytes end."""

    kind: str
    shape: tuple[int, ...]
    end: int


def check_model_folder(name: str, folder: Path) -> None:
    """ModelError, in one sentence, for a model folder that cannot be or must not be loaded; `name` is the model's."""
    for file in sorted(folder.glob("*.json")):
        if file.is_file() and file.stat().st_size > _MOST_JSON:
            raise ModelError(f"{file} has {file.stat().st_size >> 20} MiB, too much for a file of settings.")
    config = read_json(folder / "config.json", f"Cannot load the model {name}")
    files = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    _check_named_files(name, folder, config, {file.name for file in files})
    tensors = {key: tensor for file in files for key, tensor in read_header(name, file).items()}
    for part in _parts(config):
        _check_numbers(name, part, tensors)
        _check_attention(name, part)
    if not config.get("quantization_config"):
        check_kinds(name, tensors)


def read_json(file: Path, failed: str) -> dict[str, Any]:
    """A JSON object from somebody else's file; ModelError, which begins with `failed`, where it holds none."""
    try:
        if file.stat().st_size > _MOST_JSON:
            raise ModelError(f"{failed}: {file.name} is too large for a file of settings.")
        found = json.loads(file.read_text(encoding="utf-8"))
        if depth(found) > _DEEPEST:
            raise RecursionError
    except RecursionError:
        raise ModelError(f"{failed}: {file.name} is nested too deeply.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{failed}: {file.name}: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{failed}: {file.name} is not a mapping.")
    return found


def depth(value: Any) -> int:
    """How deep lists and mappings are nested in a value of JSON, counted to a little over what is allowed."""
    level, layer = 0, [value]
    while layer and level <= _DEEPEST:
        level += 1
        layer = [
            item
            for each in layer
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return level


def read_header(name: str, file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name; ModelError where it is cut off or its header makes no sense."""
    failed = f"Cannot load the model {name}: {file.name}"
    with file.open("rb") as opened:
        size, length = file.stat().st_size, int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(_MOST_HEADER, size - 8):
            raise ModelError(f"{failed} is no safetensors file, or was cut off: its header would take {length} bytes.")
        content = opened.read(length)
    try:
        header = json.loads(content)
        header.pop("__metadata__", None)
        tensors = {str(key): _tensor(entry) for key, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{failed} has a header that cannot be read ({first_line(error)}).") from error
    wanted = 8 + length + max((tensor.end for tensor in tensors.values()), default=0)
    if wanted > size:
        raise ModelError(f"{failed} was cut off: it has {size} of {wanted} bytes; copy it again.")
    return tensors


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError("shapes and offsets must be whole numbers")
    return Tensor(kind=str(kind), shape=tuple(shape), end=end)


def check_kinds(name: str, tensors: Mapping[str, Tensor]) -> None:
    """ModelError where weights are no floating-point numbers: they would be taken for some."""
    for key, tensor in tensors.items():
        if tensor.kind not in _FLOATS and (key.endswith((".weight", ".bias")) or ".lora_" in key):
            raise ModelError(
                f"The weights {shown(key)} of {name} are of the kind {shown(tensor.kind)}, not floating-point, and "
                "no quantization_config says how to read them; save the model again in float32, float16 or bfloat16."
            )


def _check_named_files(name: str, folder: Path, config: Mapping[str, Any], present: set[str]) -> None:
    """The weights that the folder's files name lie in the folder: others are in no identity."""
    named: list[Any] = [config["transformers_weights"]] if config.get("transformers_weights") else []
    index = folder / "model.safetensors.index.json"
    where = "config.json"
    if index.is_file():
        where = index.name
        listed = read_json(index, f"Cannot load the model {name}").get("weight_map")
        if not isinstance(listed, dict):
            raise ModelError(f"Cannot load the model {name}: {index.name} has no weight_map.")
        named += listed.values()
    for file in named:
        if not isinstance(file, str) or file not in present:
            raise ModelError(
                f"Cannot load the model {name}: {where} names the weights {shown(file)}, and the folder holds no "
                "such *.safetensors file; weights must lie in the model's own folder."
            )


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A configuration and those inside it, such as text_config."""
    yield config
    for key, inner in config.items():
        if key.endswith("_config") and isinstance(inner, dict):
            yield from _parts(inner)


def _check_attention(name: str, config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if key.endswith("attn_implementation"):
            for named in value.values() if isinstance(value, dict) else [value]:
                if names_kernel(named):
                    raise ModelError(f"The config.json of {name} asks for the attention {shown(named)}: {CODE}.")


def _check_numbers(name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Whole numbers within bounds, and a model no larger than its weights could fill."""
    for least, keys in ((1, _AT_LEAST_ONE), (0, _AT_LEAST_ZERO)):
        for key in keys:
            if config.get(key) is not None and not all(_counts(number, least) for number in _listed(config[key])):
                raise ModelError(
                    f"The config.json of {name} says {key}={shown(config[key])}, which must be a whole number of at "
                    f"least {least}; correct it."
                )
    layers = max((_most(config, key) for key in _LAYERS), default=0)
    if layers > max(_FEW_LAYERS, len(tensors)):
        raise ModelError(
            f"The config.json of {name} says that there are {layers} layers, and the weights are only {len(tensors)} "
            "tensors; correct it."
        )
    held = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if (wanted := _size(config, layers)) > _SMALL + _PACKED * held:
        raise ModelError(
            f"The config.json of {name} describes a model of at least {wanted:.0e} numbers, and its weights are "
            f"{held:.0e}; correct its sizes."
        )


def _size(config: Mapping[str, Any], layers: int) -> int:
    """About how many numbers a model of these sizes has at least."""
    wide = max(_most(config, key) for key in _WIDTHS)
    inner = max(_most(config, key) for key in ("intermediate_size", "n_inner", "ffn_dim"))
    experts = max(_most(config, key) for key in ("num_experts", "num_local_experts", "n_routed_experts"))
    heads = max(_most(config, key) for key in ("num_attention_heads", "n_head", "num_key_value_heads"))
    per_layer = inner + experts * _most(config, "moe_intermediate_size") + heads * _most(config, "head_dim")
    return wide * (_most(config, "vocab_size") + layers * max(per_layer, wide))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _counts(number: Any, least: int) -> bool:
    """Whether it is a whole number in range; some files write it as a float."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return least <= number < 2**40 and int(number) == number


def _most(config: Mapping[str, Any], key: str) -> int:
    """The largest number under a key that was checked; 0 without one."""
    found = config.get(key)
    return 0 if found is None else max((int(number) for number in _listed(found)), default=0)
