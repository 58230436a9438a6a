"""What a LoRA adapter of somebody else says of itself, within bounds before peft acts on it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refine_eval.errors import ModelError
from refine_eval.models.foreign_code import CODE
from refine_eval.models.sources import ADAPTER, ModelSource, adapter_config
from refine_eval.terminal import shown

_SECONDS = 0.3
"""Of a processor, to match all modules with a pattern: good ones take milliseconds, and some would take for ever."""

_USUAL_RANK = 1_024
"""For adapters of whole weights alone, in which there is no rank to see."""

_NAME = re.compile(r"[\w.^\\-]{0,500}")
"""A pattern that names modules and can be matched in one way only."""


def check_settings(adapter: ModelSource, weights: Mapping[str, tuple[int, ...]]) -> None:
    """ModelError for settings that name code, or that make peft build or search more than the weights call for.

    `weights` are the shapes of the adapter's weights by name.
    """
    config = adapter_config(adapter.name, adapter.folder)
    if config.get("megatron_config"):
        raise ModelError(f"The {ADAPTER} of {adapter.name} names code to import (megatron_config): {CODE}.")
    if config.get("layer_replication"):
        raise ModelError(f"The adapter {adapter.name} doubles layers of its base, which cannot be merged.")
    most = max((shape[0] for name, shape in weights.items() if ".lora_A" in name and shape), default=0)
    ranks = config.get("rank_pattern") or {}
    for rank in (config.get("r"), *(ranks.values() if isinstance(ranks, dict) else [ranks])):
        if rank is not None and not (type(rank) is int and 0 < rank <= (most or _USUAL_RANK)):
            raise _wrong(adapter, f"the rank {shown(rank)}", "which its weights do not have")
    for key in ("modules_to_save", "layers_pattern", "rank_pattern", "alpha_pattern"):
        for pattern in _patterns(config.get(key)):
            if not (isinstance(pattern, str) and _NAME.fullmatch(pattern)):
                raise _wrong(adapter, f"the {key} {shown(pattern)}", "where only names of modules are read")
    for key in ("target_modules", "exclude_modules"):
        matching(adapter, config.get(key), (name.partition(".lora_")[0] for name in weights))


def matching(adapter: ModelSource, named: Any, modules: Iterable[str]) -> Any:
    """Modules as a list of names where a setting names them by a pattern, which ModelError bounds; else as they are."""
    if not isinstance(named, str) or named == "all-linear":
        return named
    import regex  # type: ignore[import-untyped]  # here alone, where few come: it is slow to import

    try:
        found, end = regex.compile(named), time.monotonic() + _SECONDS
        return [name for name in modules if found.fullmatch(name, timeout=max(end - time.monotonic(), 1e-3))]
    except TimeoutError:
        why = "which takes too long to match"
    except (regex.error, RecursionError, MemoryError, OverflowError):
        why = "which is no pattern"
    raise _wrong(adapter, f"the modules {shown(named)}", f"{why}; list the modules' names instead")


def _patterns(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return list(value) if isinstance(value, dict | list) else [value]


def _wrong(adapter: ModelSource, what: str, why: str) -> ModelError:
    return ModelError(f"The {ADAPTER} of {adapter.name} names {what}, {why}.")
