"""What a run's record says of the run: components, identities, versions, machine. No path of the machine is in it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from refine_eval.errors import RunError
from refine_eval.files import folder_name
from refine_eval.plugin.combining import CombiningCritic, with_members
from refine_eval.plugin.components import Component, Critic, Engine
from refine_eval.plugin.fields import fields_of, said_options
from refine_eval.results.records import check_place, is_record, read_settings_of
from refine_eval.runs.drafting import GREEDY_DRAFT, Drafting
from refine_eval.runs.pipeline import Strategy
from refine_eval.runs.portable import portable, portable_command, portable_identity
from refine_eval.runs.settings import CHAT_SETTINGS, OWN_TEMPLATE, RunSettings
from refine_eval.runs.store import content_key
from refine_eval.terminal import shown

RECIPE_VARIABLE, STAGE_VARIABLE = "REFINE_EVAL_RECIPE", "REFINE_EVAL_STAGE"
"""Set for a recipe's stages: the recipe's command, and the stage's name. A record says these, to be typed again."""

_RECORDED_VERSIONS = ("refine-eval", "lm-eval", "torch", "transformers")


def describe(
    settings: RunSettings,
    strategy: Strategy,
    student: Engine,
    identities: Mapping[str, str],
    models: Mapping[str, str],
    grading: Mapping[str, Any],
    drafting: Drafting,
) -> dict[str, Any]:
    """What run.yaml holds: enough to run it again and to see whether it was the same.

    `grading` is what decides right and wrong: the filter, and the metric where it is not the task's own choice.
    """

    def identified(component: Component) -> dict[str, Any]:
        key = f"{component.kind} {component.name}"
        own_model = {"model": models[key]} if key in models else {}
        return {**_choice(component), "identity": identities.get(key), **own_model, **_members(component, identified)}

    student_identity = portable_identity(identities["engine student"], asdict(student.options))
    choices = describe_choices(settings, strategy, student, identified)
    return {
        **recorded_command(settings.command),
        **choices,
        "task": {name: value for name, value in choices["task"].items() if name not in _GRADING} | dict(grading),
        "model": {**choices["model"], "identity": student_identity},
        **drafting.described(),
        "versions": {name: _version(name) for name in _RECORDED_VERSIONS} | {"python": platform.python_version()},
        "machine": _machine(),
    }


_GRADING = ("filter", "metric", "correct_above")
"""Settings that a record has as the task has them: the filter's name; the others where they are not its own choice."""

_OF_THE_MACHINE = {"device", "batch_size", "dtype"}
"""Options that may differ where a run is made again."""


def check_name(settings: RunSettings, strategy: Strategy, student: Engine, drafting: Drafting | None = None) -> None:
    """RunError where the run's name is that of something that its record must not replace, before any work is done.

    That is a folder that is no run record, and the record of another run: of other components, options, task, limit,
    seed or, where the task is loaded and so tells them, drafts. A run with `overwrite` and a recipe's stage, whose
    folder is the recipe's own, replace any record.
    """
    if settings.name is None:
        return
    folder = settings.results / "runs" / settings.name
    check_place(folder)
    if settings.overwrite or os.environ.get(STAGE_VARIABLE) or not is_record(folder):
        return
    instead = "choose another --name, or replace that record with --overwrite"
    try:
        there = read_settings_of(folder)
    except RunError as error:
        raise RunError(f"{folder} holds a run record that cannot be compared with this run: {instead}.") from error
    here = describe_choices(settings, strategy, student, _decisive_choice)
    if settings.filter is None:
        there["task"] = {name: value for name, value in there["task"].items() if name != "filter"}
    unchosen = {"correct_above": None} | ({"metric": None} if settings.metric is None else {})
    unset = dict.fromkeys((*CHAT_SETTINGS, "steps", "judge_thoughts"))
    there["task"] = unset | unchosen | there["task"]
    here["task"] = unset | here["task"]
    here, there = ({"until_accepted": None} | each for each in (here, there))
    if drafting is not None:
        here["drafting"] = asdict(drafting)
        there["drafting"] = asdict(GREEDY_DRAFT) | there.get("drafting", {})
    difference = next(_differences(here, there), None)
    if difference is not None:
        name, new, old = difference
        raise RunError(f"{folder} holds another run, with {name} {shown(old)} and not {shown(new)}: {instead}.")


def _differences(here: Any, there: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, value here, value there) of what differs; a key that one has alone is of another version's."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in here:
            if key in there:
                yield from _differences(here[key], there[key], f"{name}.{key}".lstrip("."))
    elif isinstance(here, list) and isinstance(there, list) and _names(here, name) == _names(there, name):
        for one, other in zip(here, there, strict=True) if name in ("refiners", "selectors") else ():
            yield from _differences(one, other, one["name"])
    elif here != there:
        yield name, _names(here, name), _names(there, name)


def _names(value: Any, name: str) -> Any:
    """Of refiners and selectors, compared one by one where they have the same names, these; else the value."""
    return ", ".join(each["name"] for each in value) if name in ("refiners", "selectors") else value


