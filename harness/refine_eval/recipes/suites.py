"""Suites: grids of runs in a YAML file, each with the options of `refine-eval run`.

    description: What the suite is for.
    every: {tasks: apples, seed: 0}          # options of every run
    runs:                                    # name of the run record -> its own options
      glore: {critic: orm, where: sorm, refiner: [local, global]}
      best-of-3: {refiner: resample}

    training: {questions: 7473, samples: 96, rollouts: 8}   # for `refine-eval plan` only

A list gives an option several times, `true` a flag, a mapping `name=value,name=value`; `null` and `false` leave out
what every run has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from refine_eval.errors import UsageError
from refine_eval.plugin.fields import declared
from refine_eval.stages.settings import CollectSettings, LabelSettings

_NOT_OF_A_RUN = ("--name", "--suite", "--json", "--quiet", "--help")
"""A run has its name already; the others are of the command as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Data to be made for training, for `refine-eval plan`: samples of the student, labelled by rollouts.

    `questions` of the split get `samples` each; at most `per_question` wrong and as many right ones (None: all
    distinct ones) are labelled with `rollouts` continuations a prefix.
    """

    questions: int
    samples: int
    rollouts: int
    split: str = CollectSettings.split
    temperature: float = CollectSettings.temperature
    per_question: int | None = LabelSettings.per_question

    def __post_init__(self) -> None:
        """UsageError for what `collect` and `label` would not take."""
        collect, label = declared(CollectSettings), declared(LabelSettings)
        replace(collect["limit"], optional=False).check(self.questions, "questions")
        for name in ("samples", "split", "temperature"):
            collect[name].check(getattr(self, name), name)
        for name in ("rollouts", "per_question"):
            label[name].check(getattr(self, name), name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite file as read: for each run's name the words after `refine-eval run`."""

    path: Path
    description: str
    runs: Mapping[str, tuple[str, ...]]
    training: Training | None


def read_suite(path: Path) -> Suite:
    """The suite in a YAML file; UsageError, with the place, where it is none."""
    found = read_yaml(path, "suite")
    parts = found if isinstance(found, dict) else {}
    unknown = sorted(map(str, parts.keys() - {"description", "every", "runs", "training"}))
    runs, every = parts.get("runs"), parts.get("every") or {}
    if unknown or not runs or not isinstance(runs, dict) or not isinstance(every, dict):
        detail = f"it has the key {unknown[0]!r}" if unknown else "it has no runs"
        raise UsageError(
            f"{path} is not a suite: {detail}; a suite has `runs: {{NAME: {{OPTION: VALUE, ...}}, ...}}` and may have "
            "`every: {OPTION: VALUE, ...}` and `description: TEXT`."
        )
    try:
        training = Training(**parts["training"]) if parts.get("training") else None
    except TypeError as error:
        raise UsageError(
            f"{path}: `training` takes questions, samples, rollouts, and may take split, temperature, per_question "
            f"({error})."
        ) from error
    except UsageError as error:
        raise UsageError(f"{path}: in `training`, {error}") from error
    return Suite(
        path=path,
        description=str(parts.get("description", "")),
        runs={str(name): ("--name", str(name), *_words(path, every, own or {})) for name, own in runs.items()},
        training=training,
    )


def read_yaml(path: Path, what: str) -> Any:
    """What is in a YAML file; UsageError where it cannot be read, or a key stands twice in one mapping."""
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, _NoKeyTwice)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"The {what} {path} cannot be read: {' '.join(str(error).split())[:200]}") from error


class _NoKeyTwice(yaml.SafeLoader):
    """YAML's own loader takes the last of two equal keys, and the first is lost in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = key.value.replace("_", "-")  # which are one to the command line
                if name in seen:
                    line = key.start_mark.line + 1
                    raise UsageError(f"{self.name}, line {line}: {key.value!r} is given twice; remove one.")
                seen.add(name)
        return node


def _words(path: Path, every: dict[str, Any], own: Any) -> tuple[str, ...]:
    """What is typed for a run; its own options take the place of those that every run has."""
    if not isinstance(own, dict):
        raise UsageError(f"{path}: a run's options are `OPTION: VALUE` pairs, not {own!r}.")
    options = merged(every, own)
    for name in options:
        if f"--{name}" in _NOT_OF_A_RUN:
            raise UsageError(f"{path}: {name} is no option of one run of a suite; leave it out.")
    return option_words(str(path), options)


def merged(*of: Mapping[Any, Any]) -> dict[str, Any]:
    """Options by their names on the command line; later ones take the place of earlier ones."""
    return {str(name).replace("_", "-"): value for options in of for name, value in options.items()}


def option_words(place: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What is typed for options of a YAML file; UsageError, with their `place`, for a value that cannot be typed."""
    words: list[str] = []
    for name, value in options.items():
        flag = f"--{name}"
        if name in ("tasks", "task") and isinstance(value, list):
            value = ",".join(map(str, value))  # one option that names several
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, list) or (isinstance(item, dict) and any(isinstance(v, dict) for v in item.values())):
                raise UsageError(f"{place}: {name} has a value that no command line can have: {item!r}.")
            if isinstance(item, dict) and None in item.values():
                raise UsageError(f"{place}: {name} has no value in {item!r}; write one, or leave the key out.")
            if item is True:
                words.append(flag)
            elif isinstance(item, dict):
                words += [flag, ",".join(f"{key}={as_text(inner)}" for key, inner in item.items())]
            elif item is not None and item is not False:
                words += [flag, str(item)]
    return tuple(words)


def as_text(value: Any) -> str:
    """A YAML value inside a word of the command line: `true` in lower case, a list as `a+b`."""
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
