"""Run records written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refine_eval.data import Candidate, Problem, Solution, Trace
from refine_eval.results.ledger import rows
from refine_eval.results.records import write_run
from refine_eval.results.tables import row_to_json


def ledger_trace(number: int, right: dict[str, bool], selected: dict[str, str], critic_tokens: int = 0) -> Trace:
    """`right`: candidate id -> graded right; every candidate has 10 tokens and took 1 s."""
    problem = Problem(id=f"t/{number}", task="t", question="q", prompt="p")
    solution = Solution(text="#### 1", steps=("#### 1",), answer="1", finish_reason="stop", tokens=10, seconds=1.0)
    candidates = tuple(
        Candidate(
            id=name,
            problem=problem,
            solution=solution,
            origin="draft" if name == "draft" else "refinement",
            component="model" if name == "draft" else name.split(".")[1],
            sample=0,
        )
        for name in right
    )
    return Trace(
        problem=problem,
        candidates=candidates,
        critiques={},
        refined=True,
        selected=selected,
        correct={name: {"strict": value, "flexible": True} for name, value in right.items()},
        critic_tokens=critic_tokens,
        critic_seconds=0.5,
    )


TRACES = [
    ledger_trace(0, {"draft": False, "1.local.0": True}, {"rerank": "1.local.0", "gate": "draft"}),
    ledger_trace(1, {"draft": True, "1.local.0": False}, {"rerank": "draft", "gate": "1.local.0"}),
    ledger_trace(
        2, {"draft": False, "1.local.0": True, "1.local.1": False}, {"rerank": "1.local.1", "gate": "1.local.0"}, 7
    ),
    ledger_trace(3, {"draft": True}, {"rerank": "draft", "gate": "draft"}),
]


HOSTILE = '\x1b[2J<img src=x onerror=alert(1)>|[bold]\u2028 "\\"'


SETTINGS = {
    "command": "refine-eval run",
    "task": {"name": "toy"},
    "model": {"name": "digits"},
    "machine": "2 cores",
}


def write(folder: Path, name: str = "one", traces: list[Trace] = TRACES, settings: Any = SETTINGS) -> Path:
    metrics = {"filter": "strict", "rows": [row_to_json(row) for row in rows(traces, "strict", gold={"gate"})]}
    return write_run(folder, name, settings=settings, traces=traces, metrics=metrics, lm_eval_results={"results": {}})
