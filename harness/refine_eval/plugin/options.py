"""A component's Options, and settings, as command-line options; and Options made from what is given as text.

The field `threshold` of the critic `sorm` becomes `--sorm-threshold`; what a field says of itself is in `fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from refine_eval.errors import PluginError, UsageError, suggestion
from refine_eval.plugin.boundary import blamed, called
from refine_eval.plugin.components import Component
from refine_eval.plugin.fields import OptionField, declared, fields_of
from refine_eval.terminal import shown

__all__ = [
    "FieldOption",
    "OptionField",
    "click_options",
    "made",
    "make_options",
    "option_fields",
    "parameter",
    "read_settings",
    "setting_option",
    "setting_parameter",
]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S")
C = TypeVar("C", bound=Component)


def option_fields(component: type[Component]) -> list[OptionField]:
    """The options of a component; PluginError where a field has no default that fits or an unsupported type."""
    found = list(fields_of(component.Options))
    for each in found:
        if each.default is MISSING or each.kind in (type(None), Path):
            raise PluginError(
                f"Option {each.name!r} of {component.kind} {component.name!r} needs a default and one of the types "
                f"str, int, float, bool, Literal of texts, tuple[str, ...], dict[str, str]; its author must fix that."
            )
        if each.place_of and each.place_of not in {other.name for other in found}:
            raise PluginError(
                f"Option {each.name!r} of {component.kind} {component.name!r} is the place of {shown(each.place_of)}, "
                "which is no option; its author must fix that."
            )
        if (each.choices or each.limits) and each.default is not None:
            try:
                each.check(each.default, f"The default of {each.name!r} of {component.kind} {component.name!r}")
            except UsageError as error:
                raise PluginError(f"{error} Its author must fix that.") from error
    return found


class FieldOption(click.Option):
    """A command-line option of a field: its help shows the field's, and it refuses what the field refuses."""

    def __init__(self, declarations: list[str], field: OptionField, what: str, **attributes: Any) -> None:
        super().__init__(declarations, type=_click_type(field), **attributes)
        self.field, self.what = field, what

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """The value as the field's type; UsageError instead of click's own."""
        if value is None or self.field.kind is Path or (self.field.kind is bool and self.field.bare is None):
            return super().type_cast_value(ctx, value)
        return self.field.read(value, self.what)


def _click_type(field: OptionField) -> Any:
    """What click shows of a type: its name, range and choices."""
    if field.choices:
        return click.Choice(field.choices)
    low, open_ = (field.min, False) if field.above is None else (field.above, True)
    if field.limits and field.kind is int:
        return click.IntRange(low, field.max, min_open=open_)  # type: ignore[arg-type]  # bounds of ints are ints
    if field.limits and field.kind is float:
        return click.FloatRange(low, field.max, min_open=open_)
    if field.kind is Path:
        return click.Path(path_type=Path, file_okay=False)
    return str if field.kind in (tuple, dict) else field.kind


def parameter(component: type[Component], field: OptionField) -> str:
    """The click parameter name of a component's option."""
    return f"{component.name}__{field.name}".replace("-", "_")


def click_options(component: type[Component]) -> list[click.Option]:
    """Click options for all fields. Their click default is None: only what the user sets is passed on."""
    options: list[click.Option] = []
    for field in option_fields(component):
        flag = field.flag(component)
        shown = "+".join(field.default) if field.kind is tuple else field.default
        text = f"{field.help} [default: {shown}]" if shown not in (None, "", {}) else field.help
        declaration = f"{flag}/--no-{flag[2:]}" if field.kind is bool else flag
        options.append(
            FieldOption(
                [declaration, parameter(component, field)],
                field,
                _called(component, field),
                default=None,
                help=f"{component.name}: {text}",
            )
        )
    return options


def setting_parameter(setting: OptionField) -> str:
    """The click parameter of a setting; that of a truth that holds by default is a flag that takes it away."""
    return f"no_{setting.name}" if setting.default is True else setting.name


def setting_option(setting: OptionField) -> Callable[[F], F]:
    """A setting as a decorator of click commands. Where its help shows another default, the click default is None."""
    shown = setting.shown
    if shown is not None and setting.default:
        shown = shown.format(" and ".join(setting.default) if setting.kind is tuple else setting.default)
    attributes: dict[str, Any] = {"required": setting.default is MISSING, "metavar": setting.metavar}
    if setting.bare is not None:
        attributes |= {"is_flag": False, "flag_value": setting.bare}
    elif setting.kind is bool:
        attributes["is_flag"] = True
    elif shown is None and setting.default not in (MISSING, None):
        attributes |= {"default": setting.default, "show_default": True}
    return click.option(
        *(setting.flags or [setting.typed]),
        setting_parameter(setting),
        cls=FieldOption,
        # Only Python can say None: on the command line "none" may be a name.
        field=replace(setting, optional=False),
        what=setting.typed,
        multiple=setting.kind is tuple,
        help=(f"{setting.help} [default: {shown}]" if shown else setting.help) or None,
        **attributes,
    )


def read_settings(kind: type[S], given: Mapping[str, Any]) -> S:
    """A settings dataclass from click's parameters; what was not given takes its default."""
    values = {}
    for name, setting in declared(kind).items():
        value = given.get(setting_parameter(setting))
        if value is not None and value != ():
            values[name] = not value if setting.default is True else value
    return kind(**values)


def _called(component: type[Component], field: OptionField) -> str:
    return f"Option {field.name!r} of {component.kind} {component.name!r}"


def make_options(component: type[Component], values: Mapping[str, Any]) -> Any:
    """The component's Options with `values` set; UsageError names an unknown key or a value that does not fit."""
    known = {field.name: field for field in option_fields(component)}
    rest = next((field.name for field in known.values() if field.rest), None)
    read: dict[str, Any] = {rest: {}} if rest else {}
    for key, value in values.items():
        field = known.get(key.replace("-", "_"))
        if rest and (field is None or field.rest):
            read[rest][key] = str(value)
            continue
        if field is None:
            raise UsageError(
                f"{component.kind.capitalize()} {component.name!r} has no option {key!r}.{suggestion(key, known)} "
                f"See: refine-eval plugins show {component.name}"
            )
        if field.name in read:
            raise UsageError(f"{_called(component, field)} is given twice; remove one.")
        read[field.name] = field.read(value, _called(component, field))
    with blamed(component, "in its Options"):
        return component.Options(**read)


def made(kind: type[C], values: Mapping[str, Any]) -> C:
    """A component with these values as its options.

    PluginError where it cannot be made, UsageError for a value as `make_options` raises it.
    """
    options = make_options(kind, values)
    with blamed(kind, "in __init__"):
        component = kind(options)
        whole = isinstance(component, kind) and is_dataclass(getattr(component, "options", None))
    if not whole:
        raise PluginError(f"{called(kind)} has no options after __init__: it must call super().__init__(options).")
    return component
