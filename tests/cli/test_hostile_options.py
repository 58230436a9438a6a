"""Every option of every command and of every bundled component, with values that nobody should give."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
from fuzz import HOSTILE_VALUES, Accepted, Refused, accepted_or_refused, deadline, fuzz
from hypothesis import strategies as st
from in_process import typed

from refine_eval.cli import cli
from refine_eval.errors import RefineEvalError, UsageError
from refine_eval.plugin.components import Component
from refine_eval.plugin.fields import OptionField, declared, fields_of
from refine_eval.plugin.options import make_options, option_fields, read_settings
from refine_eval.plugin.pairs import parse_pairs
from refine_eval.plugin.registry import registry
from refine_eval.plugin.templates import system_text
from refine_eval.runs.settings import RunSettings, SessionSettings
from refine_eval.stages.settings import CollectSettings, LabelSettings
from refine_eval.training.settings import FitSettings, TrainSettings

HOSTILE = [
    *("", " ", "-1", "0", "7", "-0.0", "nan", "inf", "-inf", "1e999", "1e-400", "9" * 23, "9" * 5_000, "0x10", "1_000"),
    *("٣", "½", "true", "None", "null", "a=", "=a", "a=1,a=2", "a", ",", "=", "../..", "x" * 5_000, "\udcff", "a\nb"),
    *("{}", "[1]", "$HOME", "--help-me", "\x1b[2J", "e\u0301", "a/b", "C:\\x", "~nobody/x"),
]
SETTINGS = (SessionSettings, RunSettings, CollectSettings, LabelSettings, FitSettings, TrainSettings)
COMPONENTS: list[type[Component]] = [
    found.item
    for kind in ("critic", "refiner", "selector", "engine", "trainer")
    for found in registry().all(kind)
    if isinstance(found.item, type)
]


def commands(group: click.Group = cli, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name), command


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_option_of_a_command_takes_a_value_or_says_why_not(words: tuple[str, ...]) -> None:
    command = ALL[words]
    required = ["--out", "x"] if any("--out" in p.opts for p in command.params) else []
    arguments = ["x" for p in command.params if isinstance(p, click.Argument) and p.required]
    # The options of components, which several commands take, are read in one place: once for all of them.
    of_components = command.get_params(click.Context(command)) if words == ("run",) else command.params
    for param in of_components:
        if not isinstance(param, click.Option) or param.is_flag:
            continue
        for value in HOSTILE:
            with deadline():
                try:
                    context = command.make_context(words[-1], [*arguments, *required, f"{param.opts[0]}={value}"])
                    check_numbers(context.params, f"{words} {param.opts[0]}={value[:40]}")
                    for settings in SETTINGS:
                        if {"task", "steps", "samples"} & set(declared(settings)) & set(context.params):
                            read_settings(settings, context.params)
                except click.ClickException as error:
                    check_sentence(error.format_message())
                except RefineEvalError as error:
                    check_sentence(str(error))


def check_numbers(values: Any, where: str) -> None:
    for value in values.values():
        if isinstance(value, int | float):
            assert math.isfinite(value), where
            assert abs(value) < 2**63, where


def check_sentence(said: str) -> None:
    assert said.strip()
    assert "Traceback" not in said


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: f"{component.kind} {component.name}")
def test_every_option_of_a_component_takes_a_value_or_says_why_not(component: type[Component]) -> None:
    for field in option_fields(component):
        for text in HOSTILE:
            made = accepted_or_refused(partial(make_options, component, {field.name: text}))
            if isinstance(made, Accepted):
                check_field(getattr(made.value, field.name), field)


VALUES: list[Any] = [
    *(None, True, -1, 0, 2**63, 10**400, -0.0, 1e308, math.nan, math.inf, -math.inf, 1 + 1j, b"x", object, [], {}),
    *((), ("a\0b",), {"a": None}, {"a": {"b": 1}}, "a\0b", Path("a\0b"), "9" * 5_000, range(3), float, "x" * 10**6),
    *("\udce9", ("\ud800",), {"a": "\ud83d"}),
]


@pytest.mark.parametrize("settings", [*SETTINGS, *(c.Options for c in COMPONENTS)], ids=lambda s: s.__qualname__)
def test_python_gets_the_same_sentences(settings: type[Any]) -> None:
    """A settings dataclass, or the Options of a component, that is made of anything."""
    for field in declared(settings).values() if settings in SETTINGS else fields_of(settings):
        for value in VALUES:

            def make(name: str = field.name, value: Any = value) -> Any:
                return settings(**{name: value})

            made = accepted_or_refused(make)
            # An Options without a check of its own is checked by the component that gets it.
            if isinstance(made, Accepted) and settings in SETTINGS:
                check_field(getattr(made.value, field.name), field)


def check_field(value: Any, field: OptionField) -> None:
    """A value that was accepted is of the field's type, a number that is one, and no text has a NUL."""
    if isinstance(value, float):
        assert not math.isnan(value), field
        assert not field.limits or math.isfinite(value), field
    if isinstance(value, int) and field.kind is int:
        assert abs(value) < 2**63, field
    if isinstance(value, str | Path):
        assert "\0" not in str(value), field
    if isinstance(value, str):
        assert value.encode() is not None, field


