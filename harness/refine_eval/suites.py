"""Suites: grids of runs in a YAML file, each with the options of `refine-eval run`.

    description: What the suite is for.
    every: {tasks: apples, seed: 0}          # options of every run
    runs:                                    # name of the run record -> its own options
      glore: {critic: orm, where: sorm, refiner: [local, global]}
      best-of-3: {refiner: resample}

A list gives an option several times, `true` a flag, a mapping `name=value,name=value`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from refine_eval.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite file as read: for each run's name the words after `refine-eval run`."""

    path: Path
    description: str
    runs: Mapping[str, tuple[str, ...]]


def read_suite(path: Path) -> Suite:
    """The suite in a YAML file; UsageError, with the place, where it is none."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"The suite {path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    parts = found if isinstance(found, dict) else {}
    unknown = sorted(map(str, parts.keys() - {"description", "every", "runs"}))
    runs, every = parts.get("runs"), parts.get("every") or {}
    if unknown or not runs or not isinstance(runs, dict) or not isinstance(every, dict):
        detail = f"it has the key {unknown[0]!r}" if unknown else "it has no runs"
        raise UsageError(
            f"{path} is no suite: {detail}; a suite has `runs: {{NAME: {{OPTION: VALUE, ...}}, ...}}` and may have "
            "`every: {OPTION: VALUE, ...}` and `description: TEXT`."
        )
    return Suite(
        path=path,
        description=str(parts.get("description", "")),
        runs={str(name): ("--name", str(name), *_words(path, every, own or {})) for name, own in runs.items()},
    )


def _words(path: Path, every: dict[str, Any], own: Any) -> tuple[str, ...]:
    """What is typed for a run; its own options take the place of those that every run has."""
    if not isinstance(own, dict):
        raise UsageError(f"{path}: a run's options are `OPTION: VALUE` pairs, not {own!r}.")
    words: list[str] = []
    for name, value in {**every, **own}.items():
        flag = f"--{str(name).replace('_', '-')}"
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                words.append(flag)
            elif isinstance(item, dict):
                words += [flag, ",".join(f"{key}={_text(inner)}" for key, inner in item.items())]
            elif item is not None and item is not False:
                words += [flag, _text(item)]
    return tuple(words)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
