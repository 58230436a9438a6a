"""Texts that an option names: prompts as Jinja templates, in a sandbox and within bounds, and system texts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from refine_eval.errors import UsageError, first_line, suggestion
from refine_eval.files import expanded, read_file
from refine_eval.terminal import encodable, shown

_MOST_BYTES = 1_000_000
_MOST_CHARACTERS = 10_000_000
_FILTERS = frozenset({"first", "join", "last", "length", "lower", "trim", "upper"})
_TESTS = frozenset({"defined", "even", "none", "odd"})
_PARTS = frozenset(
    {"Add", "And", "Compare", "CondExpr", "Const", "Filter", "For", "Getattr", "Getitem", "If", "Name", "Neg", "Not"}
    | {"Operand", "Or", "Output", "Slice", "Sub", "Template", "TemplateData", "Test"}
)
"""What of Jinja a prompt may have: showing, testing and looping over what it is given, and counting."""


class PromptTemplate:
    """A prompt as a Jinja template: one of the `presets` by name, or a file.

    Whatever it says, it reads no file, calls nothing and ends: it may only show, test and loop over what it is given,
    and a loop inside another one only over what that one is at. `names` are those of the values that `render` will be
    given. UsageError, which calls the prompt by the user's `option`, where it asks for more or is no template.
    """

    def __init__(self, given: str, presets: Mapping[str, str], names: Collection[str], option: str) -> None:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self._called = f"{option} {shown(given)}"
        text = presets[given] if given in presets else self._read(given, presets)
        self.hash = hashlib.sha256(text.encode()).hexdigest()[:32]
        """Of the template's text."""
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        try:
            self._check(environment.parse(text), names)
            self._template = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"{self._called} is no template: line {error.lineno}: {first_line(error)}.") from error
        except RecursionError as error:
            raise UsageError(f"{self._called} is nested too deeply; write it flatter.") from error

    def render(self, **values: Any) -> str:
        """The prompt with these values in it. UsageError where it cannot be filled in with them."""
        parts, length = [], 0
        try:
            for part in self._template.generate(**values):
                parts.append(part)
                length += len(part)
                if length > _MOST_CHARACTERS:
                    raise UsageError(f"{self._called} makes a prompt of more than {_MOST_CHARACTERS:,} characters.")
        except UsageError:
            raise
        except Exception as error:  # whatever an expression does with a value that it does not fit
            raise UsageError(f"{self._called} cannot be filled in: {first_line(error)}.") from error
        return encodable("".join(parts))

    def _read(self, given: str, presets: Mapping[str, str]) -> str:
        path = expanded(given)
        if not os.path.isfile(path):
            raise UsageError(
                f"{self._called} is neither a file nor one of: {', '.join(presets)}.{suggestion(given, presets)}"
            )
        try:
            return read_file(path, _MOST_BYTES).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._called} cannot be read as UTF-8 text ({first_line(error)}).") from error

    def _check(self, tree: Any, names: Collection[str]) -> None:
        from jinja2 import meta

        for node in _nodes(tree):
            kind = type(node).__name__
            allowed = {"Filter": _FILTERS, "Test": _TESTS}.get(kind)
            hidden = kind == "Getattr" and node.attr.startswith("_")
            if kind not in _PARTS or hidden or (allowed is not None and node.name not in allowed):
                what = node.name if allowed is not None else f".{node.attr}" if hidden else kind.lower()
                raise UsageError(
                    f"{self._called} has {shown(what)} in line {node.lineno}, which no prompt may have: prompts show, "
                    f"test and loop over what they are given, with the filters {', '.join(sorted(_FILTERS))}."
                )
        self._check_loops(tree, None)
        if unknown := sorted(meta.find_undeclared_variables(tree) - set(names)):
            raise UsageError(
                f"{self._called} uses {shown(unknown[0])}, which it is not given.{suggestion(unknown[0], names)} It is "
                f"given: {', '.join(sorted(names))}."
            )

    def _check_loops(self, node: Any, item: set[str] | None) -> None:
        """A loop in a loop takes time in proportion to what is given only where it is over the outer one's item."""
        if type(node).__name__ == "For":
            if item is not None and not _variables(node.iter) <= item:
                raise UsageError(
                    f"{self._called} has a loop in a loop in line {node.lineno}, which may only be over the outer "
                    "one's item."
                )
            item = _variables(node.target)
        for child in node.iter_child_nodes():
            self._check_loops(child, item)


class CardText(str):
    """A system text that a model's card says: never a file's name, or a card could have any file of the user's read."""


def system_text(given: str | None, option: str = "--system-instruction") -> str | None:
    """What was given, or what stands in the file that one word names; UsageError where that cannot be read."""
    if given is None or any(character.isspace() for character in given):
        return given
    if isinstance(given, CardText):
        return str(given)
    place = expanded(given)
    if not os.path.isfile(place) and place.suffix not in (".txt", ".md"):
        return given
    try:
        return read_file(place, _MOST_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option} names the file {given}, which cannot be read ({error}).") from error


def _variables(node: Any) -> set[str]:
    return {each.name for each in _nodes(node) if type(each).__name__ == "Name"}


def _nodes(tree: Any) -> Iterator[Any]:
    yield tree
    for child in tree.iter_child_nodes():
        yield from _nodes(child)
