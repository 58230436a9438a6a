"""Options of critics, refiners and selectors on the command line of `refine-eval run`: added, read, and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click

from refine_eval.errors import PluginError, UsageError, suggestion
from refine_eval.plugin.components import Component
from refine_eval.plugin.making import names_with_members
from refine_eval.plugin.options import click_options, option_fields, parameter
from refine_eval.plugin.pairs import as_text
from refine_eval.plugin.registry import DISABLE, Registered, Registry, registry
from refine_eval.runs.settings import RunSettings
from refine_eval.terminal import shown

# Kinds whose options are command-line options of their own; an engine's come through --model-args.
_KINDS_WITH_OPTIONS = ("critic", "refiner", "selector")
GIVEN = "refine_eval.given"
"""Under this name a context keeps the words that were typed."""


class RunCommand(click.Command):
    """Adds the options of all installed critics, refiners and selectors, or of some of these `kinds`."""

    kinds: Sequence[str] = _KINDS_WITH_OPTIONS

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        options, _ = _component_options(registry(), own, self.kinds)
        return [*own, *options]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[GIVEN] = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = [flag for param in self.get_params(ctx) for flag in param.opts]
            broken = f" It may be of a plugin that is broken. {registry().left_out}" if registry().left_out else ""
            raise UsageError(
                f"No option is called {error.option_name}.{suggestion(error.option_name, known)} "
                f"See: refine-eval run --help{broken}"
            ) from error


def _component_options(
    registry: Registry, own: Sequence[click.Parameter], kinds: Sequence[str] = _KINDS_WITH_OPTIONS
) -> tuple[list[click.Option], dict[tuple[str, str], PluginError]]:
    """The options of all components, and why some components have none.

    A component has none where one of its options is another's, too, or one of the command's `own`: who does not use it
    is not disturbed, and who does is told.
    """
    command = {word for param in own for word in _words(param)}
    offered = [
        (registered, option)
        for registered in _components(registry, kinds)
        for option in click_options(_component(registered))
    ]
    owners: dict[str, dict[str, Registered]] = {}
    for registered, option in offered:
        for word in _words(option):
            owners.setdefault(word, {})[f"{registered.kind} {registered.name}"] = registered
    refused: dict[tuple[str, str], PluginError] = {}
    for registered, option in offered:
        clash = sorted(command.intersection(_words(option)), reverse=True)  # flags before the parameter's name
        if clash:
            refused[registered.kind, registered.name] = PluginError(
                f"{registered.kind.capitalize()} {registered.name!r} of {registered.distribution} brings the option "
                f"{option.opts[0]}, which the command has itself, of refine-eval; its author must rename it. To go on "
                f"without the plugin, name its entry point in {DISABLE}."
            )
        others = [each for word in _words(option) for each in owners[word].values() if each is not registered]
        if others and not clash:
            one, other = sorted((registered, others[0]), key=lambda each: (each.kind, each.name))
            refused.setdefault(
                (registered.kind, registered.name),
                PluginError(
                    f"{one.kind.capitalize()} {one.name!r} of {one.distribution} and {other.kind} {other.name!r} of "
                    f"{other.distribution} both bring the option {option.opts[0]}; one of the authors must rename it."
                ),
            )
    return [option for each, option in offered if (each.kind, each.name) not in refused], refused


def _words(param: click.Parameter) -> set[str]:
    """What an option is known by: its flags, and the name of its value."""
    return {*param.opts, *param.secondary_opts, str(param.name)}


def _components(registry: Registry, kinds: Sequence[str]) -> list[Registered]:
    return [registered for kind in kinds for registered in registry.all(kind)]


def _component(registered: Registered) -> type[Component]:
    assert isinstance(registered.item, type)
    return registered.item


def given_options(
    registry: Registry, parameters: Mapping[str, Any], kinds: Sequence[str] = _KINDS_WITH_OPTIONS
) -> dict[tuple[str, str], dict[str, Any]]:
    """The components' options among click's parameters: those that were set, by component."""
    given: dict[tuple[str, str], dict[str, Any]] = {}
    for registered in _components(registry, kinds):
        component = _component(registered)
        for field in option_fields(component):
            value = parameters.get(parameter(component, field))  # none where its option is another's, too
            if value is not None:
                given.setdefault((registered.kind, registered.name), {})[field.name] = value
    return given


def check_selected(registry: Registry, settings: RunSettings, command: click.Command) -> None:
    """`check_taking_part` for a run's critics, refiners and selectors."""
    critics = names_with_members((settings.when, settings.where, settings.choose), settings.options, registry)
    taking_part = {("critic", name) for name in critics}
    taking_part |= {("refiner", name) for name in settings.refiners}
    taking_part |= {("selector", name) for name in settings.selectors}
    check_taking_part(registry, settings, command, taking_part)


def check_taking_part(
    registry: Registry, settings: RunSettings, command: click.Command, taking_part: Collection[tuple[str, str]]
) -> None:
    """UsageError for an option of a component that takes no part: it would be ignored in silence.

    PluginError for a component that takes part, and whose options are another's, too.
    """
    kinds = command.kinds if isinstance(command, RunCommand) else _KINDS_WITH_OPTIONS
    _, refused = _component_options(registry, command.params, kinds)
    for key, error in refused.items():
        if key in taking_part:
            raise error
    for kind, name in settings.options:
        component = registry.component(kind, name)
        if (kind, name) not in taking_part and not getattr(component, "always_reported", False):
            field = next(f for f in option_fields(component) if f.name in settings.options[kind, name])
            raise UsageError(
                f"{field.flag(component)} is an option of {kind} {name!r}, which takes no part in this run: "
                f"add --{kind} {name}, or leave the option out."
            )


def typed_options(command: click.Command, options: Mapping[str, Any]) -> dict[str, click.Parameter]:
    """The parameters of a command that options of a YAML file set, by their names there."""
    params = {flag: param for param in command.get_params(click.Context(command)) for flag in param.opts}
    return {name: params[f"--{name}"] for name in options if f"--{name}" in params}


def check_values(typed: Mapping[str, click.Parameter], options: Mapping[str, Any]) -> None:
    """UsageError for options of a YAML file whose words the command line would take for something else.

    That is a flag with a value and true or false where there is no flag (the value would be another argument, or the
    next option's name the value of this one), a list where one value is wanted (the last would be taken), and an empty
    text.
    """
    for name, param in typed.items():
        flag = isinstance(param, click.Option) and param.is_flag
        value = options[name]
        if isinstance(value, list) and len(value) > 1 and not (param.multiple or name in ("task", "tasks")):
            raise UsageError(f"{name} is {shown(value)}, and takes one value.")
        for item in value if isinstance(value, list) else [value]:
            if flag and not (item is None or isinstance(item, bool)):
                raise UsageError(f"{name} is {shown(item)}, and can be true or false only.")
            if not flag and isinstance(item, bool):
                raise UsageError(f"{name} is {as_text(item)}, as only a flag can be; give it a value.")
            if item == "":
                raise UsageError(f"{name} is an empty text; give it a value, or leave it out.")
