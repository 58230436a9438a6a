"""Suites: grids of runs in a YAML file, each with the options of `refine-eval run`.

    description: What the suite is for.
    every: {tasks: apples, seed: 0}          # options of every run
    runs:                                    # name of the run record -> its own options
      glore: {critic: orm, where: sorm, refiner: [local, global]}
      best-of-3: {refiner: resample}

    training:                                # for `refine-eval plan` only
      questions: 7473
      samples: 96
      rollouts: 8
      train: {orm: 64000, sorm: 64000}     # rows: steps x batch size x accumulate

A list gives an option several times, `true` a flag, a mapping `name=value,name=value`; `null` and `false` leave out
what every run has, but `false` is said of what may be asked for or forbidden, as --enable-thinking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from refine_eval.errors import UsageError, suggestion
from refine_eval.plugin.fields import declared
from refine_eval.plugin.pairs import as_text
from refine_eval.reading import Unreadable, from_yaml, read_bytes
from refine_eval.runs.settings import SessionSettings
from refine_eval.stages.settings import CollectSettings, LabelSettings
from refine_eval.terminal import one_line, shown

_NOT_OF_A_RUN = ("--name", "--suite", "--json", "--quiet", "--help")
"""A run has its name already; the others are of the command as a whole."""
_MAY_BE_FALSE = {flag[2:] for s in declared(SessionSettings).values() if s.bare for flag in (s.typed, *s.flags)}
"""Options of which false is something else than nothing."""
_KEYS = ("description", "every", "runs", "training")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Data to be made for training, and models to be trained on it, for `refine-eval plan`.

    `questions` of the split get `samples` each; at most `per_question` wrong and as many right ones (None: all
    distinct ones) are labelled with `rollouts` continuations a prefix. `train` says for each model that is trained on
    them on how many rows, those of every epoch counted: steps x batch size x accumulate.
    """

    questions: int
    samples: int
    rollouts: int
    split: str = CollectSettings.split
    temperature: float = CollectSettings.temperature
    per_question: int | None = LabelSettings.per_question
    train: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """UsageError for what `collect` and `label` would not take."""
        collect, label = declared(CollectSettings), declared(LabelSettings)
        replace(collect["limit"], optional=False).check(self.questions, "questions")
        for name in ("samples", "split", "temperature"):
            collect[name].check(getattr(self, name), name)
        for name in ("rollouts", "per_question"):
            label[name].check(getattr(self, name), name)
        if not isinstance(self.train, dict):
            raise UsageError(f"`train` takes MODEL: ROWS pairs, not {shown(self.train)}.")
        for model, rows in self.train.items():
            if type(rows) is not int or rows < 1:
                raise UsageError(f"`train` takes a whole number of rows of at least 1 for {model}, not {shown(rows)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite file as read: for each run's name the words after `refine-eval run`, and the options they are made of."""

    path: Path
    description: str
    runs: Mapping[str, tuple[str, ...]]
    options: Mapping[str, Mapping[str, Any]]
    training: Training | None


def read_suite(path: Path) -> Suite:
    """The suite in a YAML file; UsageError, with the place, where it is none."""
    found = read_yaml(path, "suite")
    parts = found if isinstance(found, dict) else {}
    unknown = sorted(map(str, parts.keys() - set(_KEYS)))
    runs, every = parts.get("runs"), parts.get("every") or {}
    if unknown or not runs or not isinstance(runs, dict) or not isinstance(every, dict):
        near = suggestion(unknown[0], _KEYS) if unknown else ""
        detail = f"it has the key {unknown[0][:60]!r}.{near} A" if unknown else "it has no runs; a"
        raise UsageError(
            f"{path} is not a suite: {detail} suite has `runs: {{NAME: {{OPTION: VALUE, ...}}, ...}}` and may have "
            "`every: {OPTION: VALUE, ...}` and `description: TEXT`."
        )
    description = parts.get("description") or ""
    if isinstance(description, list | dict):
        raise UsageError(f"{path}: `description` is a text, not {shown(description)}.")
    if not isinstance(parts.get("training") or {}, dict):
        raise UsageError(f"{path}: `training` takes NAME: VALUE pairs, not {shown(parts['training'])}.")
    try:
        training = Training(**parts["training"]) if parts.get("training") else None
    except TypeError as error:
        raise UsageError(
            f"{path}: `training` takes questions, samples, rollouts, and may take split, temperature, per_question, "
            f"train ({one_line(str(error))[:200]})."
        ) from error
    except UsageError as error:
        raise UsageError(f"{path}: in `training`, {error}") from error
    options = {str(name): _options(path, every, own or {}) for name, own in runs.items()}
    return Suite(
        path=path,
        description=str(description),
        runs={name: ("--name", name, *option_words(str(path), own)) for name, own in options.items()},
        options=options,
        training=training,
    )


def read_yaml(path: Path, what: str) -> Any:
    """What is in a YAML file, read as `reading` says; UsageError, with the line, where it cannot be read."""
    try:
        return from_yaml(read_bytes(path))
    except OSError as error:
        raise UsageError(f"The {what} {path} cannot be read: {error.strerror or error}; check the path.") from error
    except Unreadable as error:
        raise UsageError(f"The {what} {error.of(path)}") from error


def _options(path: Path, every: dict[str, Any], own: Any) -> dict[str, Any]:
    """The options of a run; its own take the place of those that every run has."""
    if not isinstance(own, dict):
        raise UsageError(f"{path}: a run's options are `OPTION: VALUE` pairs, not {shown(own)}.")
    options = merged(every, own)
    for name in options:
        if f"--{name}" in _NOT_OF_A_RUN:
            raise UsageError(f"{path}: {name} is no option of one run of a suite; leave it out.")
    return options


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
                raise UsageError(f"{place}: {name} has a value that no command line can have: {shown(item)}.")
            if isinstance(item, dict) and None in item.values():
                raise UsageError(f"{place}: {name} has no value in {shown(item)}; write one, or leave the key out.")
            if item is True:
                words.append(flag)
            elif isinstance(item, dict):
                words += [flag, ",".join(f"{key}={as_text(inner)}" for key, inner in item.items())]
            elif item is not None and (item is not False or name in _MAY_BE_FALSE):
                words += [flag, as_text(item)]
    return tuple(words)
