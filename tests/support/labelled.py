"""Labelled solutions: rows of each form, and critics' views of solutions that tests make."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from refine_eval.data import Critique
from refine_eval.statistics.judged import Judged, Labelled, Thresholds

OWN = Thresholds(steps=0.5, answers=0.5, named=True)

ROWS: Mapping[str, Mapping[str, Any]] = {
    "processbench": {
        "id": "gsm8k-0",
        "generator": "a model",
        "problem": "Sue has 3 hens and buys 4. How many?",
        "steps": ["First,\nshe has 3 + 4 = 7.", "So 7 - 1 = 5.", "The answer is \\boxed{5}."],
        "final_answer_correct": False,
        "label": 1,
    },
    "mr-gsm8k": {
        "uuid": "f25b796f",
        "question": "Tom has 3 apples and buys 4. How many?",
        "ground_truth_solution": "3 + 4 = 7",
        "ground_truth_answer": 7,
        "model_output_steps": ["Step 1: 3 + 4 = 8", "Step 2: #### 8"],
        "model_output_answer_correctness": "wrong",
        "model_output_solution_correctness": "wrong",
        "model_output_solution_first_error_step": "1",
        "model_output_solution_first_error_reason": "3 + 4 is 7.",
        "question_type": "original",
    },
    "prmbench": {
        "original_question": "What is 2 + 2 + 2?",
        "modified_question": "What is 2 + 2 + 2?",
        "original_process": ["2 + 2 = 4.", "4 + 2 = 6."],
        "modified_process": ["2 + 2 = 5.", "5 + 2 = 7.", "It is 8."],
        "modified_steps": [1, 2, 3],
        "error_steps": [1, 3],
        "reason": "2 + 2 is 4.",
        "idx": "prm_test_p1_0",
        "question": "What is 2 + 2 + 2?",
        "classification": "confidence",
    },
    "plain": {
        "question": "What is 2 + 3?",
        "steps": ["2 + 3 = 5", "#### 5"],
        "first_bad": None,
        "correct": True,
        "source": "mine",
        "problem": "sums",
        "solution": "2 + 3 = 5\n#### 5\n",
    },
}
"""A row of each form."""


def row(form: str, **changed: Any) -> dict[str, Any]:
    """The form's row with some values changed, or, where they are `...`, without them."""
    return {key: value for key, value in {**ROWS[form], **changed}.items() if value is not ...}


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
    return path


def write_mr_gsm8k(path: Path) -> Path:
    """Six solutions of three questions; arithmetic alone tells which steps are wrong."""
    rows = []
    for number in range(3):
        for slip in (0, 1):
            total = 3 + number + slip
            rows.append(
                row(
                    "mr-gsm8k",
                    question=f"Tom has 3 apples and buys {number}. How many?",
                    model_output_steps=["He counts.", f"3 + {number} = {total}", f"#### {total}"],
                    model_output_answer_correctness="wrong" if slip else "correct",
                    model_output_solution_correctness="wrong" if slip else "correct",
                    model_output_solution_first_error_step=2 if slip else "N/A",
                    question_type=("original", "POT")[slip],
                )
            )
    path.write_text(json.dumps(rows), "utf-8")
    return path


def judged(
    number: int,
    good: Sequence[bool | None],
    scores: Sequence[float],
    *,
    correct: bool | None = None,
    score: float | None = None,
    problem: str | None = None,
    source: str | None = None,
    thresholds: Thresholds = OWN,
    unscored: str | None = None,
) -> Judged:
    """A solution with these labels, and a critic that names the first step below a half."""
    solution = Labelled(
        id=str(number),
        problem=problem or str(number),
        question=f"{number}?",
        steps=tuple(f"step {at}" for at in range(len(good))),
        good=tuple(good),
        correct=correct,
        source=source,
    )
    critique = Critique(
        score=(scores[-1] if scores else 0.0) if score is None else score,
        step_scores=tuple(scores),
        first_bad_step=next((at for at, value in enumerate(scores) if value < 0.5), None),
        unscored=unscored,
    )
    return Judged(solution=solution, critique=critique, thresholds=thresholds)
