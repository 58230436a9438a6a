"""Options dataclasses: to click options, coercion from text, errors that say what to do."""

from dataclasses import dataclass, field
from typing import Any

import click
import pytest

from refine_eval.errors import PluginError, UsageError
from refine_eval.plugin.components import Critic
from refine_eval.plugin.fields import option
from refine_eval.plugin.options import click_options, make_options, option_fields, parameter
from refine_eval.plugin.pairs import parse_pairs, scalar


@dataclass(frozen=True, kw_only=True)
class Options:
    """One field of each supported type."""

    model: str = field(default="tiny", metadata={"help": "Model."})
    step_count: int = field(default=3, metadata={"help": "Steps."})
    threshold: float | None = field(default=None, metadata={"help": "Threshold."})
    strict: bool = field(default=False, metadata={"help": "Strict."})
    fields: tuple[str, ...] = field(default=("a", "b"), metadata={"help": "Fields."})


class Example(Critic):
    """An example."""

    name = "exa-mple"
    Options = Options


def parse(*arguments: str) -> dict[str, Any]:
    command = click.Command("run", params=list(click_options(Example)))
    return command.make_context("run", list(arguments)).params


def test_fields_have_plain_types() -> None:
    found = {f.name: (f.kind, f.optional, f.default, f.help) for f in option_fields(Example)}
    assert found == {
        "model": (str, False, "tiny", "Model."),
        "step_count": (int, False, 3, "Steps."),
        "threshold": (float, True, None, "Threshold."),
        "strict": (bool, False, False, "Strict."),
        "fields": (tuple, False, ("a", "b"), "Fields."),
    }


def test_options_on_the_command_line() -> None:
    set_ = parse("--exa-mple-step-count", "5", "--exa-mple-strict", "--exa-mple-fields", "x+y")
    by_field = {f.name: set_[parameter(Example, f)] for f in option_fields(Example)}
    given = {name: value for name, value in by_field.items() if value is not None}
    assert given == {"step_count": 5, "strict": True, "fields": ("x", "y")}
    assert make_options(Example, given) == Options(step_count=5, strict=True, fields=("x", "y"))


def test_what_is_not_set_is_not_passed_on() -> None:
    assert set(parse().values()) == {None}
    assert list(parse("--no-exa-mple-strict").values()).count(False) == 1


def test_help_shows_defaults() -> None:
    context = click.Context(click.Command("run"))
    records = [option.get_help_record(context) for option in click_options(Example)]
    shown = {record[0]: record[1] for record in records if record}
    assert shown["--exa-mple-step-count INTEGER"] == "exa-mple: Steps. [default: 3]"
    assert shown["--exa-mple-fields TEXT"] == "exa-mple: Fields. [default: a+b]"
    assert shown["--exa-mple-threshold FLOAT"] == "exa-mple: Threshold."


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("model", "a/b", "a/b"),
        ("step-count", "7", 7),
        ("step_count", 7.0, 7),
        ("threshold", "0.25", 0.25),
        ("threshold", "none", None),
        ("threshold", None, None),
        ("strict", "yes", True),
        ("strict", "OFF", False),
        ("strict", True, True),
        ("fields", "a", ("a",)),
        ("fields", ["a", "b"], ("a", "b")),
    ],
)
def test_coercion(name: str, value: Any, expected: Any) -> None:
    assert getattr(make_options(Example, {name: value}), name.replace("-", "_")) == expected


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("step_count", "many", "must be a whole number, not 'many'"),
        ("step_count", 1.5, "must be a whole number, not 1.5"),
        ("step_count", None, "must be a whole number, not None"),
        ("strict", "perhaps", "must be true or false, not 'perhaps'"),
        ("threshold", "high", "must be a number, not 'high'"),
        ("treshold", "0.5", "Did you mean 'threshold'"),
        ("xyz", "1", "no option 'xyz'.* refine-eval plugins show exa-mple"),
    ],
)
def test_what_does_not_fit(name: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_options(Example, {name: value})


@dataclass(frozen=True, kw_only=True)
class NoDefault:
    """A field that users would have to set."""

    model: str


@dataclass(frozen=True, kw_only=True)
class Strange:
    """A type without a form on the command line."""

    model: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize("options", [NoDefault, Strange])
def test_an_author_is_told_what_a_field_must_be(options: type) -> None:
    class Wrong(Critic):
        """Wrong."""

        name = "wrong"
        Options = options

    with pytest.raises(PluginError, match=r"'model' of critic 'wrong' needs a default"):
        option_fields(Wrong)


def test_an_author_is_told_of_a_place_of_what_is_no_option() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Lost:
        """Wrong."""

        url: str = option("", "Where it is.", place_of="name")

    class Wrong(Critic):
        """Wrong."""

        name = "wrong"
        Options = Lost

    with pytest.raises(PluginError, match=r"'url' of critic 'wrong' is the place of 'name', which is no option"):
        option_fields(Wrong)


def test_pairs() -> None:
    assert parse_pairs("pretrained=a/b, dtype = float32,,") == {"pretrained": "a/b", "dtype": "float32"}
    assert parse_pairs("") == {}
    assert parse_pairs("model=,dtype=") == {"model": "", "dtype": ""}
    for wrong in ("pretrained", "=x"):
        with pytest.raises(UsageError, match="name=value"):
            parse_pairs(wrong)


@dataclass(frozen=True, kw_only=True)
class PassedOn:
    """Options of an engine that passes what it does not know on to somebody else."""

    pretrained: str = field(default="", metadata={"help": "Model."})
    rest: dict[str, str] = field(default_factory=dict, metadata={"help": "Anything else.", "rest": True})


class Passing(Critic):
    """Takes any option."""

    name = "passing"
    Options = PassedOn


def test_a_field_for_the_rest_takes_every_other_name() -> None:
    made = make_options(Passing, {"pretrained": "m", "max_num_seqs": "4", "rest": "odd"})
    assert made == PassedOn(pretrained="m", rest={"max_num_seqs": "4", "rest": "odd"})


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("-1", -1), ("0.9", 0.9), ("True", True), ("false", False), ("None", None), ("auto", "auto"), ("", "")],
)
def test_scalars_as_lm_eval_reads_them(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
