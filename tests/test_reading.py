"""YAML and JSON of others: read within bounds, as people mean it, or refused in words with the line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz import HOSTILE_VALUES, broken_bytes, deadline, fuzz
from hypothesis import strategies as st

from refine_eval.reading import MAX_DEPTH, MAX_VALUES, Unreadable, as_text, from_json, from_yaml, read_bytes

REPOSITORY = Path(__file__).parents[1]
BENCHMARKS = REPOSITORY / "benchmarks/refine_eval_benchmarks"
BUNDLED = sorted(path for folder in ("cookbook", "recipes", "suites") for path in BENCHMARKS.glob(f"{folder}/*.yaml"))


@pytest.mark.parametrize("path", BUNDLED, ids=[path.name for path in BUNDLED])
def test_bundled_files_read_as_before(path: Path) -> None:
    before = yaml.safe_load(path.read_text())
    # To YAML 1.1 the key `on` is a truth value; nothing else differs.
    for stage in before.get("stages", {}).values():
        if True in stage:
            stage["on"] = stage.pop(True)
    assert repr(_sorted(from_yaml(path.read_bytes()))) == repr(_sorted(before))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, word) for word in ("on", "off", "yes", "no", "On", "NO", "y", "n")),
        *((word, word) for word in ("1_000", "017", "0o17", "0b11", "12:30:00", "12:30", "2024-01-31", "1e-5", "1e5")),
        *((word, word) for word in ("1_0.5", "1:30.5", "0129", "=", ".", "+", "1.2.3", "0x", "NaN", "inf")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("null", "~", "Null", "NULL", "")),
        *(("12", 12), ("-3", -3), ("+3", 3), ("0", 0), ("0x1F", 31), ("1.5", 1.5), ("-0.5", -0.5), ("1.0e-5", 1e-5)),
        *((".5", 0.5), ("5.", 5.0), (".inf", float("inf")), ("-.inf", float("-inf"))),
        *(("'12'", "12"), ('"true"', "true"), ("'on'", "on")),
    ],
)
def test_a_word_is_a_number_only_where_both_versions_of_yaml_say_so(word: str, value: Any) -> None:
    read = from_yaml(f"a: {word}")["a"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_the_words_that_stand_there() -> None:
    assert from_yaml("{on: 1, 3: 2, 1.50: 3, null: 4, true: 5, 2024-01-31: 6}") == {
        **{"on": 1, "3": 2, "1.50": 3},
        **{"null": 4, "true": 5, "2024-01-31": 6},
    }


BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))])
MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))])


REFUSED = [
    (BOMB, f"line 14: more than {MAX_VALUES:,} values, those that aliases repeat among them"),
    (MERGES, f"more than {MAX_VALUES:,} values"),
    ("a: &a [*a]", "line 1: a value that holds itself"),
    ("a: &a {b: {c: *a}}", "line 1: a value that holds itself"),
    ("a:\n  b: " + "[" * 100_000, f"line 2: nested more than {MAX_DEPTH} deep"),
    ("- " * 5_000, f"line 1: nested more than {MAX_DEPTH} deep"),
    ("\n".join("  " * n + f"k{n}:" for n in range(500)), "line 50: nested more than"),
    ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice; remove one"),
    ("a: {x_y: 1, x-y: 2}", "line 1: 'x-y' is given twice; remove one"),
    ("a: {3: 1, '3': 2}", "line 1: '3' is given twice; remove one"),
    ("a: 1\nb: !!python/object/apply:os.system [true]", "line 2: the tag"),
    ("a: !!str 12", "line 1: the tag 'tag:yaml.org,2002:str' is not read; quote what is a text"),
    ("? [a, b]\n: c", "line 1: a key that is a list or a mapping"),
    ('a: "x\\0y"', "line 1: a NUL character, which no name or path can have"),
    ("a: " + "9" * 5_000, "line 1: a number that cannot be read"),
    ("a: 1\n---\nb: 2", "line 2: it cannot be read as YAML: but found another document"),
    ("a: b: c", "line 1: it cannot be read as YAML: mapping values are not allowed here"),
    ("a: [1,\n", "line 2: "),
    ("a: *b", "line 1: it cannot be read as YAML: found undefined alias 'b'"),
    ("a:\n\tb: 1", "line 2: "),
    ("a: 1\nb: \x07", "line 2: it has the character U+0007, which no YAML can have"),
    ("a: 1\nb: \ud83d", "line 2: it has the character U+D83D"),
    ("<<: 3", "line 1: "),
]


@pytest.mark.parametrize(("content", "says"), REFUSED)
def test_what_is_refused_says_where_and_why(content: str, says: str) -> None:
    with deadline(), pytest.raises(Unreadable) as raised:
        from_yaml(content)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("content", "says"), REFUSED)
def test_what_is_written_here_has_the_same_bounds(content: str, says: str) -> None:
    if "x_y" in content or "'3'" in content:  # two keys to YAML 1.1, and to the command line one
        return
    with deadline(), pytest.raises(Unreadable) as raised:
        from_yaml(content, written_here=True)
    if "read as YAML" not in says and "\ud83d" not in content:  # libyaml has words of its own for what is no YAML
        assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bytes_are_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes("\ufeffa: é\r\nb: 1\r\n".encode())
    assert from_yaml(read_bytes(path)) == {"a": "é", "b": 1}
    assert from_yaml(b"") is None
    with pytest.raises(Unreadable, match="line 2: it cannot be read: it is not UTF-8 text; save it as UTF-8"):
        as_text("a: 1\nb: é".encode("latin-1"))
    with pytest.raises(Unreadable, match="line 1: it cannot be read: it is not UTF-8"):
        from_yaml("a: 1".encode("utf-16"))
    path.write_bytes(b"#" * 600_000)
    with pytest.raises(Unreadable, match="it has more than 500,000 bytes"):
        read_bytes(path)
    with pytest.raises(Unreadable, match="a character that no path can have"):
        read_bytes(Path("a\0b"))


def test_aliases_and_merges_that_people_use_are_read() -> None:
    text = "base: &base {seed: 1, limit: 3}\nruns: {a: {<<: *base, seed: 2}, b: *base}"
    assert from_yaml(text)["runs"] == {"a": {"seed": 2, "limit": 3}, "b": {"seed": 1, "limit": 3}}


def test_what_is_written_here_is_read_as_it_was_written() -> None:
    values = [
        "on",
        "1e-5",
        "0o17",
        "12:30",
        "017",
        "1_000",
        "2024-01-31",
        "~",
        "",
        "y",
        1e-5,
        1e22,
        17,
        None,
        True,
        0.1,
    ]
    assert from_yaml(yaml.safe_dump({"values": values}), written_here=True) == {"values": values}


JSON = b'{"question": "How many?", "samples": [{"text": "#### 7", "right": true, "tokens": 3}], "share": 0.5}'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "nested more than 50 deep"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ('{"a": NaN}', "NaN is no number that can be read"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e999}', "1e999 is no number"),
        ("9" * 5_000, "a number of too many digits"),
        ("{'a': 1}", "Expecting property name enclosed in double quotes at column 2"),
        ("", "Expecting value at column 1"),
        (b'{"a": "\xff"}', "it is not UTF-8 text"),
    ],
)
def test_json_is_refused_in_words(content: str | bytes, says: str) -> None:
    with pytest.raises(Unreadable) as raised:
        from_json(content)
    assert says in str(raised.value)


def test_json_is_read() -> None:
    assert from_json(b"\xef\xbb\xbf" + JSON)["samples"][0]["right"] is True


YAML = b"""description: Two runs.
every: {tasks: apples, seed: 0, refiner: [local, global]}
base: &base {limit: 5, share: 0.5}
runs:
  first: {<<: *base, model-args: {path: a.jsonl}}
  second: *base
"""


@fuzz(content=broken_bytes(YAML))
def test_damaged_yaml_is_read_or_refused(content: bytes) -> None:
    read_or_refused(content, from_yaml)
    read_or_refused(content, partial(from_yaml, written_here=True))


@fuzz(content=broken_bytes(JSON))
def test_damaged_json_is_read_or_refused(content: bytes) -> None:
    read_or_refused(content, from_json)


@fuzz(value=st.recursive(HOSTILE_VALUES, lambda inner: st.lists(inner, max_size=3)))
def test_whatever_safe_dump_writes_is_read_again(value: Any) -> None:
    try:
        content = yaml.safe_dump({"value": value}, allow_unicode=True)
        content.encode()
    except (ValueError, RecursionError):
        return
    try:
        read = from_yaml(content, written_here=True)
    except Unreadable:
        return
    assert repr(read) == repr(yaml.safe_load(content))


def read_or_refused(content: bytes, read: Callable[[bytes], object]) -> None:
    try:
        read(content)
    except Unreadable as error:
        assert_sentence(str(error))


def assert_sentence(said: str) -> None:
    assert said.strip()
    assert "\n" not in said
    assert len(said) < 400
