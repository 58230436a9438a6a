"""What a run's record says of the run: components, identities, versions, machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from refine_eval.plugin.components import Component, Engine
from refine_eval.results.records import run_name
from refine_eval.runs.pipeline import Strategy
from refine_eval.runs.settings import RunSettings
from refine_eval.runs.store import content_key

_RECORDED_VERSIONS = ("refine-eval", "lm-eval", "torch", "transformers")


def describe(
    settings: RunSettings,
    strategy: Strategy,
    student: Engine,
    student_identity: str,
    identities: Mapping[str, str],
    filter_name: str,
) -> dict[str, Any]:
    """What run.yaml holds: enough to run it again and to see whether it was the same."""

    def described(component: Component) -> dict[str, Any]:
        # Through lists and dicts: YAML knows no tuples.
        options = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(component.options).items()}
        identity = identities.get(f"{component.kind} {component.name}")
        return {"name": component.name, "options": options, "identity": identity}

    return {
        "command": settings.command,
        "task": {
            "name": settings.task,
            "limit": settings.limit,
            "num_fewshot": settings.num_fewshot,
            "max_gen_toks": settings.max_gen_toks,
            "filter": filter_name,
        },
        "model": {**described(student), "identity": student_identity},
        "when": described(strategy.when),
        "where": described(strategy.where),
        "choose": described(strategy.choose),
        "refine_below": strategy.refine_below,
        "refiners": [described(refiner) for refiner in strategy.refiners],
        "selectors": [described(selector) for selector in strategy.selectors],
        "rounds": strategy.rounds,
        "seed": settings.seed,
        "versions": {name: _version(name) for name in _RECORDED_VERSIONS} | {"python": platform.python_version()},
        "machine": _machine(),
    }


def default_name(settings: RunSettings, record: Mapping[str, Any]) -> str:
    """Readable, and the same for the same settings: a command typed again replaces its own record."""
    critics = "+".join(dict.fromkeys((settings.when, settings.where, settings.choose)))
    decisive = {k: v for k, v in record.items() if k not in ("command", "versions", "machine")}
    digest = content_key(decisive).hex()[:6]
    return run_name(f"{settings.task}-{settings.model}-{critics}-{'+'.join(settings.refiners)}-{digest}")


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _machine() -> str:
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} {platform.machine()} cores{gpu}"
