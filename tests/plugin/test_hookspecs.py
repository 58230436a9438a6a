"""Every hook, every runtime method and every option of a bundled component is documented."""

import inspect
from pathlib import Path

import pluggy
import pytest

from refine_eval.plugin import hookspecs
from refine_eval.plugin.components import Component
from refine_eval.plugin.options import option_fields
from refine_eval.plugin.registry import KINDS, registry
from refine_eval.plugin.runtime import Runtime

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = (DOCS / "guides" / "your-critic.md").read_text()

HOOKS = [name for name in vars(hookspecs) if name.startswith("refine_eval_")]
RUNTIME = [name for name in (*Runtime.__annotations__, *vars(Runtime)) if not name.startswith("_")]


def test_each_hook_is_a_hook() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    assert sorted(HOOKS) == sorted(vars(manager.hook).keys() - {"_plugins"})
    assert {f"refine_eval_{kind}s" for kind in (*KINDS, "benchmark", "recipe")} == set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_is_documented(name: str) -> None:
    text = inspect.getdoc(getattr(hookspecs, name)) or ""
    assert "Called" in text
    assert "Since" in text
    assert "Example:" in text
    assert f"`{name}`" in TUTORIAL


@pytest.mark.parametrize("name", RUNTIME)
def test_what_the_runtime_offers_is_documented(name: str) -> None:
    assert f"`runtime.{name}" in TUTORIAL


@pytest.mark.parametrize(
    "name", ["name", "Options", "needs_gold", "stored", "always_reported", "decides_on_draft_alone"]
)
def test_class_attributes_are_documented(name: str) -> None:
    assert f"`{name}" in TUTORIAL


def test_each_option_of_a_bundled_component_has_a_help_text() -> None:
    bundled = [item.item for item in registry().all() if item.distribution == "refine-eval" and item.kind in KINDS]
    without = []
    for component in bundled:
        assert isinstance(component, type)
        assert issubclass(component, Component)
        without += [f"{component.name}.{option.name}" for option in option_fields(component) if not option.help]
    assert without == []
