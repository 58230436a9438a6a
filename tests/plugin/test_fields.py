"""What fields declare, and that each kind of wrong value is refused by one sentence, wherever it comes from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from in_process import error_line

from refine_eval.errors import PluginError, UsageError
from refine_eval.plugin.components import Critic
from refine_eval.plugin.fields import OptionField, check_options, check_settings, declared, fields_of, option
from refine_eval.plugin.options import click_options, make_options, option_fields, parameter, read_settings
from refine_eval.plugin.registry import registry
from refine_eval.recipes.cost import PlanSettings
from refine_eval.runs.settings import RunSettings, SessionSettings
from refine_eval.stages.settings import CollectSettings, LabelSettings
from refine_eval.training.settings import FitSettings, TrainSettings


@dataclass(frozen=True, kw_only=True)
class BoundedOptions:
    """One field of each kind of bound."""

    share: float = option(0.5, "Share.", min=0, max=1)
    scale: float = option(1.0, "Scale.", above=0)
    count: int = option(4, "Count.", min=1)
    seed: int = option(0, "Seed.", min=0, max=2**32 - 1)
    limit: int | None = option(None, "Limit.", max=5)
    way: Literal["fast", "slow"] = option("fast", "Way.")
    other: Literal["a", "b"] | None = option(None, "Other.")
    free: float = option(0.0, "Free.")


class Bounded(Critic):
    """Has bounds."""

    name = "bounded"
    Options = BoundedOptions


MOST = f"{2**63 - 1:,}"
WRONG = [
    ("share", "1.5", 1.5, "a number from 0 to 1, not 1.5."),
    ("share", "-0.1", -0.1, "a number from 0 to 1, not -0.1."),
    ("share", "nan", float("nan"), "a number from 0 to 1, not nan."),
    ("share", "inf", float("inf"), "a number from 0 to 1, not inf."),
    ("scale", "0", 0.0, "a number above 0, not 0.0."),
    ("scale", "inf", float("inf"), "a number above 0, not inf."),
    ("scale", "nan", float("nan"), "a number above 0, not nan."),
    ("count", "0", 0, "a whole number of at least 1, not 0."),
    ("count", str(2**63), 2**63, f"a whole number of at least 1 and at most {MOST}, not {2**63}."),
    (
        "count",
        "9" * 80,
        int("9" * 80),
        f"a whole number of at least 1 and at most {MOST}, not so large a number.",
    ),
    ("scale", "1e999", float("inf"), "a number above 0, not inf."),
    ("free", "nan", float("nan"), "a number, not nan."),
    ("seed", str(2**32), 2**32, f"a whole number from 0 to {2**32 - 1}, not {2**32}."),
    ("limit", "6", 6, "a whole number of at most 5, not 6."),
    ("way", "slw", "slw", "fast or slow, not 'slw'. Did you mean 'slow'?"),
    ("other", "c", "c", "a or b, not 'c'."),
]


@pytest.mark.parametrize(
    ("name", "text", "value", "says"), WRONG, ids=[f"{name}={text[:9]}" for name, text, *_ in WRONG]
)
def test_a_value_that_does_not_fit_is_refused_by_one_sentence(name: str, text: str, value: Any, says: str) -> None:
    what = f"Option {name!r} of critic 'bounded' must be "
    command = click.Command("run", params=list(click_options(Bounded)))
    with pytest.raises(UsageError) as typed:
        command.make_context("run", [f"--bounded-{name}={text}"])
    with pytest.raises(UsageError) as as_pair:
        make_options(Bounded, {name: text})
    with pytest.raises(UsageError) as from_yaml:
        make_options(Bounded, {name: value})
    assert {str(each.value) for each in (typed, as_pair, from_yaml)} == {what + says}
    given: dict[str, Any] = {name: value}
    with pytest.raises(UsageError) as from_python:
        Bounded(BoundedOptions(**given))
    assert str(from_python.value) == f"BoundedOptions.{name} must be {says}"


def test_values_at_the_bounds_fit() -> None:
    values: dict[str, Any] = {
        "share": 1,
        "scale": 1e-9,
        "count": 2**63 - 1,
        "seed": 2**32 - 1,
        "limit": 5,
        "way": "slow",
        "other": "b",
    }
    assert Bounded(BoundedOptions(**values)).options == make_options(Bounded, values)
    assert make_options(Bounded, {"limit": "none", "other": "none"}) == BoundedOptions()
    assert make_options(Bounded, {"free": "inf"}).free == float("inf"), "nothing was said of its range"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"count": "4"}, "count must be a whole number of at least 1, not '4'."),
        ({"count": True}, "count must be a whole number of at least 1, not True."),
        ({"count": None}, "count must be a whole number of at least 1, not None."),
        ({"free": "0.5"}, "free must be a number, not '0.5'."),
    ],
)
def test_python_is_held_to_the_types(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_options(BoundedOptions(**values))


def test_bounds_are_shown() -> None:
    context = click.Context(click.Command("run"))
    records = [found.get_help_record(context) for found in click_options(Bounded)]
    shown = {record[0]: record[1] for record in records if record}
    assert shown["--bounded-share FLOAT RANGE"] == "bounded: Share. [default: 0.5]  [0<=x<=1]"
    assert shown["--bounded-scale FLOAT RANGE"] == "bounded: Scale. [default: 1.0]  [x>0]"
    assert shown["--bounded-way [fast|slow]"] == "bounded: Way. [default: fast]"
    found = {each.name: (each.limits, each.choices) for each in option_fields(Bounded)}
    assert found == {
        "share": ("from 0 to 1", ()),
        "scale": ("above 0", ()),
        "count": ("of at least 1", ()),
        "seed": ("from 0 to 4294967295", ()),
        "limit": ("of at most 5", ()),
        "way": ("", ("fast", "slow")),
        "other": ("", ("a", "b")),
        "free": ("", ()),
    }


def test_both_an_open_lower_bound_and_an_upper_one_in_words() -> None:
    share = OptionField(name="share", kind=float, optional=False, default=0.9, above=0, max=1)
    assert share.wanted == "a number above 0 and at most 1"


def test_a_field_without_option_stays_readable() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Old:
        depth: int = field(default=3, metadata={"help": "Depth.", "author": "me"})
        plain: str = "x"

    assert [(each.name, each.default, each.help) for each in fields_of(Old)] == [
        ("depth", 3, "Depth."),
        ("plain", "x", ""),
    ]


def test_a_dict_default_is_not_shared() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Open:
        rest: dict[str, str] = option({}, "Rest.")

    Open().rest["a"] = "b"
    assert Open().rest == {}


def test_an_author_is_told_of_a_default_outside_the_range() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Outside:
        share: float = option(2.0, "Share.", min=0, max=1)

    class Wrong(Critic):
        """Wrong."""

        name = "wrong"
        Options = Outside

    says = "The default of 'share' of critic 'wrong' must be a number from 0 to 1, not 2.0. Its author must fix that."
    with pytest.raises(PluginError, match=says):
        option_fields(Wrong)


def test_options_of_all_installed_components_say_what_they_are() -> None:
    for registered in registry().all():
        if isinstance(registered.item, type):
            for each in option_fields(registered.item):
                assert each.help, (registered.name, each.name)


ALL_SETTINGS = (SessionSettings, RunSettings, CollectSettings, LabelSettings, FitSettings, TrainSettings, PlanSettings)


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (SessionSettings, {"seed": -1}, "--seed must be a whole number of at least 0, not -1."),
        (SessionSettings, {"dtype": "float31"}, "--dtype must be auto, float32, bfloat16 or float16, not 'float31'."),
        (SessionSettings, {"model_options": "x=1"}, "--model-args must be a list name=value,name=value, not 'x=1'."),
        (SessionSettings, {"workers": 0}, "--workers must be a whole number of at least 1, not 0."),
        (RunSettings, {"rounds": 0}, "--rounds must be a whole number of at least 1, not 0."),
        (RunSettings, {"refine_below": float("nan")}, "--refine-below must be a number from 0 to 1, not nan."),
        (RunSettings, {"refiners": "local"}, "--refiner must be a list a\\+b\\+c, not 'local'."),
        (RunSettings, {"name": "a/b"}, "--name 'a/b' cannot name a folder; .* can: 'a-b'."),
        (CollectSettings, {"split": "dev"}, "--split must be train, validation or test, not 'dev'."),
        (CollectSettings, {"temperature": 0}, "--temperature must be a number above 0 and at most 100, not 0."),
        (CollectSettings, {"gold": True, "split": "test"}, "Gold solutions of test questions are not to be trained on"),
        (LabelSettings, {"per_question": 0}, "--per-question must be a whole number of at least 1, not 0."),
        (LabelSettings, {"soft": True}, "--soft needs all rollouts of every prefix: add --naive."),
        (LabelSettings, {"monotone": False}, "--no-monotone needs all rollouts of every prefix: add --naive."),
        (FitSettings, {"steps": 0}, "--steps must be a whole number of at least 1, not 0."),
        (
            FitSettings,
            {"learning_rate": float("inf")},
            "--learning-rate must be a number above 0 and at most 100, not inf.",
        ),
        (FitSettings, {"optimizer": "sgd"}, "--optimizer must be adamw or muon, not 'sgd'."),
        (FitSettings, {"last_layers": 1, "lora_rank": 2}, "--last-layers chooses among all weights"),
        (TrainSettings, {"held_out": 0.6}, "--held-out must be a number from 0 to 0.5, not 0.6."),
        (TrainSettings, {"save_dtype": "auto"}, "--save-dtype must be float32, bfloat16 or float16, not 'auto'."),
        (PlanSettings, {"throughput": 0}, "--throughput must be a number above 0, not 0."),
        (PlanSettings, {"throughput": 1, "sample": 1}, "--sample must be a whole number of at least 2, not 1."),
    ],
)
def test_settings_check_themselves(kind: type[Any], values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        kind(**values)


@pytest.mark.parametrize("kind", ALL_SETTINGS, ids=lambda kind: kind.__name__)
def test_defaults_of_settings_fit_and_come_from_one_place(kind: type[Any]) -> None:
    needed = {"throughput": 1.0} if kind is PlanSettings else {}
    assert read_settings(kind, needed) == kind(**needed)
    check_settings(kind(**needed))
    for name, setting in declared(kind).items():
        if name not in needed:
            setting.check(setting.default, name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "--rounds", "0"), "--rounds must be a whole number of at least 1, not 0."),
        (("run", "--rounds", "many"), "--rounds must be a whole number of at least 1, not 'many'."),
        (
            ("run", "--seed", "9" * 30),
            f"--seed must be a whole number of at least 0 and at most {MOST}, not {'9' * 30}.",
        ),
        (("run", "--refine-below", "nan"), "--refine-below must be a number from 0 to 1, not nan."),
        (("run", "--limit", "none"), "--limit must be a whole number of at least 1, not 'none'."),
        (
            ("run", "--sorm-threshold", "2"),
            "Option 'threshold' of critic 'sorm' must be a number from 0 to 1, not 2.0.",
        ),
        (("run", "--orm-engine", "vlm"), "Option 'engine' of critic 'orm' must be transformers or vllm, not 'vlm'."),
        (
            ("run", "--model-args", "batch_size=0"),
            "Option 'batch_size' of engine 'transformers' must be a whole number from 1 to 65536, not 0.",
        ),
        (("collect", "--out", "x", "--samples", "0"), "--samples must be a whole number of at least 1, not 0."),
        (
            ("label", "x", "--out", "y", "--temperature", "0"),
            "--temperature must be a number above 0 and at most 100, not 0.0.",
        ),
        (("train", "sft", "--out", "x", "--steps", "0"), "--steps must be a whole number of at least 1, not 0."),
        (("train", "sft", "--out", "x", "--seed", str(2**32)), f"--seed must be a whole number from 0 to {2**32 - 1}"),
        (
            ("train", "global", "--out", "x", "--options", "per_question=0"),
            "Option 'per_question' of trainer 'global' must be a whole number of at least 1, not 0.",
        ),
    ],
)
def test_the_command_line_refuses_with_the_same_sentence(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    assert error_line(*words, cwd=tmp_path, expect=2).startswith(f"Error: {says}")
    assert list(tmp_path.iterdir()) == []


def test_a_suite_in_yaml_is_refused_with_the_same_sentence(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text("runs: {a: {critic: sorm, sorm-threshold: .nan}}")
    line = error_line("run", "--suite", "suite.yaml", cwd=tmp_path, expect=2)
    assert "Option 'threshold' of critic 'sorm' must be a number from 0 to 1, not nan." in line


def test_options_that_are_not_given_are_not_passed_on() -> None:
    found = click.Command("run", params=list(click_options(Bounded))).make_context("run", [])
    assert {found.params[parameter(Bounded, each)] for each in option_fields(Bounded)} == {None}
