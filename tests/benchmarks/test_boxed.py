"""The answer that gsm8k_chat finds: the number in the last box, or the last number where no box is whole."""

import time

import pytest

from refine_eval_benchmarks.boxed import NO_ANSWER, boxed, boxed_number, boxed_or_last_number, last_box, number_in


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so \\boxed{18}", "18"),
        ("\\boxed{\\$1,200.00}", "1200"),
        ("\\boxed{70{,}000}", "70000"),
        ("\\boxed{3\\,000}", "3000"),
        ("\\boxed{18 \\text{ m}^2}", "18"),
        ("\\boxed{\\text{9 apples}}", "9"),
        ("\\boxed{50\\%}", "50"),
        ("\\boxed{-\\$5}", "-5"),
        ("\\boxed{x = 7}", "7"),
        ("\\boxed{2 \\times 9 = 18}", "18"),
        ("\\boxed{\\frac{6}{2}}", "3"),
        ("\\boxed{\\dfrac{7}{2}}", "\\dfrac{7}{2}"),
        ("\\boxed{7/2}", "7/2"),
        ("\\boxed{1/0}", "1/0"),
        ("\\fbox{6}", "6"),
        ("first \\boxed{3}, no: \\boxed{4}", "4"),
        ("\\boxed{3}, which is 1 more than 2", "3"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("a \\boxed{9\\} } 2", "9"),
        ("first \\boxed{3}, then \\boxed{4", "3"),
        ("\\boxed{yes} 4", "yes"),
        ("\\boxed{} 4", "4"),
        ("\\boxed{4", "4"),
        ("without a box it is $1,200.50.", "1200.5"),
        ("16 - 3 - 4 = 9...", "9"),
        ("none", None),
        ("", None),
    ],
)
def test_the_number_in_a_text(text: str, number: str | None) -> None:
    assert number_in(text) == number
    assert boxed_or_last_number([[text]], [{}]) == [[number or NO_ANSWER]]


def test_only_a_whole_box_counts_for_the_strict_filter() -> None:
    assert boxed([["it is 4", "\\boxed{4", "\\boxed{4}"], []], [{}, {}]) == [[NO_ANSWER, NO_ANSWER, "4"], []]
    assert last_box("\\boxed{a{b}c} {d}") == "a{b}c"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("\\boxed{9}" * 10_000, "9"),
        ("\\boxed{" * 100_000, None),
        ("\\boxed{" * 10_000 + "8" + "}" * 10_000, "\\boxed{" * 9_999 + "8" + "}" * 9_999),
        ("{" * 900_000, None),
        ("}" * 900_000, None),
        ("\\text{" * 150_000, None),
        ("\\boxed" + " " * 900_000, None),
        ("\\boxed{" + "9" * 900_000 + "}", "9" * 900_000),
        ("1" * 900_000, "1" * 900_000),
    ],
    ids=["boxes", "open", "nested", "left", "right", "words", "spaces", "digits in a box", "digits"],
)
def test_a_million_characters_take_no_time(text: str, number: str | None) -> None:
    start = time.process_time()
    assert number_in(text) == number
    assert time.process_time() - start < 3
    assert boxed_number(text) in (number, None)
