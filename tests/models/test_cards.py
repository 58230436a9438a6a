"""Cards of models that were trained here: what they say, whom they are of, and how a model is asked by them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from refine_eval.data import ChatForm, Message
from refine_eval.errors import ModelError
from refine_eval.formats import PLAIN, PromptForm
from refine_eval.models.cards import Card, card_of, named_template, prompt_form
from refine_eval.models.chat import TRAINED_HERE
from refine_eval.plugin.registry import registry
from refine_eval.runs.settings import RunSettings
from refine_eval.runs.trained import settled

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


# Of models of the hub.

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty; whatever is asked of the hub fails."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def unreachable(*args: object, **options: object) -> str:
        raise ConnectionError("asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    return tmp_path


def fetched(hub: Path, files: Mapping[str, object], revision: str = "main") -> Path:
    """As huggingface_hub lays out what it has fetched of some/model."""
    repository = hub / "models--some--model"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (snapshot / name).write_text(json.dumps(content))
    return snapshot


TRAINED = {"config.json": {}, TRAINED_HERE: {"reads": Card(form=CHAT, steps="paragraphs").described()}}


def test_the_card_of_a_hubs_model_is_among_its_files(hub: Path) -> None:
    assert card_of("some/model") is None
    fetched(hub, TRAINED, "v2")
    assert card_of("some/model") is None
    assert card_of("some/model", "v2") == card_of("some/model", COMMIT) == Card(form=CHAT, steps="paragraphs")
    fetched(hub, TRAINED)
    assert prompt_form("as-trained", "some/model") == CHAT
    assert named_template("some/model") == ChatForm(template="short")
    for odd in ("some//model", "-", "a--b/c", "x" * 200, "some/model.gguf", "nul\0"):
        assert card_of(odd) is None


@pytest.mark.parametrize("files", [TRAINED, {"config.json": {}}, {"adapter_config.json": {}}], ids=len)
def test_nothing_is_asked_of_the_hub_for_the_card_of_a_model_that_is_here(files: dict[str, Any], hub: Path) -> None:
    fetched(hub, files)
    found = settled(RunSettings(model_options={"pretrained": "some/model"}), registry())
    assert (found.apply_chat_template, found.steps) == (
        ("short", "paragraphs") if TRAINED_HERE in files else (None, None)
    )


def test_the_card_of_a_model_that_is_not_here_is_fetched_ahead(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(name: str, revision: str | None, allow_patterns: list[str], **options: object) -> str:
        asked.append((name, revision, allow_patterns))
        return str(fetched(hub, TRAINED, "v2"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    settings = RunSettings(model_options={"pretrained": "some/model", "revision": "v2"})
    assert settled(settings, registry()).apply_chat_template == "short"
    assert settled(settings, registry()).system_instruction == CHAT.system
    assert asked == [("some/model", "v2", [TRAINED_HERE])]


def test_names_that_may_be_a_servers_are_not_looked_for_on_the_hub(hub: Path) -> None:
    settings = RunSettings(
        model="server",
        model_options={"base_url": "http://localhost:1", "model": "some/model"},
        when="judge",
        options={("critic", "judge"): {"model": "some/model"}},
    )
    assert settled(settings, registry()).steps is None
    with pytest.raises(ModelError, match=r"some/model, and it cannot be fetched from the hub \(asked\)"):
        settled(replace(settings, model="transformers", model_options={}), registry())
