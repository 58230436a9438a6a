"""What the cards of a run's models say: how the student is asked and steps are cut, unless the user says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from refine_eval.models.cards import Card, card_of
from refine_eval.models.chat import TRAINED_HERE
from refine_eval.models.sources import fetch_ahead
from refine_eval.plugin.making import names_with_members
from refine_eval.plugin.registry import Registry
from refine_eval.plugin.templates import CardText
from refine_eval.runs.assembly import usual_steps, without_usual_steps
from refine_eval.runs.settings import OWN_TEMPLATE, RunSettings, SessionSettings

S = TypeVar("S", bound=SessionSettings)

_STUDENT = ("lora_local_path", "pretrained")
"""Options of engines that may name a folder of a model that was trained here, the first that is given counts."""

_OF_FILES = ("transformers", "vllm")
"""Engines whose models are files that `resolve_model` fetches; to others, a name may be one on a server."""


def settled(settings: S, registry: Registry) -> S:
    """The settings with what the models' cards say of what was not given; ModelError for a card that cannot be read.

    Messages, and their system text, are the student's card's. Steps are cut as its card says, else as that of the first
    critic or refiner that has one.
    """
    said: dict[str, Any] = {}
    student = _student_card(settings)
    if student and student.form.messages and settings.apply_chat_template is None:
        said["apply_chat_template"] = student.form.template or OWN_TEMPLATE
        if settings.system_instruction is None and student.form.system:
            said["system_instruction"] = CardText(student.form.system)
    cards = [card for _, card in _component_cards(settings, registry)]
    if settings.steps is None and (card := student or next(iter(cards), None)):
        said["steps"] = card.steps
    return without_usual_steps(replace(settings, **said), registry)


def steps_notes(settings: SessionSettings, registry: Registry) -> list[str]:
    """A sentence on each critic or refiner that was trained on other steps than the run has."""
    steps = settings.steps or usual_steps(settings.task, registry)
    return [
        f"Note: the model of {name} was trained on steps by {card.steps!r}, and this run cuts by {steps!r}; --steps "
        f"{card.steps} cuts as it was trained."
        for name, card in _component_cards(settings, registry)
        if card.steps != steps
    ]


def _student_card(settings: SessionSettings) -> Card | None:
    named = (settings.model_options.get(name) for name in _STUDENT)
    revision = settings.model_options.get("revision")
    return _card(str(next(filter(None, named), "")), settings.model, revision and str(revision))


def _component_cards(settings: SessionSettings, registry: Registry) -> Iterator[tuple[str, Card]]:
    """The cards of critics' and refiners' own models, where they have some, each by the component's name."""
    if not isinstance(settings, RunSettings):
        return
    critics = names_with_members((settings.when, settings.where, settings.choose), settings.options, registry)
    for kind, names in (("critic", critics), ("refiner", dict.fromkeys(settings.refiners))):
        for name in names:
            given = settings.options.get((kind, name), {})
            if card := _card(str(given.get("model", "")), str(given.get("engine") or settings.model)):
                yield name, card


def _card(model: str, engine: str, revision: str | None = None) -> Card | None:
    """A model's card; that of a hub's model comes with its other files, and is fetched ahead of them the first time."""
    if engine in _OF_FILES:
        fetch_ahead(model, TRAINED_HERE, revision)
    return card_of(model, revision)
