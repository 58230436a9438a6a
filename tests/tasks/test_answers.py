"""What the bridge makes of lm-eval's tasks and answers."""

import pytest

from refine_eval.tasks.answers import normal_answer


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("18", "18"),
        ("$1,200.00", "1200"),
        ("1200.", "1200"),
        ("007", "7"),
        ("-0", "0"),
        ("-.50", "-0.5"),
        ("3.10", "3.1"),
        ("100", "100"),
        ("0", "0"),
        ("1.2.3", "1.2.3"),
        ("Yes", "yes"),
        ("[invalid]", None),
        ("", None),
        ("$", None),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_equal_answers_are_compared_as_equal(written: str, compared: str | None) -> None:
    assert normal_answer(written) == compared