def describe_choices(
    settings: RunSettings,
    strategy: Strategy,
    student: Engine,
    described: Callable[[Component], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The part of run.yaml that is known before anything runs: what was chosen, each component as `described`."""
    described = described or _choice
    return {
        "task": {
            "name": settings.task,
            "limit": settings.limit,
            "num_fewshot": settings.num_fewshot,
            "max_gen_toks": settings.max_gen_toks,
            "filter": settings.filter,
            "metric": settings.metric,
            "correct_above": settings.correct_above,
            **({"apply_chat_template": OWN_TEMPLATE} if student.chat is not None else {}),
            **settings.chat_choices,
            **settings.steps_choice,
            **({"judge_thoughts": True} if settings.judge_thoughts else {}),
        },
        "model": described(student),
        "when": described(strategy.when),
        "where": described(strategy.where),
        "choose": described(strategy.choose),
        "refine_below": strategy.refine_below,
        "refiners": [described(refiner) for refiner in strategy.refiners],
        "selectors": [described(selector) for selector in strategy.selectors],
        "rounds": strategy.rounds,
        **({"until_accepted": strategy.until_accepted} if strategy.until_accepted else {}),
        "seed": settings.seed,
    }


def describe_replay(
    said: Mapping[str, Any],
    settings: RunSettings,
    strategy: Strategy,
    identities: Mapping[str, str],
    tuning: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What run.yaml holds of a replay: what the replayed record `said`, with other parts in the places of its own.

    A critic whose scores are the record's, though its options are others, was not opened and has no identity.
    """
    known = {(kind, each["name"]): each for kind, each in described_components(said)}

    def described(component: Component) -> dict[str, Any]:
        was = known.get((component.kind, component.name), {})
        if _is_as_recorded(component, was):
            return dict(was)
        identified = {**_choice(component), "identity": identities.get(f"{component.kind} {component.name}")}
        return {**identified, **_members(component, described)}

    return {
        **{name: value for name, value in said.items() if name not in ("format", "stage", "tuning")},
        **recorded_command(settings.command),
        "when": described(strategy.when),
        "where": described(strategy.where),
        "choose": described(strategy.choose),
        "refine_below": strategy.refine_below,
        "refiners": [described(refiner) for refiner in strategy.refiners],
        "selectors": [described(selector) for selector in strategy.selectors],
        **({"tuning": dict(tuning)} if tuning else {}),
    }


def _choice(component: Component) -> dict[str, Any]:
    return {"name": component.name, "options": portable(said_options(component.options))}


def _decisive_choice(component: Component) -> dict[str, Any]:
    """A choice without the options that may differ where a run is made again."""
    given, fields = asdict(component.options), fields_of(type(component.options))
    places = {field.name for field in fields if field.place_of and given[field.place_of]}
    said = said_options(component.options)
    decisive = {name: value for name, value in said.items() if name not in _OF_THE_MACHINE | places}
    return {"name": component.name, "options": portable(decisive), **_members(component, _decisive_choice)}


def _members(component: Component, described: Callable[[Component], dict[str, Any]]) -> dict[str, Any]:
    """The members of a critic that combines some, each as `described`, by name."""
    if not isinstance(component, CombiningCritic):
        return {}
    return {"members": {member.name: described(member) for member in component.critics}}


def _is_as_recorded(component: Component, was: Mapping[str, Any]) -> bool:
    """Whether a component, and the members of one that combines some, have the options that a record says."""
    if was.get("options") != _choice(component)["options"]:
        return False
    members, recorded = with_members([component])[:-1] if isinstance(component, Critic) else [], was.get("members", {})
    return all(_is_as_recorded(member, recorded.get(member.name, {})) for member in members)


def described_components(said: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """All that run.yaml says of critics, their members among them, refiners and selectors, each with its kind."""
    critics = [said[role] for role in ("when", "where", "choose")]
    critics += [member for critic in critics for member in critic.get("members", {}).values()]
    parts = [("critic", critic) for critic in critics]
    return parts + [(kind, each) for kind in ("refiner", "selector") for each in said[f"{kind}s"]]


def recorded_command(typed: str) -> dict[str, str]:
    """What to type to make the run again: the command, or the recipe's with the stage whose run it is."""
    recipe, stage = os.environ.get(RECIPE_VARIABLE), os.environ.get(STAGE_VARIABLE)
    return {"command": recipe, "stage": stage} if recipe and stage else {"command": portable_command(typed)}


def default_name(settings: RunSettings, record: Mapping[str, Any]) -> str:
    """Readable, and the same for the same settings: a command typed again replaces its own record."""
    critics = "+".join(dict.fromkeys((settings.when, settings.where, settings.choose)))
    decisive = {k: v for k, v in record.items() if k not in ("command", "stage", "versions", "machine")}
    digest = content_key(decisive).hex()[:6]
    return folder_name(f"{settings.task}-{settings.model}-{critics}-{'+'.join(settings.refiners)}-{digest}")


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _machine() -> str:
    torch = sys.modules.get("torch")  # a run without a model here, of a server's texts, say, need not wait for it
    gpu = f", {torch.cuda.get_device_name()}" if torch and torch.cuda.is_available() else ""
    return f"{os.cpu_count()} {platform.machine()} cores{gpu}"
