"""A data folder with a few invented problems in the form of each data set that lm-eval's tasks read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from refine_eval_benchmarks.lm_eval_tasks import MATH_SUBSETS

Rows = Iterable[Mapping[str, Any]]


def eggs(number: int) -> str:
    return f"Tom has {number} eggs and gets 2 more. How many has he?"


def halves() -> list[dict[str, Any]]:
    """As MATH-500 has them; half of 1, 3, 5 and 7."""
    return [
        {
            "problem": f"What is half of ${number}$?",
            "solution": f"We divide by $2$.\n\nThat gives $\\boxed{{\\frac{{{number}}}{{2}}}}$.",
            "answer": f"\\frac{{{number}}}{{2}}",
            "subject": "Algebra",
            "level": 1,
            "unique_id": f"test/algebra/{number}.json",
        }
        for number in (1, 3, 5, 7)
    ]


def files() -> dict[str, Rows]:
    """Path in the data folder -> rows, with the columns that the data sets on the hub have."""
    shares = {
        f"hendrycks_math/{folder}/test.jsonl": [
            {
                "problem": f"In {folder}, what is $1 + {part}$ of 4?",
                "level": "Level 1",
                "type": folder,
                "solution": f"It is $\\boxed{{\\frac{{{part}}}{{4}}}}$.",
            }
            for part in range(1, 2 + number % 2)
        ]
        for number, folder in enumerate(MATH_SUBSETS.values())
    }
    return {
        **shares,
        "math500/test.jsonl": halves(),
        "aime24/train.jsonl": [
            {"ID": f"2024-I-{n}", "Problem": f"Find {n} + 1.", "Solution": "Add.", "Answer": n + 1} for n in (9, 19, 29)
        ],
        "aime25/test.jsonl": [{"problem": f"Find {n} + 2.", "answer": str(n + 2), "id": str(n)} for n in (9, 19, 29)],
        "gsm8k_platinum/test.jsonl": [
            {"question": eggs(n), "answer": f"{n}+2={n + 2}\n#### {n + 2}", "cleaning_status": "consensus"}
            for n in range(8)
        ],
        "gsm_plus/test.jsonl": [
            {
                "question": eggs(n),
                "solution": f"{n}+2={n + 2}\n#### {n + 2}",
                "answer": str(n + 2),
                "seed_question": "?",
            }
            for n in range(8)
        ],
        "mgsm_en/test.jsonl": [
            {"question": eggs(n), "answer": None, "answer_number": n + 2, "equation_solution": None} for n in range(3)
        ],
        "gpqa_diamond/train.jsonl": [
            {
                "Question": f"Which element has the number {n}?",
                "Correct Answer": f"element {n}\n",
                **{f"Incorrect Answer {k}": f"element {n + k}" for k in (1, 2, 3)},
                "Subdomain": "Chemistry",
            }
            for n in range(1, 9)
        ],
    }


def write(folder: Path) -> Path:
    """All of them in a folder, which is returned."""
    for name, rows in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
