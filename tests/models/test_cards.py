"""Cards of models that were trained here: what they say, whom they are of, and how a model is asked by them."""

import json
from pathlib import Path
from typing import Any

import pytest

from refine_eval.data import ChatForm, Message
from refine_eval.errors import ModelError
from refine_eval.formats import PLAIN, PromptForm
from refine_eval.models.cards import Card, card_of, named_template, prompt_form
from refine_eval.models.chat import TRAINED_HERE

CHAT = PromptForm(messages=True, template="short", system="Add with care.")


def folder(place: Path, content: object) -> str:
    (place / TRAINED_HERE).write_text(json.dumps(content))
    return str(place)


@pytest.mark.parametrize("card", [Card(), Card(form=CHAT, steps="paragraphs"), Card(form=PromptForm(messages=True))])
def test_a_card_is_read_as_it_was_written(card: Card, tmp_path: Path) -> None:
    assert card_of(folder(tmp_path, {"reads": card.described()})) == card


def test_models_of_others_and_of_before_have_none(tmp_path: Path) -> None:
    for model in ("", "somebody/model", str(tmp_path)):
        assert card_of(model) is None
    for content in ({}, {"losses": [[1, 0.5]]}, ["of another tool"]):
        assert card_of(folder(tmp_path, content)) is None
    (tmp_path / TRAINED_HERE).write_text("of another tool")
    assert card_of(str(tmp_path)) is None
    assert prompt_form("as-trained", str(tmp_path)) == PLAIN


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"messages": "yes"}, "reads.messages in"),
        ({"template": 3}, "reads.template in"),
        ({"system_instruction": ["a"]}, "reads.system_instruction in"),
        ({"steps": None}, "reads.steps in"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_card_that_was_spoilt_is_one_sentence(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = folder(tmp_path, {"reads": {**Card().described(), **changed}})
    with pytest.raises(ModelError, match="train the model again") as raised:
        card_of(model)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_is_asked_as_the_user_says_or_else_as_its_card_does(tmp_path: Path) -> None:
    trained = folder(tmp_path, {"reads": Card(form=CHAT).described()})
    assert prompt_form("as-trained", trained) == prompt_form("messages", trained) == CHAT
    assert prompt_form("plain", trained) == PLAIN
    assert prompt_form("as-trained", "other") == PLAIN
    assert prompt_form("messages", "other") == PromptForm(messages=True)
    assert named_template(trained) == ChatForm(template="short")
    assert named_template("other") is None


def test_a_prompt_in_either_form() -> None:
    assert PLAIN.prompt("how?\n", "3+") == "how?\n3+"
    user, begun = Message(role="user", content="how?\n"), Message(role="assistant", content="3+")
    assert PromptForm(messages=True).prompt("how?\n") == (user,)
    assert CHAT.prompt("how?\n", "3+") == (Message(role="system", content="Add with care."), user, begun)


def test_people_are_told(tmp_path: Path) -> None:
    assert Card().sentence == "It reads plain prompts; steps are cut by the splitter `lines`."
    said = Card(form=CHAT, steps="paragraphs").sentence
    assert said == (
        "It reads messages, rendered with its chat template 'short', with the system text 'Add with care.'; steps are "
        "cut by the splitter `paragraphs`."
    )
