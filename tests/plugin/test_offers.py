"""What hooks may return, and what they may not; options that clash; a thousand components."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from refine_eval.cli import component_options
from refine_eval.cli import run as run_module
from refine_eval.cli.run import run, settings_from
from refine_eval.errors import PluginError, UsageError
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Critic, Refiner, Trainer
from refine_eval.plugin.fields import option
from refine_eval.plugin.hookspecs import hookimpl
from refine_eval.plugin.registry import DISABLE, Registry


class Sound(Critic):
    """Sound."""

    name = "sound"


def hooked(kind: str, hook: Callable[[], Any]) -> SimpleNamespace:
    def own() -> Any:
        return hook()

    own.__name__ = f"refine_eval_{kind}s"
    return SimpleNamespace(**{own.__name__: hookimpl(own)})


def registry_of(kind: str, *hooks: Callable[[], Any]) -> Registry:
    return Registry((f"entry{n}", hooked(kind, hook), f"dist{n}", "1.0") for n, hook in enumerate(hooks))


def refused(kind: str, hook: Callable[[], Any]) -> str:
    with pytest.raises(PluginError) as raised:
        registry_of(kind, hook)
    text = str(raised.value)
    assert text.startswith("Plugin 'entry0' of dist0 ")
    assert text.endswith(f"{DISABLE}=entry0")
    assert "\n" not in text
    assert len(text) < 700
    return text


def kind_of(**attributes: Any) -> type[Critic]:
    return type("Made", (Critic,), {"name": "made", "__doc__": "Made.", **attributes})


def test_lists_tuples_and_generators_are_taken() -> None:
    for hook in (lambda: [Sound], lambda: (Sound,), lambda: iter([Sound]), lambda: (kind for kind in [Sound])):
        assert registry_of("critic", hook).component("critic", "sound") is Sound
    assert registry_of("critic", list).all() == []


class Abstract(Critic, ABC):
    """Leaves something to others."""

    name = "abstract"

    @abstractmethod
    def left(self) -> None: ...


def _never_ending() -> Any:
    while True:
        yield Sound


def _breaking() -> Any:
    yield Sound
    raise SystemExit(0)


class _Raises(type(Critic)):  # type: ignore[misc]
    @property
    def Options(cls) -> Any:
        raise RuntimeError("no options today")


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (lambda: None, "returned from its critic hook None, which is no list; an empty one offers nothing."),
        (lambda: Sound, "failed in its critic hook: TypeError"),
        (lambda: Sound(), "failed in its critic hook: TypeError"),
        (lambda: [Sound()], "it must return Critic subclasses with a name"),
        (lambda: "ab", "returned 'a' from its critic hook"),
        (lambda: 3, "failed in its critic hook: TypeError"),
        (lambda: [None], "returned None from its critic hook; it must return Critic subclasses"),
        (lambda: [int], "returned <class 'int'> from its critic hook"),
        (lambda: [kind_of(name="")], "subclasses with a name"),
        (lambda: [kind_of(name=None)], "subclasses with a name"),
        (lambda: [kind_of(name="a b")], "'a b' has spaces, commas or a leading hyphen in its name"),
        (lambda: [kind_of(name="a,b")], "has spaces, commas"),
        (lambda: [kind_of(name="--help")], "leading hyphen"),
        (lambda: [kind_of(name="a\x1b[31m")], "has control characters in its name"),
        (lambda: [kind_of(name="a" * 5_000)], "has a name of more than 100 characters"),
        (lambda: [kind_of(Options=3)], "cannot be used: TypeError"),
        (lambda: [kind_of(Options=property(lambda self: 1 / 0))], "cannot be used: TypeError"),
        (lambda: [_Raises("Made", (Critic,), {"name": "made"})], "cannot be used: RuntimeError('no options today')"),
        (lambda: [Abstract], "'abstract' is an abstract class, which lacks left"),
        (_never_ending, "returned from its critic hook more than 10,000 items"),
        (_breaking, "failed in its critic hook: SystemExit(0)"),
        (lambda: [Sound, Sound], "offers the critic 'sound' twice"),
    ],
    ids=range(22),
)
def test_what_a_hook_may_not_return(hook: Callable[[], Any], says: str) -> None:
    assert says in refused("critic", hook)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "\x1b"}, "control characters"),
        ({"description": None}, "has None as its description, which must be a text"),
        ({"data": 3}, "has 3 as its data"),
        ({"yaml": "sums.yaml"}, "has 'sums.yaml' as its yaml, which must be a Path"),
        ({"student": "folder"}, "as its student, which must be a Path or None"),
        ({"local_data": {}}, "as its local_data, which must be a function or None"),
        ({"first_bad_step": 1}, "as its first_bad_step, which must be a function or None"),
        ({"needs": None}, "has None as its needs, which must be a text"),
        ({"max_gen_toks": 0}, "has 0 as its max_gen_toks, which must be a whole number above 0 or None"),
        ({"max_gen_toks": "9"}, "has '9' as its max_gen_toks, which must be a whole number above 0 or None"),
    ],
    ids=str,
)
def test_what_a_benchmark_may_not_be(fields: dict[str, Any], says: str) -> None:
    sound = Benchmark(name="sums", description="Sums.", data="made", yaml=Path("sums.yaml"))
    assert registry_of("benchmark", lambda: [sound]).benchmarks() == {"sums": sound}
    assert says in refused("benchmark", lambda: [replace(sound, **fields)])


@pytest.mark.parametrize(
    ("attribute", "wrong"), [("head", "reader"), ("head", None), ("reads", "collect"), ("reads", [1])]
)
def test_what_a_trainer_may_not_declare(attribute: str, wrong: Any) -> None:
    broken = type("Broken", (Trainer,), {"name": "broken", attribute: wrong})
    assert f"{wrong!r}; it must be " in refused("trainer", lambda: [broken])


def test_a_docstring_may_be_anything() -> None:
    found = registry_of("critic", lambda: [kind_of(__doc__=3)])
    assert found.all()[0].description == ""


# Options.


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """One option."""

    size: int = option(4, "Solutions side by side.")


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A switch."""

    size: bool = option(False, "Whether to.")


