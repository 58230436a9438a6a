"""The bundled splitters: their pieces are the text again, and no formula, code or table is cut."""

from __future__ import annotations

import json
import re
import time
from itertools import pairwise
from pathlib import Path

import chat_solutions
import pytest
from fuzz import HOSTILE_TEXTS, fuzz
from hypothesis import strategies as st

from refine_eval.cuts import are_cuts, line_ends
from refine_eval.formats import split_steps
from refine_eval.plugin.contract import read_cuts
from refine_eval.splitters import refine_eval_splitters
from refine_eval.testing import component_checks

SPLITTERS = {kind.name: kind() for kind in refine_eval_splitters()}
BLOCK_SPLITTERS = [name for name in SPLITTERS if name != "lines"]


def pieces(name: str, text: str) -> list[str]:
    [found] = SPLITTERS[name].split([text])
    assert "".join(found) == text
    return found


def steps(name: str, text: str) -> list[str]:
    return [piece.strip() for piece in pieces(name, text)]


@pytest.mark.parametrize("name", SPLITTERS)
def test_contract(name: str) -> None:
    checks = component_checks(type(SPLITTERS[name]))
    for check in checks if name == "lines" else checks[4:]:  # one process tells of all: they are in one module
        check()


def test_lines_are_the_steps_that_they_always_were() -> None:
    for text in (*chat_solutions.ALL.values(), "", " \n", "\n\na\n\n b \n", "a\x0cb\u2028c\r\nd", "\x85a"):
        [cuts] = read_cuts(SPLITTERS["lines"], [text], SPLITTERS["lines"].split([text]))
        assert cuts == ((0, *line_ends(text)) if line_ends(text) else ())
        assert tuple(text[a:b].strip() for a, b in pairwise(cuts)) == split_steps(text)


@pytest.mark.parametrize("name", SPLITTERS)
@pytest.mark.parametrize("solution", chat_solutions.ALL)
def test_chat_solutions_are_the_same_again(name: str, solution: str) -> None:
    assert len(pieces(name, chat_solutions.ALL[solution])) > 1 or (name, solution) == ("paragraphs", "colons")


@pytest.mark.parametrize("name", BLOCK_SPLITTERS)
@pytest.mark.parametrize("solution", chat_solutions.ALL)
def test_formulas_code_and_tables_are_in_one_piece(name: str, solution: str) -> None:
    text = chat_solutions.ALL[solution]
    whole = re.findall(r"\\\[[^]]*\\\]|\$\$[^$]*\$\$|```[^`]*(?:```|\Z)|\\begin.*?\\end|(?:\|.*\|\n)+", text, re.DOTALL)
    whole = [each for each in whole if each.count("\\[") == 1 or each[0] != "\\" or "begin" in each]
    for block in whole:
        assert any(block in piece for piece in pieces(name, text)), block


def test_numbered_steps() -> None:
    assert [step[:20] for step in steps("numbered", chat_solutions.NUMBERED)] == [
        "To find out how many",
        "1. **Calculate the n",
        "2. **Subtract the ap",
        "3. **Add what she fi",
    ]
    # Steps by name: the lists in them are no steps.
    assert [step[:10] for step in steps("numbered", chat_solutions.STEPS)] == ["### Step 1", "### Step 2", "**Step 3: "]
    assert [step[:6] for step in steps("numbered", chat_solutions.COLONS)] == ["Step 1", "Step 2", "Step 3"]
    assert pieces("numbered", chat_solutions.COLONS)[2].endswith("\n        84 / 2 = 42 apples.\nFinal answer: 42")


@pytest.mark.parametrize(
    "mark", ["Step 3:", "3.", "**Step 3**", "## Step 3", "step 3 -", "**3.**", "3)", "### 3. So", "__Step 3__", "  3."]
)
def test_each_kind_of_number(mark: str) -> None:
    assert pieces("numbered", f"So it begins.\n{mark} Add.\nMore.") == ["So it begins.\n", f"{mark} Add.\nMore."]


@pytest.mark.parametrize("line", ["3.5 apples", "3 apples", "Steps 3", "Step three", "2024", "    3. deep", "x 3. y"])
def test_what_is_no_number_of_a_step(line: str) -> None:
    assert pieces("numbered", f"So it begins.\n{line}\nMore.") == [f"So it begins.\n{line}\nMore."]


def test_texts_without_numbers_are_cut_in_paragraphs() -> None:
    assert pieces("numbered", "a\n\nb") == ["a\n\n", "b"]
    assert pieces("numbered", "1. a\n\nb") == ["1. a\n\nb"]


