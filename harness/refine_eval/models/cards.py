"""Cards: how a model that was trained here reads its prompts, and where its steps end: the default of its users."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refine_eval.cuts import LINES
from refine_eval.data import ChatForm
from refine_eval.errors import ModelError
from refine_eval.formats import PLAIN, PromptForm, Prompts
from refine_eval.models.chat import TRAINED_HERE
from refine_eval.models.folders import read_json
from refine_eval.models.sources import cached_file
from refine_eval.terminal import shown

READS = "reads"
"""The card's key in training.json."""

_KINDS: Mapping[str, tuple[type, ...]] = {
    "messages": (bool,),
    "template": (str, type(None)),
    "system_instruction": (str, type(None)),
    "steps": (str,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model was trained on: prompts of this form, and steps as this splitter cuts them."""

    form: PromptForm = PLAIN
    steps: str = LINES

    def described(self) -> dict[str, Any]:
        """The card as training.json has it."""
        form = self.form
        return {
            "messages": form.messages,
            "template": form.template,
            "system_instruction": form.system,
            "steps": self.steps,
        }

    @property
    def sentence(self) -> str:
        """The card for people."""
        named = f" {self.form.template!r}" if self.form.template else ""
        system = f", with the system text {self.form.system!r}" if self.form.system else ""
        reads = f"messages, rendered with its chat template{named}{system}" if self.form.messages else "plain prompts"
        return f"It reads {reads}; steps are cut by the splitter `{self.steps}`."


def card_of(model: str, revision: str | None = None) -> Card | None:
    """The card in a model's folder, of a hub's model that which was fetched with it last.

    None for other models, and those trained before there were cards. ModelError for a card that cannot be read.
    """
    if not model:
        return None
    beside = Path(model).expanduser() / TRAINED_HERE
    file = beside if os.path.isfile(beside) else cached_file(model, TRAINED_HERE, revision)
    if file is None:
        return None
    try:
        found = read_json(file, "").get(READS)
    except ModelError:  # somebody else's file of that name
        return None
    if found is None:
        return None
    said = found if isinstance(found, Mapping) else {}
    for name, kinds in _KINDS.items():
        if not isinstance(said.get(name), kinds):
            raise ModelError(
                f"The card of {model} cannot be read: {READS}.{name} in {file} is {shown(said.get(name))}; train the "
                "model again."
            )
    form = PromptForm(messages=said["messages"], template=said["template"], system=said["system_instruction"])
    return Card(form=form, steps=said["steps"])


def named_template(model: str) -> ChatForm | None:
    """How messages are rendered for a model whose card names one of several templates; None for all others."""
    card = card_of(model)
    return ChatForm(template=card.form.template) if card and card.form.template else None


def prompt_form(prompts: Prompts, model: str) -> PromptForm:
    """How a model is asked: as the user says, else as its card says, else plainly.

    Messages have the template and the system text of the card, where it has them. ModelError for a card that cannot be
    read.
    """
    card = card_of(model)
    trained = card.form if card else PLAIN
    if prompts == "as-trained":
        return trained
    return replace(trained, messages=True) if prompts == "messages" else PLAIN
