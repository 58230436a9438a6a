"""Settings of chat models: what is read of them, from the command line, a suite or Python."""

from pathlib import Path
from typing import Any

import pytest

from refine_eval.engines.server_engine import ServerEngine
from refine_eval.errors import PluginError, UsageError
from refine_eval.plugin.registry import registry
from refine_eval.plugin.templates import system_text
from refine_eval.recipes.suites import option_words
from refine_eval.runs.assembly import make_student
from refine_eval.runs.library import _settings
from refine_eval.runs.settings import CHAT_SETTINGS, RunSettings
from refine_eval.terminal import Progress


def test_a_system_text_is_given_as_it_is_or_by_one_word_that_names_a_file(tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("Add with care.\n")
    (tmp_path / "two words").write_text("unread")
    assert system_text(str(tmp_path / "system.txt")) == "Add with care."
    assert system_text("Be brief.") == "Be brief."
    assert system_text(str(tmp_path / "two words")) == str(tmp_path / "two words")
    assert system_text(None) is None
    assert system_text("Think") == "Think"
    assert RunSettings(system_instruction=str(tmp_path / "system.txt")).chat_choices == {
        "system_instruction": "Add with care."
    }


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfa"], ids=["missing", "no UTF-8"])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "system.txt").write_bytes(content)
    with pytest.raises(UsageError, match=r"names the file .*system\.txt, which cannot be read") as raised:
        system_text(str(tmp_path / "system.txt"))
    assert "\n" not in str(raised.value)


def test_what_was_not_given_is_in_no_record() -> None:
    assert RunSettings().chat_choices == {}
    assert RunSettings(apply_chat_template="false").chat_choices == {}
    assert set(RunSettings().__dict__) >= set(CHAT_SETTINGS)


def test_suites_say_false_where_it_is_not_nothing() -> None:
    given = {"fewshot-as-multiturn": False, "enable_thinking": False, "apply-chat-template": True, "overwrite": False}
    assert option_words("suite", given) == (
        *("--fewshot-as-multiturn", "false", "--enable_thinking", "false"),
        "--apply-chat-template",
    )
    assert option_words("suite", {"apply-chat-template": False}) == ("--apply-chat-template", "false")


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"apply_chat_template": True}, "apply_chat_template", "true"),
        ({"apply_chat_template": False}, "apply_chat_template", "false"),
        ({"apply_chat_template": "short"}, "apply_chat_template", "short"),
        ({"gen_kwargs": {"until": ["x"]}}, "gen_kwargs", '{"until": ["x"]}'),
        ({"fewshot_as_multiturn": False}, "fewshot_as_multiturn", False),
    ],
)
def test_python_takes_what_lm_evals_evaluator_takes(given: dict[str, Any], name: str, value: object) -> None:
    assert getattr(_settings({"task": "apples", **given}), name) == value


def test_a_thought_is_asked_of_a_template() -> None:
    with pytest.raises(UsageError, match="--enable-thinking is for chat templates: add --apply-chat-template"):
        make_student(RunSettings(enable_thinking=True), registry(), Progress(quiet=True))
    form = make_student(
        RunSettings(enable_thinking=True, apply_chat_template="short"), registry(), Progress(quiet=True)
    ).chat
    assert form is not None
    assert (form.template, form.enable_thinking) == ("short", True)


def test_an_engine_that_cannot_say_what_it_reads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerEngine, "only_messages", property(lambda engine: 1 // 0))
    with pytest.raises(PluginError, match=r"server.* in only_messages"):
        make_student(RunSettings(model="server"), registry(), Progress(quiet=True))
