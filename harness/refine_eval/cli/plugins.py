"""`refine-eval plugins`: what is installed, what it takes, and whether it keeps its contract."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence

import click

from refine_eval.errors import UsageError
from refine_eval.plugin.components import Component
from refine_eval.plugin.options import OptionField, make_options, option_fields
from refine_eval.plugin.registry import KINDS, Registered, registry
from refine_eval.terminal import print_listing, strip_control

_GOLD = "Sees the gold answers: an upper bound, not a method."


@click.group()
def plugins() -> None:
    """The critics, refiners, selectors and engines that are installed. For tasks see: refine-eval tasks list"""


@plugins.command("list")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(kind: str | None, as_json: bool) -> None:
    """Lists plugins: name, kind, distribution, version, what it does."""
    found = [item for item in registry().all(kind) if item.kind in KINDS]
    if as_json:
        fields = ("name", "kind", "distribution", "version", "description")
        click.echo(json.dumps([{name: getattr(item, name) for name in fields} for item in found], indent=2))
        return
    print_listing(
        ["name", "kind", "distribution", "version", "what it does"],
        [[item.name, item.kind, item.distribution, item.version, item.description] for item in found],
    )


@plugins.command()
@click.argument("name")
def show(name: str) -> None:
    """Shows what the plugin NAME does and its options with types and defaults."""
    for number, registered in enumerate(registry().named(name)):
        if number:
            click.echo()
        _show(registered)


def _show(registered: Registered) -> None:
    component = _component(registered)
    origin = f"{registered.kind} of {registered.distribution} {registered.version}"
    click.echo(f"{click.style(strip_control(registered.name), bold=True)}: {strip_control(origin)}")
    if component.needs_gold:
        click.echo(_GOLD)
    click.echo(f"\n{strip_control(inspect.cleandoc(component.__doc__ or 'No description.'))}\n")
    fields = option_fields(component)
    if not fields:
        click.echo("No options.")
        return
    how = "for --model-args name=value,name=value" if registered.kind == "engine" else "for refine-eval run"
    click.echo(f"Options {how}:")
    print_listing(
        ["option", "type", "default", "help"],
        [[_flag(component, field), _type(field), _default(field), field.help] for field in fields],
    )


def _flag(component: type[Component], field: OptionField) -> str:
    if field.rest:
        return "any other"
    return field.name if component.kind == "engine" else field.flag(component)


def _type(field: OptionField) -> str:
    forms: dict[type, str] = {tuple: "str+str+...", dict: "name=value,..."}
    plain = forms.get(field.kind, field.kind.__name__)
    return f"{plain} or none" if field.optional else plain


def _default(field: OptionField) -> str:
    if field.kind is tuple:
        return "+".join(field.default)
    if field.kind is dict:
        return ",".join(f"{name}={value}" for name, value in field.default.items()) or "none"
    return "none" if field.default is None else str(field.default)


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Which one, where several kinds share the name.")
@click.option(
    "--option",
    "-o",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Check with this option set; may be given more than once.",
)
def check(name: str, kind: str | None, pairs: Sequence[str]) -> None:
    """Runs the contract checks on the plugin NAME and says which fail and why; exits with 1 if any does."""
    from refine_eval.testing import run_checks

    # A trainer has no contract of its own: what it makes is held to `Lesson`, and what is trained is a model.
    found = [item for item in registry().named(name) if kind in (None, item.kind) and item.kind != "trainer"]
    if not found:
        raise UsageError(f"No {kind} is called {name!r}. See: refine-eval plugins show {name}")
    options = [(item, make_options(_component(item), _values(pairs))) for item in found]
    failed = 0
    for item, values in options:
        click.echo(strip_control(f"{item.kind} {item.name} of {item.distribution} {item.version}"))
        results = run_checks(_component(item), values)
        for result in results:
            mark = click.style("pass", fg="green") if result.passed else click.style("FAIL", fg="red", bold=True)
            click.echo(f"  {mark}  {result.name}: {result.description}")
            if not result.passed:
                failed += 1
                click.echo("        " + strip_control(result.message).replace("\n", "\n        "))
        passed = sum(result.passed for result in results)
        click.echo(f"{passed} of {len(results)} checks passed")
    sys.exit(1 if failed else 0)


def _values(pairs: Sequence[str]) -> dict[str, str]:
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--option takes NAME=VALUE; {pair!r} is not of that form.")
        values[name.strip()] = value.strip()
    return values


def _component(registered: Registered) -> type[Component]:
    assert isinstance(registered.item, type)
    return registered.item