def context_of(monkeypatch: pytest.MonkeyPatch, found: Registry, *words: str) -> Any:
    for module in (component_options, run_module):
        monkeypatch.setattr(module, "registry", lambda: found)
    return run.make_context("run", list(words))


def sized(name: str, options: type[Any] = Sizes) -> Callable[[], list[type[Critic]]]:
    return lambda: [kind_of(name=name, Options=options)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (sized("a-b"), lambda: [kind_of(name="a", Options=_options("b_size", int))]),
        (sized("a-b"), sized("a_b")),
        (sized("a", Switch), sized("no-a")),
    ],
    ids=["same flag", "same name of the value", "flag that takes away"],
)
def test_options_of_two_components_concern_only_who_uses_them(
    monkeypatch: pytest.MonkeyPatch, one: Any, other: Any
) -> None:
    found = registry_of("critic", one, other, sized("free"))
    assert settings_from(context_of(monkeypatch, found, "--critic", "free", "--free-size", "3"))[0].options == {
        ("critic", "free"): {"size": 3}
    }
    names = [each.name for each in found.all() if each.name != "free"]
    for name in names:
        with pytest.raises(PluginError, match=r"of dist\d and critic .* of dist\d both bring the option --"):
            settings_from(context_of(monkeypatch, found, "--critic", name))


def _options(name: str, kind: type[Any]) -> type[Any]:
    made = type("Made", (), {"__annotations__": {name: kind}, name: option(kind(), "Help."), "__doc__": "Made."})
    return dataclass(frozen=True, kw_only=True)(made)


def test_a_critic_and_a_refiner_of_one_name_and_one_option(monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = type("Made", (Refiner,), {"name": "twin", "Options": Sizes})
    found = Registry(
        [
            ("one", hooked("critic", sized("twin")), "dist-one", "1.0"),
            ("other", hooked("refiner", lambda: [refiner]), "dist-other", "1.0"),
        ]
    )
    settings_from(context_of(monkeypatch, found, "--critic", "other", "--refiner", "another"))
    with pytest.raises(
        PluginError, match=r"'twin' of dist-one and refiner 'twin' of dist-other both bring .*twin-size"
    ):
        settings_from(context_of(monkeypatch, found, "--refiner", "twin"))


def test_an_option_that_nobody_has_may_be_of_a_plugin_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry_of("critic", sized("free"))
    found.leave_out(PluginError("Plugin 'x' of lab-tools 3 cannot be imported."))
    with pytest.raises(UsageError, match=r"No option is called --lab-depth.* lab-tools 3 cannot be imported\."):
        context_of(monkeypatch, found, "--lab-depth", "3")


def test_a_thousand_components(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [kind_of(name=f"made-{number}", Options=Sizes) for number in range(1_000)]
    began = time.process_time()
    found = registry_of("critic", lambda: kinds)
    context = context_of(monkeypatch, found, "--critic", "made-7", "--made-7-size", "9")
    assert settings_from(context)[0].options == {("critic", "made-7"): {"size": 9}}
    with pytest.raises(PluginError, match="Did you mean 'made-999'"):
        found.component("critic", "made-99x9")
    assert time.process_time() - began < 5.0, "linear, not quadratic"
