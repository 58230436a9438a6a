"""Options of critics, refiners and selectors on the command line of `refine-eval run`: added, read, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from refine_eval.errors import PluginError, UsageError, suggestion
from refine_eval.plugin.components import Component
from refine_eval.plugin.options import click_options, option_fields, parameter
from refine_eval.plugin.registry import DISABLE, Registered, Registry, registry
from refine_eval.runs.settings import RunSettings

# Kinds whose options are command-line options of their own; an engine's come through --model-args.
_KINDS_WITH_OPTIONS = ("critic", "refiner", "selector")
GIVEN = "refine_eval.given"
"""Under this name a context keeps the words that were typed."""


class RunCommand(click.Command):
    """Adds the options of all installed critics, refiners and selectors."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        taken = {flag for param in own for flag in (*param.opts, *param.secondary_opts)}
        return [*own, *_component_options(registry(), taken)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[GIVEN] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = [flag for param in self.get_params(ctx) for flag in param.opts]
            raise UsageError(
                f"No option is called {error.option_name}.{suggestion(error.option_name, known)} "
                f"See: refine-eval run --help"
            ) from error


def _component_options(registry: Registry, taken: set[str]) -> list[click.Option]:
    """The options of all components; PluginError where two have one, or one that the command has itself (`taken`)."""
    found: dict[str, Registered] = {}
    options = []
    for registered in _components(registry):
        component = _component(registered)
        for option in click_options(component):
            if clash := taken.intersection((*option.opts, *option.secondary_opts)):
                raise PluginError(
                    f"{registered.kind.capitalize()} {registered.name!r} of {registered.distribution} brings the "
                    f"option {min(clash)}, which the command has itself; its author must rename it. To go on without "
                    f"the plugin, name its entry point in {DISABLE}."
                )
            owner = found.setdefault(option.opts[0], registered)
            if owner is not registered:
                raise PluginError(
                    f"{owner.kind.capitalize()} {owner.name!r} of {owner.distribution} and {registered.kind} "
                    f"{registered.name!r} of {registered.distribution} both bring the option {option.opts[0]}; "
                    f"one of the authors must rename it."
                )
            options.append(option)
    return options


def _components(registry: Registry) -> list[Registered]:
    return [registered for kind in _KINDS_WITH_OPTIONS for registered in registry.all(kind)]


def _component(registered: Registered) -> type[Component]:
    assert isinstance(registered.item, type)
    return registered.item


def given_options(registry: Registry, parameters: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The components' options among click's parameters: those that were set, by component."""
    given: dict[tuple[str, str], dict[str, Any]] = {}
    for registered in _components(registry):
        component = _component(registered)
        for field in option_fields(component):
            value = parameters[parameter(component, field)]
            if value is not None:
                given.setdefault((registered.kind, registered.name), {})[field.name] = value
    return given


def check_selected(registry: Registry, settings: RunSettings) -> None:
    """An option of a component that takes no part would be ignored in silence: an error instead."""
    taking_part = {("critic", name) for name in (settings.when, settings.where, settings.choose)}
    taking_part |= {("refiner", name) for name in settings.refiners}
    taking_part |= {("selector", name) for name in settings.selectors}
    for kind, name in settings.options:
        component = registry.component(kind, name)
        if (kind, name) not in taking_part and not getattr(component, "always_reported", False):
            field = next(f for f in option_fields(component) if f.name in settings.options[kind, name])
            raise UsageError(
                f"{field.flag(component)} is an option of {kind} {name!r}, which takes no part in this run: "
                f"add --{kind} {name}, or leave the option out."
            )
