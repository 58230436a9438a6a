"""A row of a run's table as a log of Inspect: a sample for each answer, a scorer for each of the task's filters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import refine_eval
from refine_eval.data import CUT_OFF, Trace
from refine_eval.errors import RunError, UsageError, first_line, missing_extra
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord

_SUFFIXES = (".eval", ".json")


class Asked(Protocol):
    """What is known of a problem beside its trace."""

    @property
    def question(self) -> str: ...
    @property
    def gold(self) -> str: ...


def write_inspect_log(
    path: Path, record: RunRecord, row: Row, traces: Sequence[Trace], known: Mapping[str, Asked]
) -> None:
    """Writes the log; drafts of one problem are its epochs. Of problems that are not `known` their id is the input.

    UsageError for a file of another name than *.eval or *.json; RunError without inspect_ai, and where it cannot write.
    """
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"A log of Inspect is a file such as run.eval or run.json, not {path.name!r}.")
    try:
        from inspect_ai.log import (
            EvalConfig,
            EvalDataset,
            EvalLog,
            EvalMetric,
            EvalResults,
            EvalSample,
            EvalScore,
            EvalSpec,
            write_eval_log,
        )
        from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
        from inspect_ai.scorer import Score
    except ImportError:
        raise RunError(f"{missing_extra('inspect-ai', 'inspect')}") from None

    def sample(trace: Trace) -> EvalSample:
        answer, asked = row.answer(trace), known.get(trace.problem.first_id)
        question = asked.question if asked else trace.problem.first_id
        output = ModelOutput.from_content(
            model=student,
            content=answer.solution.text,
            stop_reason="max_tokens" if answer.solution.finish_reason == CUT_OFF else "stop",
        )
        return EvalSample(
            id=trace.problem.first_id,
            epoch=trace.problem.repeat + 1,
            input=question,
            target=asked.gold if asked else "",
            messages=[ChatMessageUser(content=question), ChatMessageAssistant(content=answer.solution.text)],
            output=output,
            scores={
                name: Score(value="C" if right else "I", answer=answer.solution.answer)
                for name, right in trace.correct[answer.id].items()
            },
            metadata={
                "candidate": answer.id,
                "component": answer.component,
                "thought": answer.solution.thought,
                "tokens": answer.solution.tokens,
            },
        )

    task, student = (str(record.settings[part]["name"]) for part in ("task", "model"))
    filters = [record.filter, *(name for name in row.correct if name != record.filter)]
    scores = [
        EvalScore(name=name, scorer=name, metrics={"accuracy": EvalMetric(name="accuracy", value=row.accuracy(name))})
        for name in filters
    ]
    samples = [sample(trace) for trace in traces]
    for each in samples:  # what reads a log takes its first scorer
        each.scores = {name: each.scores[name] for name in filters} if each.scores else None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    log = EvalLog(
        status="success",
        eval=EvalSpec(
            created=now,
            task=task,
            dataset=EvalDataset(name=task, samples=len(samples)),
            model=f"{record.name}:{row.name}",
            config=EvalConfig(epochs=row.drafts),
            packages={"refine-eval": refine_eval.__version__},
            metadata={"command": record.settings["command"], "sees_gold": row.needs_gold, "tuned": row.tuned},
        ),
        results=EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=scores),
        samples=samples,
    )
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        write_eval_log(log, str(partial))
        os.replace(partial, path)
    except Exception as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path} cannot be written as a log of Inspect ({first_line(error)}).") from error
