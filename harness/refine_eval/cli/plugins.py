"""`refine-eval plugins`: what is installed, what it takes, and whether it keeps its contract."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from refine_eval.errors import UsageError
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.components import Component
from refine_eval.plugin.options import OptionField, make_options, option_fields
from refine_eval.plugin.registry import ALL_KINDS, KINDS, Registered, registry
from refine_eval.scaffold.package import KINDS as SCAFFOLDED
from refine_eval.scaffold.package import new_package
from refine_eval.terminal import print_listing, strip_control

_GOLD = "Sees the gold answers: an upper bound, not a method."


@click.group()
def plugins() -> None:
    """Installed critics, refiners, selectors, engines, trainers, benchmarks and recipes.

    For tasks see: refine-eval tasks list
    """


@plugins.command("list")
@click.option("--kind", type=click.Choice(ALL_KINDS), help="Only this kind. [default: all but benchmarks and recipes]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(kind: str | None, as_json: bool) -> None:
    """Lists plugins: name, kind, distribution, version, what it does."""
    found = [item for item in registry().all(kind) if kind or item.kind in KINDS]
    head = ["name", "kind", "distribution", "version"]
    rows = [[*(getattr(item, field) for field in head), _described(item)] for item in found]
    if as_json:
        click.echo(json.dumps([dict(zip([*head, "description"], row, strict=True)) for row in rows], indent=2))
    else:
        print_listing([*head, "what it does"], rows)


def _described(registered: Registered) -> str:
    if not isinstance(registered.item, Path):
        return registered.description
    from refine_eval.recipes.files import describe

    try:
        return describe(registered.item)
    except UsageError as error:  # one plugin's broken recipe does not hide the others
        return str(error)


@plugins.command()
@click.argument("name")
def show(name: str) -> None:
    """Shows what the plugin NAME does and its options with types and defaults."""
    for number, registered in enumerate(registry().named(name)):
        if number:
            click.echo()
        origin = f"{registered.kind} of {registered.distribution} {registered.version}"
        click.echo(f"{click.style(strip_control(registered.name), bold=True)}: {strip_control(origin)}")
        if isinstance(registered.item, Benchmark):
            _show_benchmark(registered.item)
        elif isinstance(registered.item, Path):
            _show_recipe(registered)
        else:
            _show_component(registered.item)


def _show_benchmark(benchmark: Benchmark) -> None:
    click.echo(f"\n{strip_control(benchmark.description)}\n")
    click.echo(f"data: {strip_control(benchmark.data)}")
    if benchmark.needs:
        click.echo(f"needs: {strip_control(benchmark.needs)}")
    if benchmark.student:
        click.echo(f"bundled student: {strip_control(str(benchmark.student))}")
    click.echo(f"lm-eval definition: {strip_control(str(benchmark.yaml))}")
    click.echo(f"Run it: refine-eval run --tasks {strip_control(benchmark.name)}")


def _show_recipe(registered: Registered) -> None:
    click.echo(f"\n{strip_control(_described(registered))}\n")
    click.echo(f"file: {strip_control(str(registered.item))}")
    click.echo(f"See what it would make: refine-eval recipe run {strip_control(registered.name)} --dry-run")


def _show_component(component: type[Component]) -> None:
    if component.needs_gold:
        click.echo(_GOLD)
    click.echo(f"\n{strip_control(_docstring(component))}\n")
    fields = option_fields(component)
    if not fields:
        click.echo("No options.")
        return
    click.echo(_how_to_set(component, fields))
    print_listing(
        ["option", "type", "default", "help"],
        [[_flag(component, field), _type(field), _default(field), field.help] for field in fields],
    )


def _docstring(component: type[Component]) -> str:
    text = component.__doc__
    return inspect.cleandoc(text) if isinstance(text, str) and text.strip() else "No description."


def _how_to_set(component: type[Component], fields: Sequence[OptionField]) -> str:
    """The head of the options: an engine's and a trainer's are not options of the command line themselves."""
    if component.kind == "engine":
        return "Options for --model-args name=value,name=value:"
    if component.kind == "trainer":
        return (
            f"Options for refine-eval train {strip_control(component.name)} --options name=value,name=value, "
            f"such as --options {fields[0].name}={_another(fields[0])}:"
        )
    return "Options for refine-eval run:"


def _another(field: OptionField) -> str:
    """A value to show how the option is given: of a switch the one that changes something."""
    return str(not field.default).lower() if field.kind is bool else _default(field)


def _flag(component: type[Component], field: OptionField) -> str:
    if field.rest:
        return "any other"
    return field.name if component.kind in ("engine", "trainer") else field.flag(component)


def _type(field: OptionField) -> str:
    forms: dict[type, str] = {tuple: "str+str+...", dict: "name=value,..."}
    plain = "|".join(field.choices) or f"{forms.get(field.kind, field.kind.__name__)} {field.limits}".rstrip()
    return f"{plain} or none" if field.optional else plain


def _default(field: OptionField) -> str:
    if field.kind is tuple:
        return "+".join(field.default)
    if field.kind is dict:
        return ",".join(f"{name}={value}" for name, value in field.default.items()) or "none"
    return "none" if field.default is None else str(field.default)


@plugins.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(SCAFFOLDED), required=True, help="What it brings.")
def new(name: str, kind: str) -> None:
    """Makes a package with a plugin called NAME, in the folder refine-eval-NAME.

    It can be installed, and keeps its contract, as it is: write into it what it is for.
    """
    folder = new_package(name, kind, Path.cwd(), registry())
    click.echo(f"The {kind} {name!r} is in {folder.name}. Install it and check it:")
    click.echo(f"    pip install -e {folder.name}\n    refine-eval plugins check {name}")


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
    from refine_eval.cli.session_options import plugins_print_to_stderr
    from refine_eval.testing import run_checks

    named = [item for item in registry().named(name) if kind in (None, item.kind)]
    found = [item for item in named if item.kind in KINDS]
    if named and not found:
        raise UsageError(f"{name!r} is a {named[0].kind}, which has no contract to check; only components have one.")
    if not found:
        raise UsageError(f"No {kind} is called {name!r}. See: refine-eval plugins show {name}")
    given = _values(pairs)
    # Where several kinds share the name, an option says which one is meant.
    found = [item for item in found if _knows(_component(item), given)] or found
    options = [(item, make_options(_component(item), given)) for item in found]
    failed = 0
    for item, values in options:
        click.echo(strip_control(f"{item.kind} {item.name} of {item.distribution} {item.version}"))
        with plugins_print_to_stderr():
            results = run_checks(_component(item), values)
        for result in results:
            mark = click.style("pass", fg="green") if result.passed else click.style("FAIL", fg="red", bold=True)
            click.echo(f"  {mark}  {result.name}: {result.description}")
            if not result.passed:
                failed += 1
                click.echo("        " + strip_control(result.message).replace("\n", "\n        "))
        passed = sum(result.passed for result in results)
        click.echo(f"{passed} of {len(results)} checks passed")
    click.get_current_context().exit(1 if failed else 0)


def _knows(component: type[Component], names: Iterable[str]) -> bool:
    fields = option_fields(component)
    known = {field.name for field in fields}
    return any(field.rest for field in fields) or all(name.replace("-", "_") in known for name in names)


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
