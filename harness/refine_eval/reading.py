"""YAML and JSON of others, read within bounds: what cannot be read is an Unreadable, which says where and why.

YAML is read as people write it. A plain word is a number, a truth value or null only where YAML 1.1 and YAML 1.2 agree
that it is; `on`, `no`, `1_000`, `017`, `12:30` and `2024-01-31` are the texts that stand there, as are all keys. Where
a number is wanted, the text is read as one by what wants it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

MAX_YAML_BYTES = 500_000
MAX_DEPTH = 50
MAX_VALUES = 50_000
"""Values of a file, those that aliases repeat counted each time."""

_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


class Unreadable(ValueError):
    """What is wrong with a file's content, as part of a sentence, and its line, from 1, where one is to blame."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(f"line {line}: {why}" if line else why)
        self.why, self.line = why, line

    def of(self, path: Path) -> str:
        """The sentence with the file."""
        return f"{path}, line {self.line}: {self.why}." if self.line else f"{path} cannot be read: {self.why}."


class _Refused(yaml.MarkedYAMLError):
    """A document that is YAML, and is refused."""


def read_bytes(path: Path, most: int = MAX_YAML_BYTES) -> bytes:
    """A file's content; OSError where it cannot be read, Unreadable where it has more than `most` bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except ValueError as error:  # a path with a NUL
        raise Unreadable("its path has a character that no path can have") from error
    if len(content) > most:
        raise Unreadable(f"it has more than {most:,} bytes")
    return content


def as_text(content: bytes) -> str:
    """UTF-8 bytes as text, without a byte order mark; Unreadable for other encodings."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(
            "it cannot be read: it is not UTF-8 text; save it as UTF-8", content.count(b"\n", 0, error.start) + 1
        ) from error


def from_yaml(content: bytes | str, *, written_here: bool = False) -> Any:
    """The value of a YAML document, None of an empty one.

    Refused are documents that are too large, too deep or grow by their aliases, tags, keys that are no single word or
    are given twice in one mapping (`a_b` and `a-b` are one: to the command line they are), and NUL characters. What is
    `written_here`, by yaml.safe_dump, is read by YAML 1.1, as it was written.
    """
    text = content if isinstance(content, str) else as_text(content)
    try:
        return (_Written if written_here else _Typed)(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(str(error.problem or error.context).split())[:200]
        why = said if isinstance(error, _Refused) else f"it cannot be read as YAML: {said}"
        raise Unreadable(why, mark.line + 1 if mark else None) from error
    except yaml.reader.ReaderError as error:
        # Its position is one of bytes or of characters, depending on the parser.
        line = text.count("\n", 0, text.find(chr(error.character))) + 1
        raise Unreadable(f"it has the character U+{error.character:04X}, which no YAML can have", line) from error
    except Exception as error:  # PyYAML's scanner and constructors raise whatever chr(), int() or a date does
        raise Unreadable(f"it has a value that cannot be read ({type(error).__name__})") from error


class _Bounded(Composer, SafeConstructor, Resolver):
    """SafeLoader within bounds, which says what it refuses; what parses is a subclass's."""

    def __init__(self) -> None:
        for part in (Composer, SafeConstructor, Resolver):
            part.__init__(self)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        return None if node is None else self.construct_document(node)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[attr-defined]  # the parser's
        if getattr(event, "tag", None) is not None:
            _refuse(f"the tag {event.tag[:40]!r} is not read; quote what is a text, and leave tags out", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _refuse(f"nested more than {MAX_DEPTH} deep", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self._sizes[id(node)] = self._size(node)
            self._count += 1
            if max(self._count, self._sizes[id(node)]) > MAX_VALUES:
                _refuse(f"more than {MAX_VALUES:,} values, those that aliases repeat among them", event)
        elif id(node) not in self._sizes:
            _refuse("a value that holds itself", event)
        return node

    def _size(self, node: Any) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        inner = node.value if isinstance(node, yaml.SequenceNode) else [value for _, value in node.value]
        return 1 + sum(1 + self._sizes[id(each)] for each in inner)

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if "\0" in node.value:
            _refuse("a NUL character, which no name or path can have", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for number, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode):
                _refuse("a key that is a list or a mapping", key)
            name = self.same(key.value)
            if name in seen:
                _refuse(f"{key.value[:60]!r} is given twice; remove one", key)
            seen.add(name)
            node.value[number] = (self.key(key), value)
        return node

    def same(self, key: str) -> str:
        """Keys for which this is equal are one key."""
        return key

    def key(self, node: Any) -> Any:
        """A key as it is constructed."""
        return node

    def construct_yaml_int(self, node: Any) -> int:
        """SafeLoader's; an error of the file where Python refuses to read so many digits."""
        try:
            return int(super().construct_yaml_int(node))
        except ValueError:
            _refuse("a number that cannot be read", node)


class _Typed(_Bounded, Reader, Scanner, Parser):
    """Reads what people typed; PyYAML's own parser says best what is wrong with it."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        _Bounded.__init__(self)

    def same(self, key: str) -> str:
        return key.replace("_", "-")

    def key(self, node: Any) -> Any:
        if node.tag in (_STR, _MERGE):
            return node
        return yaml.ScalarNode(_STR, node.value, node.start_mark, node.end_mark, node.style)


if yaml.__with_libyaml__:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    class _Written(_Bounded, CParser):
        """Reads what yaml.safe_dump wrote, with libyaml's parser, which is five times as fast."""

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            _Bounded.__init__(self)

else:

    class _Written(_Bounded, Reader, Scanner, Parser):  # type: ignore[no-redef]
        """Reads what yaml.safe_dump wrote."""

        __init__ = _Typed.__init__


_Bounded.add_constructor("tag:yaml.org,2002:int", _Bounded.construct_yaml_int)  # type: ignore[type-var]
_WORDS: list[tuple[str, str, str]] = [
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("merge", r"<<", "<"),
]
_Typed.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in _WORDS:
    _starts = ["" if letter == "\0" else letter for letter in _first]
    _Typed.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), _starts)


def _refuse(why: str, at: Any) -> NoReturn:
    raise _Refused(problem=why, problem_mark=at.start_mark)


def from_json(content: bytes | str) -> Any:
    """A JSON value; Unreadable for what is none, a key given twice, NaN, an infinite number, and too deep nesting."""
    try:
        found = _JSON.decode(content if isinstance(content, str) else content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unreadable("it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise Unreadable(f"{error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except Unreadable:
        raise
    except ValueError as error:  # int() takes so many digits and no more
        raise Unreadable("it has a number of too many digits") from error
    _check_depth(found)
    return found


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise Unreadable(f"it is nested more than {MAX_DEPTH} deep")
        holders = [each for each in level if isinstance(each, dict | list)]
        level = [inner for each in holders for inner in (each.values() if isinstance(each, dict) else each)]


def _no_key_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Unreadable(f"the key {twice[:60]!r} is given twice")
    return found


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Unreadable(f"{digits[:40]} is no number that can be read")
    return value


_JSON = json.JSONDecoder(object_pairs_hook=_no_key_twice, parse_constant=_finite, parse_float=_finite)