@fuzz(values=st.dictionaries(st.sampled_from([f.name for f in fields_of(RunSettings)]), HOSTILE_VALUES, max_size=3))
def test_settings_of_anything_are_made_or_refused(values: dict[str, Any]) -> None:
    made = accepted_or_refused(lambda: RunSettings(**values))
    if isinstance(made, Accepted):
        for field in declared(RunSettings).values():
            check_field(getattr(made.value, field.name), field)


def test_a_system_text_is_read_from_plain_files_of_text_alone(tmp_path: Path) -> None:
    path = tmp_path / "system.txt"
    os.mkfifo(path)
    for make in (lambda: None, lambda: path.write_bytes(b"caf\xe9"), lambda: path.write_bytes(b"x" * 2_000_000)):
        make()
        refused = accepted_or_refused(lambda: system_text(str(path)))
        assert isinstance(refused, Refused)
        assert "system.txt, which cannot be read (" in refused.sentence
        path.unlink()
    path.write_text(" Think first.\n")
    assert system_text(str(path)) == "Think first."


def test_a_name_that_leaves_no_room_for_the_writers_own_is_refused() -> None:
    assert RunSettings(name="x" * 200).name
    refused = accepted_or_refused(lambda: RunSettings(name="x" * 201))
    assert refused == Refused("--name has 201 characters, and may have 200; shorten it.")


NAMES = st.sampled_from(["samples", "threshold", "model", "x", ""])


@fuzz(
    component=st.sampled_from(COMPONENTS),
    pairs=st.lists(
        st.tuples(st.sampled_from(["samples", "threshold", "model", "x", ""]), st.text(max_size=8)), max_size=3
    ),
)
def test_pairs_of_anything_are_options_or_refused(component: type[Component], pairs: list[tuple[str, str]]) -> None:
    text = ",".join(f"{name}={value}" for name, value in pairs)
    accepted_or_refused(lambda: make_options(component, parse_pairs(text)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a=1,b=2,a=3", "'a' is given twice in 'a=1,b=2,a=3'; remove one."),
        ("a", "Options are given as name=value,name=value; 'a' is not of that form."),
        ("=1", "'=1' is not of that form."),
    ],
)
def test_pairs_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_pairs(text)
    assert says in str(raised.value)


def test_one_option_under_two_spellings_is_given_twice() -> None:
    engine = next(c for c in COMPONENTS if (c.kind, c.name) == ("engine", "transformers"))
    with pytest.raises(UsageError, match=r"Option 'batch_size' of engine 'transformers' is given twice; remove one\."):
        make_options(engine, {"batch_size": "3", "batch-size": "4"})


def test_minus_nothing_is_nothing() -> None:
    refiner = next(c for c in COMPONENTS if (c.kind, c.name) == ("refiner", "local"))
    assert math.copysign(1, make_options(refiner, {"temperature": "-0.0"}).temperature) == 1


@pytest.mark.parametrize("value", [v for v in HOSTILE if v != "--help-me"], ids=lambda v: repr(v[:12]))
def test_commands_that_are_given_such_names_end_in_a_sentence(tmp_path: Path, value: str) -> None:
    """Commands that read what a name says before they do anything."""
    for words in (
        ("report", value),
        ("publish", value, "--results", value),
        ("leaderboard", "--results", value),
        ("plugins", "show", value),
        ("plugins", "check", value),
        ("recipe", "run", value, "--work", "w"),
        ("run", "--suite", value),
        ("run", "--critic", value, "--model", value),
        ("run", "--model-args", value, "--limit", "1", "--critic", "nobody"),
        ("label", value, "--out", "o"),
        ("train", value, value, "--out", "o"),
        ("train", "sft", value, "--out", "o", "--options", value),
        ("collect", "--out", "o", "--model", "nobody", "--task", value),
    ):
        ended(words, tmp_path)


def ended(words: tuple[str, ...], folder: Path) -> None:
    with deadline(30):
        code, done = typed(*words, cwd=folder)
    assert "Traceback" not in done.stderr, (words, done.stderr)
    assert len(done.stderr) < 5_000, words
    if code:
        assert "Error: " in done.stderr + done.stdout, (words, code, done.stderr)
