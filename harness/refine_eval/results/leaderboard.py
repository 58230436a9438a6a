"""Run records -> results/leaderboard.md. The same records give the same bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from refine_eval.results.markdown import code, code_block, inline
from refine_eval.results.records import RunRecord
from refine_eval.results.table import FOOTNOTE, markdown, notes

_INTRODUCTION = f"""# Leaderboard

Generated from the run records in `published/` by `refine-eval leaderboard`; do not edit. Accuracy is the lm-eval task's
own metric. "wrong→right" and "right→wrong" compare with the draft of the same run, *p* is of the exact McNemar test
on them, "tokens" are generated tokens a problem, "seconds" the models' time for all problems, on the machine named.

{FOOTNOTE.replace("*", chr(92) + "*")}.
"""


def render(records: Sequence[RunRecord]) -> str:
    """The whole page: one section a task, one table a run."""
    by_task: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        by_task[str(record.settings["task"]["name"])].append(record)
    parts = [_INTRODUCTION]
    for task, found in sorted(by_task.items()):
        parts.append(f"\n## {inline(task)}\n")
        parts.extend(_section(record) for record in sorted(found, key=lambda record: record.name))
    return "".join(parts)


def _section(record: RunRecord) -> str:
    settings = record.settings
    problems = record.rows[0].problems
    return (
        f"\n### {inline(record.name)}\n\n"
        f"{inline(settings['model']['name'])}, {problems:,} problems, {inline(settings['machine'])}\n\n"
        f"{code_block(settings['command'])}\n{_stage(settings)}"
        f"{markdown(record.rows, record.filter)}\n{_notes(record)}"
    )


def _notes(record: RunRecord) -> str:
    lines = "".join(f"- {inline(note)}\n" for note in notes(record.left_out))
    return f"\n{lines}" if lines else ""


def _stage(settings: Mapping[str, Any]) -> str:
    return f"Stage {code(settings['stage'])} of that recipe.\n\n" if "stage" in settings else ""
