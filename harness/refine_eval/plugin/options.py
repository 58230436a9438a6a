"""A component's Options dataclass -> command-line options, `k=v` pairs, YAML keys and run records.

A field `threshold: float = field(default=0.5, metadata={"help": "..."})` of the critic `sorm` becomes the option
`--sorm-threshold FLOAT`. Supported types: str, int, float, bool, each also `| None`, tuple[str, ...] (on the
command line `a+b+c`) and dict[str, str] (`name=value,name=value`). A dict field with the metadata `"rest": True` takes
every name that is no field of its own, for engines that pass options on to somebody else's.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import click

from refine_eval.errors import PluginError, UsageError, nearest
from refine_eval.plugin.components import Component
from refine_eval.plugin.pairs import parse_pairs

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionField:
    """One field of an Options dataclass; `kind` is its plain type: str, int, float, bool, tuple or dict."""

    name: str
    kind: type
    optional: bool
    default: Any
    help: str
    rest: bool = False

    def flag(self, component: type[Component]) -> str:
        """The option's name on the command line: "--sorm-threshold"."""
        return f"--{component.name}-{self.name.replace('_', '-')}"

    def coerce(self, value: Any) -> Any:
        """`value` (text, or already of the type) as the field's type; ValueError where it does not fit."""
        if value is None or (self.optional and isinstance(value, str) and value.lower() in ("none", "")):
            if self.optional:
                return None
            raise ValueError("needs a value")
        if self.kind is tuple:
            return tuple(value.split("+")) if isinstance(value, str) else tuple(str(item) for item in value)
        if self.kind is dict:
            pairs = parse_pairs(value) if isinstance(value, str) else value
            return {str(key): str(item) for key, item in pairs.items()}
        if self.kind is bool:
            return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
        if self.kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError("not a whole number")
        return self.kind(value)


def option_fields(component: type[Component]) -> list[OptionField]:
    """The options of a component; PluginError where a field has no default or an unsupported type."""
    hints = typing.get_type_hints(component.Options)
    found = []
    for field in fields(component.Options):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        kind, optional = _plain_type(hints[field.name])
        if default is MISSING or kind is None:
            raise PluginError(
                f"Option {field.name!r} of {component.kind} {component.name!r} needs a default and one of the types "
                f"str, int, float, bool, tuple[str, ...], dict[str, str]; its author must mend that."
            )
        found.append(
            OptionField(
                name=field.name,
                kind=kind,
                optional=optional,
                default=default,
                help=field.metadata.get("help", ""),
                rest=field.metadata.get("rest", False),
            )
        )
    return found


def _plain_type(hint: Any) -> tuple[type | None, bool]:
    arguments = typing.get_args(hint)
    optional = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    if optional:
        rest = [argument for argument in arguments if argument is not type(None)]
        return (_plain_type(rest[0])[0], True) if len(rest) == 1 else (None, True)
    if typing.get_origin(hint) is tuple and arguments == (str, ...):
        return tuple, False
    if typing.get_origin(hint) is dict and arguments == (str, str):
        return dict, False
    return (hint, False) if hint in (str, int, float, bool) else (None, False)


def parameter(component: type[Component], field: OptionField) -> str:
    """The click parameter name of a component's option."""
    return f"{component.name}__{field.name}".replace("-", "_")


def click_options(component: type[Component]) -> list[click.Option]:
    """Click options for all fields. Their click default is None: only what the user sets is passed on."""
    options = []
    for field in option_fields(component):
        flag = field.flag(component)
        shown = "+".join(field.default) if field.kind is tuple else field.default
        text = f"{field.help} [default: {shown}]" if shown not in (None, "", {}) else field.help
        kind = str if field.kind in (tuple, dict) else field.kind
        declaration = f"{flag}/--no-{flag[2:]}" if field.kind is bool else flag
        options.append(
            click.Option(
                [declaration, parameter(component, field)], type=kind, default=None, help=f"{component.name}: {text}"
            )
        )
    return options


def make_options(component: type[Component], values: Mapping[str, Any]) -> Any:
    """The component's Options with `values` set; UsageError names an unknown key or a value that does not fit."""
    known = {field.name: field for field in option_fields(component)}
    rest = next((field.name for field in known.values() if field.rest), None)
    coerced: dict[str, Any] = {rest: {}} if rest else {}
    for key, value in values.items():
        field = known.get(key.replace("-", "_"))
        if rest and (field is None or field.rest):
            coerced[rest][key] = str(value)
            continue
        if field is None:
            raise UsageError(
                f"{component.kind.capitalize()} {component.name!r} has no option {key!r}.{nearest(key, known)} "
                f"See: refine-eval plugins show {component.name}"
            )
        try:
            coerced[field.name] = field.coerce(value)
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"Option {field.name!r} of {component.kind} {component.name!r} must be "
                f"{field.kind.__name__}, not {value!r}."
            ) from error
    return component.Options(**coerced)