def test_paragraphs() -> None:
    assert pieces("paragraphs", "a\nb\n \t\n\n  c\r\n\r\nd") == ["a\nb\n \t\n\n", "  c\r\n\r\n", "d"]
    assert len(pieces("paragraphs", chat_solutions.CODE)) == 5


def test_sentences() -> None:
    assert steps("sentences", chat_solutions.PROSE) == [
        "First, Ana reads 20 pages a day, e.g. in the evening.",
        "In 7 days she reads 7 * 20 = 140 pages.",
        "The book has 300 pages, so 300 - 140 = 160 pages are left.",
        "- At 32 pages a day this takes 160 / 32 = 5 days.",
        "- That is less than a week.",
        "She needs 5 more days.",
        "(That is all.)",
        "The answer is 5.",
    ]
    assert steps("sentences", 'Mr. Brown has 3.5 kg. "Why?" he asks. 2. So\n3. **It** is.') == [
        "Mr. Brown has 3.5 kg.",
        '"Why?" he asks.',
        "2.",
        "So",
        "3. **It** is.",
    ]
    assert pieces("sentences", "It is.\n    And so on.") == ["It is.\n", "    And so on."]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\\[a\n\nb\\]", True),
        ("$$a\n\nb$$", True),
        ("\\begin{align}a\n\nb\\end{align}", True),
        ("```\na\n\nb\n```", True),
        ("~~~~\na\n\n~~~\nb\n~~~~", True),
        ("```python\na\n\nb", True),  # it goes on to the end
        ("\\[a\n\nb", False),  # never closed, so it is none
        ("$$a\n\nb", False),
        ("\\]a\n\nb\\[", False),
        ("\\\\[2pt]\n\nb\\]", False),
        ("\\$$a\n\nb$$", False),
        ("say ```a\n\nb```", False),
        ("```x``` is\n\nb\n```", True),  # the last line begins a fence
    ],
)
def test_what_a_block_is(text: str, kept: bool) -> None:
    found = pieces("paragraphs", text)
    assert (len(found) == 1) == kept or text.startswith("```x```")
    assert text.startswith("```x```") == (found == ["```x``` is\n\n", "b\n```"])


def test_tables() -> None:
    table = "| a. B | c |\n| 1. D | e |\n"
    assert pieces("sentences", f"So.\n{table}It is.") == ["So.\n", f"{table}It is."]
    bare = "a | b\n--|--\nIt is. So | x\n"
    assert pieces("sentences", f"{bare}\nIt is. So") == [f"{bare}\n", "It is. ", "So"]
    assert pieces("sentences", "It is. So | x\nIt is. So | x") == ["It is. ", "So | x\nIt is. ", "So | x"]


@pytest.mark.parametrize("name", SPLITTERS)
def test_a_megabyte_of_formulas_and_other_long_texts(name: str) -> None:
    spaces, sentences, crossed = "\n" + " " * 200_000 + "x", ". " * 50_000, "$$" + "\\[" * 50_000 + "\\]$$"
    begun, quoted, names = "\\begin{align}" * 20_000, '."' * 50_000, "Mr. " * 30_000
    for text in ("$$" * 500_000, spaces, sentences, crossed, begun, quoted, names):
        start = time.process_time()
        assert "".join(SPLITTERS[name].split([text])[0]) == text
        assert time.process_time() - start < 10, text[:20]  # minutes where it were quadratic


MARKS = ["$$", "\\[", "\\]", "```", "\n", "\n\n", "| a |", "1.", "Step 2", ". A", " ", "x", "\r\n", "~~~"]


@fuzz(text=HOSTILE_TEXTS | st.lists(st.sampled_from(MARKS), max_size=30).map("".join))
def test_any_text_is_the_same_again(text: str) -> None:
    for splitter in SPLITTERS.values():
        [cuts] = read_cuts(splitter, [text], splitter.split([text]))
        assert are_cuts(cuts, text)


@pytest.mark.parametrize("name", SPLITTERS)
def test_gold_solutions_and_those_of_gpt3_are_the_same_again(name: str, data_dir: Path) -> None:
    """All 7,473 solutions of GSM8K's training split, and the four files of GPT-3's solutions."""
    with (data_dir / "gsm8k" / "train.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["answer"] for line in file]
    assert len(texts) == 7_473
    with (data_dir / "gsm8k" / "example_model_solutions.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kinds = [name for name in rows[0] if name.startswith(("6b_", "175b_"))]
    assert len(kinds) == 4
    texts += [row[kind]["solution"] for row in rows for kind in kinds]
    splitter = SPLITTERS[name]
    found = splitter.split(texts)
    assert ["".join(each) for each in found] == texts
    cuts = read_cuts(splitter, texts, found)
    assert all(are_cuts(each, text) for each, text in zip(cuts, texts, strict=True))
