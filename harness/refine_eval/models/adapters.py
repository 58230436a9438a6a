"""LoRA adapters: whether they fit a model, and merging them into one.

An adapter is a folder as peft saves it. `sources` finds one like any model, with its base, which may be an adapter
itself; `loading` reads the base and merges the adapter into it, so that nothing downstream sees a difference.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from refine_eval.errors import ModelError, first_line, missing_extra
from refine_eval.models.adapter_settings import check_settings, matching
from refine_eval.models.folders import check_kinds, read_header
from refine_eval.models.sources import ADAPTER, ADAPTER_WEIGHTS, ModelSource, adapter_config

Shapes = Mapping[str, tuple[int, ...]]
"""Weights' shapes by name."""


_PREFIX = "base_model.model."
"""What peft puts before the names of the model's modules."""


def labels(adapter: ModelSource) -> int | None:
    """How many labels the token-classification head has that an adapter brings; None without one."""
    heads = (shape for name, shape in adapter_shapes(adapter).items() if name in ("score.weight", "classifier.weight"))
    return next((shape[0] for shape in heads), None)


def check_adapter(adapter: ModelSource, base: ModelSource, model: Shapes | None = None) -> None:
    """ModelError where a LoRA adapter's matrices do not fit the base model's; engines may not notice.

    `model` are the base's weights where it is loaded; without it they are looked up in its files.
    """
    brought = adapter_shapes(adapter)
    check_settings(adapter, brought)
    found = _shapes(base.folder.glob("*.safetensors")) if model is None else model
    turned = adapter_config(adapter.name, adapter.folder).get(
        "fan_in_fan_out"
    )  # GPT-2 keeps its matrices the other way
    for name, (rank, wide) in ((n, s) for n, s in brought.items() if n.endswith(".lora_A.weight") and len(s) == 2):
        module = name.removesuffix(".lora_A.weight")
        tall = brought.get(f"{module}.lora_B.weight", (0, rank))[0]
        _check_shape(adapter, base, f"{module}.weight", (wide, tall) if turned else (tall, wide), found)


def adapter_shapes(adapter: ModelSource) -> Shapes:
    """The shapes of an adapter's own weights, under the names of the model's modules."""
    shapes = _shapes([adapter.folder / ADAPTER_WEIGHTS])
    check_kinds(adapter.name, read_header(adapter.name, adapter.folder / ADAPTER_WEIGHTS))
    return {name.removeprefix(_PREFIX): shape for name, shape in shapes.items()}


def merge(model: Any, adapter: ModelSource, base: ModelSource, missing: set[str]) -> tuple[Any, set[str]]:
    """The model with an adapter merged into its weights, and which of its weights still come from no file.

    `missing` are those before. Heads and other whole weights that the adapter brings (peft's modules_to_save) take
    the place of the model's. ModelError where the adapter does not fit the model.
    """
    try:
        import peft
    except ImportError as error:
        raise ModelError(missing_extra("peft", "train")) from error
    brought = adapter_shapes(adapter)
    for head in (name.removesuffix(".bias") for name in missing - brought.keys() if name.endswith(".bias")):
        if f"{head}.weight" in brought:  # the head that was trained has no bias
            model.get_submodule(head).bias = None
            missing = missing - {f"{head}.bias"}
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    check_adapter(adapter, base, shapes)
    for name in (name for name in brought if ".lora_" not in name):
        _check_shape(adapter, base, name.replace(".base_layer.", "."), brought[name], shapes)
    config = peft.PeftConfig.from_pretrained(adapter.folder)
    modules = [name for name, _ in model.named_modules()]
    config.target_modules = matching(adapter, config.target_modules, modules)
    config.exclude_modules = matching(adapter, config.exclude_modules, modules)
    config.task_type = None  # its wrappers are for training; the plain one takes heads of every kind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is an error below
        wrapped = peft.PeftModel.from_pretrained(model, adapter.folder, config=config)
    wanted = {
        name.removeprefix(_PREFIX) for name in peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    }
    # peft would leave what it does not find as it was made, at random.
    if unlike := sorted({name for name in wanted ^ brought.keys() if ".lora_" in name} | (wanted - brought.keys())):
        raise ModelError(
            f"The adapter {adapter.name} does not hold what its {ADAPTER} says ({unlike[0]}); save it again with peft."
        )
    return wrapped.merge_and_unload().requires_grad_(True), missing - brought.keys()


def _check_shape(adapter: ModelSource, base: ModelSource, weight: str, shape: tuple[int, ...], model: Shapes) -> None:
    found, module = model.get(weight), weight.removesuffix(".weight")
    if found != shape:
        described = f"of shape {found}" if found else "missing"
        raise ModelError(
            f"The adapter {adapter.name} does not fit the model {base.name}: it changes a weight of shape "
            f"{shape} that is {described} there ({module}); name the model that it was trained on."
        )


def _shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except Exception as error:  # safetensors' own exception, which is no ValueError
            raise ModelError(f"The weights {file} cannot be read: {first_line(error)}") from error
    return shapes
