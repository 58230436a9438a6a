"""Prompts of anybody: what they may do, and one sentence for each that may not."""

from pathlib import Path

import pytest

from refine_eval.errors import UsageError
from refine_eval.plugin.templates import PromptTemplate

NAMES = ("question", "steps", "first_bad")


def made(text: str, tmp_path: Path) -> PromptTemplate:
    path = tmp_path / "mine.j2"
    path.write_text(text)
    return PromptTemplate(str(path), {}, NAMES, "--my-prompt")


def test_presets_and_files_are_filled_in(tmp_path: Path) -> None:
    text = (
        "{{ question }}\n{% for step in steps %}{{ loop.index }}: {{ step | trim }}\n{% endfor %}{{ steps | length }}\n"
    )
    preset = PromptTemplate("mine", {"mine": text}, NAMES, "--my-prompt")
    file = made(text, tmp_path)
    values = {"question": "{{ 1 }} <b>", "steps": (" a", "b "), "first_bad": None}
    assert preset.render(**values) == file.render(**values) == "{{ 1 }} <b>\n1: a\n2: b\n2\n"
    assert preset.hash == file.hash != made(text + " ", tmp_path).hash


def test_a_loop_over_the_outer_ones_item_is_fine(tmp_path: Path) -> None:
    found = made("{% for step in steps %}{% for c in step %}{{ c }}-{% endfor %}{% endfor %}", tmp_path)
    assert found.render(question="", steps=("ab", "c"), first_bad=None) == "a-b-c-"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ qestion }}", "uses 'qestion', which it is not given. Did you mean 'question'? It is given: first_bad, "),
        ("a\n{{ question", "is no template: line 2: unexpected end of template"),
        ("{% for i in range(10**9) %}{% endfor %}", "has 'call' in line 1, which no prompt may have"),
        ("{% for a in steps %}{% for b in steps %}{% endfor %}{% endfor %}", "has a loop in a loop in line 1"),
        ("{% include '/etc/passwd' %}", "has 'include' in line 1"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "has 'macro' in line 1"),
        ("{% set x = steps %}{{ x }}", "has 'assign' in line 1"),
        ("{{ question.__class__ }}", "has '.__class__' in line 1"),
        ("{{ 9 ** 9 ** 9 }}", "has 'pow' in line 1"),
        ("{{ 'a' * 10000000000 }}", "has 'mul' in line 1"),
        ("{{ question | attr('x') }}", "has 'attr' in line 1"),
        ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "is nested too deeply"),
    ],
)
def test_what_no_prompt_may_do_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        made(text, tmp_path)
    sentence = str(error.value)
    assert sentence.startswith("--my-prompt ")
    assert says in sentence
    assert "\n" not in sentence


def test_what_is_no_prompt_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_text("a" * 1_000_001)
    with pytest.raises(UsageError, match=r"'critc' is neither a file nor one of: critic, plain. Did you mean 'critic'"):
        PromptTemplate("critc", {"critic": "", "plain": ""}, NAMES, "--my-prompt")
    for name in ("binary", "large"):
        with pytest.raises(UsageError, match=r"^--my-prompt .* cannot be read as UTF-8 text"):
            PromptTemplate(str(tmp_path / name), {}, NAMES, "--my-prompt")


def test_what_cannot_be_filled_in_is_one_sentence(tmp_path: Path) -> None:
    found = made("{{ steps[first_bad - 1] }}", tmp_path)
    assert found.render(question="", steps=("a", "b"), first_bad=2) == "b"
    for first_bad in (None, 9):
        with pytest.raises(UsageError, match=r"^--my-prompt .* cannot be filled in: "):
            found.render(question="", steps=("a", "b"), first_bad=first_bad)
    with pytest.raises(UsageError, match="makes a prompt of more than 10,000,000 characters"):
        made("{% for step in steps %}{{ question }}{% endfor %}", tmp_path).render(
            question="a" * 100_000, steps=("a",) * 200, first_bad=None
        )
