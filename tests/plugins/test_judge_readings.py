"""How the critic judge reads what a model says: probabilities of its choices, and texts, tolerantly."""

from __future__ import annotations

import pytest

from refine_eval.data import Generation
from refine_eval_judge.reading import SCORES, chances, first_error_in, score_in, verdict_in

TEXT = "Step 1: 3 + 4 = 7.\nStep 2: She has 7 apples.\n#### 7"


def test_the_likelihoods_of_a_truncated_list_are_not_guessed() -> None:
    missing = Generation.of_choices([-0.5, *[None] * 9], bound=-12.0)
    assert chances(missing) == [1.0, *[0.0] * 9]
    assert chances(Generation.of_choices([-0.5, *[None] * 9], bound=-4.0)) is None
    assert len(SCORES) == 10


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Yes", 1),
        ("no.", 0),
        ("**Yes**, it is.", 1),
        ("Let me see. It says 7.\n\n**Verdict: Incorrect**", 0),
        ("Verdict: wrong. No, wait.\nVerdict: correct", 1),
        ('The verdict is "right".', 1),
        ("I think the solution is correct.", 1),
        ("The solution is not correct.", 0),
        ("The solution is not entirely correct.", 0),
        ("It isn't right.", 0),
        ("It isn\u2019t the right answer.", 0),
        ("I do not see anything wrong.", 1),
        ("No errors.", None),
        ("No obvious mistakes: it is correct.", 1),
        ("The first step is right, and the second is wrong.", None),
        ("Oui, c'est juste.", None),
        ("\u7b54\u6848\u662f\u5bf9\u7684", None),
        (TEXT, None),
        ("", None),
        ("Yesterday", None),
    ],
)
def test_verdicts_are_read_tolerantly(text: str, meant: float | None) -> None:
    assert verdict_in(text) == meant


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("8", 7 / 9),
        ("Score: 10/10", 1.0),
        ("I give it 1/10.", 0.0),
        ("Rating: 3", 2 / 9),
        ("11", None),
        ("3 apples and 4", 2 / 9),
        ("She has 7", None),
        ("0.5", None),
        ("none", None),
    ],
)
def test_scores_are_read_tolerantly(text: str, score: float | None) -> None:
    assert score_in(text) == (None if score is None else pytest.approx(score))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("\\boxed{1}", 1),
        ("\\boxed{0} no: \\boxed{ -1 }", -1),
        ("The answer is 2.", 2),
        ("the index: -1", -1),
        ("-1", -1),
        ("**1**.\n", 1),
        ("1 and 2", None),
        ("- 1", None),
        ("It slips.\nThe first error is in paragraph 1.", 1),
        ("Paragraph 0 is right.\nParagraph 1 is right.", None),
        ("The answer is 2 apples, so there are 2.", None),
        ("\\boxed{3}", None),
        ("\\boxed{-2}", None),
        ("nothing", None),
        ("\\boxed{99999999999999999999}", None),
    ],
)
def test_the_first_error_is_read_tolerantly(text: str, at: int | None) -> None:
    assert first_error_in(text, 3) == at
