"""A record's table: read with every value checked, against itself and, where no hash vouches for it, its traces."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from refine_eval.costs import CutOff, LeftOut, ModelUsage
from refine_eval.data import Trace
from refine_eval.results.ledger import ROUND, Row, rows
from refine_eval.results.typed import AMOUNT, COUNT, FLAG, LIST, NAME, OBJECT, SHARE, Fault, field
from refine_eval.terminal import shown

_KINDS = ("draft", "refiner", ROUND, "selector")


def table_from_json(value: Any) -> tuple[str, tuple[Row, ...]]:
    """The filter and the rows of metrics.json; Fault where a value, or a row beside the others, cannot be right."""
    metrics = OBJECT.check(value, "metrics")
    main = field(metrics, "filter", NAME)
    table = tuple(_row(OBJECT.check(row, "row")) for row in field(metrics, "rows", LIST))
    if not table or table[0].kind != "draft":
        raise Fault("its table does not begin with the draft")
    seen = set()
    for row in table:
        if row.kind not in _KINDS or (row.kind == "draft") != (row is table[0]):
            raise Fault(f"a row of its table is of the kind {shown(row.kind)}")
        if (row.kind, row.name) in seen:
            raise Fault(f"the row {shown(row.name)} is in its table twice")
        seen.add((row.kind, row.name))
        if not _is_possible(row, table[0], main):
            raise Fault(f"the figures of {shown(row.name)} in its table do not fit each other")
    return main, table


def row_to_json(row: Row) -> dict[str, Any]:
    """A row as metrics.json has it; of one draft a problem, and of thresholds that were not tuned, it says nothing."""
    usual = {"drafts": 1, "tuned": False}
    return {name: value for name, value in asdict(row).items() if name not in usual or value != usual[name]}


def left_out_from_json(value: Any) -> tuple[LeftOut, ...]:
    """What metrics.json says of texts that were left out; older records say nothing of them."""
    metrics = OBJECT.check(value, "metrics")
    given = field(metrics, "left_out", LIST) if "left_out" in metrics else []
    return tuple(_left_out(OBJECT.check(each, "left_out")) for each in given)


def _left_out(row: Mapping[str, Any]) -> LeftOut:
    found = LeftOut(
        component=field(row, "component", NAME),
        verb=field(row, "verb", NAME),
        texts=field(row, "texts", COUNT),
        of=field(row, "of", COUNT),
        reason=field(row, "reason", NAME),
    )
    if not 0 < found.texts <= found.of:
        raise Fault(f"it leaves out {found.texts:,} of {found.of:,} texts")
    return found


def cut_off_from_json(value: Any) -> tuple[CutOff, ...]:
    """What metrics.json says of texts that were cut off; older records say nothing of them."""
    metrics = OBJECT.check(value, "metrics")
    given = field(metrics, "cut_off", LIST) if "cut_off" in metrics else []
    return tuple(_cut_off(OBJECT.check(each, "cut_off")) for each in given)


def _cut_off(row: Mapping[str, Any]) -> CutOff:
    found = CutOff(stage=field(row, "stage", NAME), texts=field(row, "texts", COUNT), of=field(row, "of", COUNT))
    if found.texts > found.of or not found.of:
        raise Fault(f"{found.texts:,} of {found.of:,} texts of the stage {shown(found.stage)} are cut off")
    return found


def usage_from_json(value: Any) -> tuple[ModelUsage, ...]:
    """What metrics.json says of what models read and wrote; older records say nothing of it."""
    metrics = OBJECT.check(value, "metrics")
    if "usage" not in metrics:
        return ()
    usage = field(metrics, "usage", OBJECT)
    return tuple(_usage(OBJECT.check(each, "models")) for each in field(usage, "models", LIST))


def _usage(row: Mapping[str, Any]) -> ModelUsage:
    found = ModelUsage(
        name=field(row, "name", NAME),
        parameters=field(row, "parameters", COUNT.or_none()),
        texts=field(row, "texts", COUNT),
        prompt_tokens=field(row, "prompt_tokens", COUNT),
        cached_tokens=field(row, "cached_tokens", COUNT),
        tokens=field(row, "tokens", COUNT),
        unknown=field(row, "unknown", COUNT),
    )
    if found.cached_tokens > found.prompt_tokens or found.unknown > found.texts:
        raise Fault(f"what the model {shown(found.name)} read does not fit together")
    return found


def _row(row: Mapping[str, Any]) -> Row:
    correct = field(row, "correct", OBJECT)
    return Row(
        name=field(row, "name", NAME),
        kind=field(row, "kind", NAME),
        problems=field(row, "problems", COUNT),
        correct={name: field(correct, name, COUNT) for name in correct},
        low=field(row, "low", SHARE),
        high=field(row, "high", SHARE),
        gained=field(row, "gained", COUNT),
        lost=field(row, "lost", COUNT),
        p_value=field(row, "p_value", SHARE),
        tokens=field(row, "tokens", AMOUNT),
        seconds=field(row, "seconds", AMOUNT),
        cut_off=field(row, "cut_off", COUNT.or_none()) if "cut_off" in row else None,
        read_tokens=field(row, "read_tokens", AMOUNT.or_none()) if "read_tokens" in row else None,
        flops=field(row, "flops", AMOUNT.or_none()) if "flops" in row else None,
        needs_gold=field(row, "needs_gold", FLAG) if "needs_gold" in row else False,
        drafts=field(row, "drafts", COUNT) if "drafts" in row else 1,
        tuned=field(row, "tuned", FLAG) if "tuned" in row else False,
    )


def _is_possible(row: Row, draft: Row, main: str) -> bool:
    return (
        0 < row.problems == draft.problems
        and 0 < row.drafts == draft.drafts
        and main in row.correct
        and row.correct.keys() == draft.correct.keys()
        and all(count <= row.answers for count in row.correct.values())
        and row.low - 1e-9 <= row.accuracy(main) <= row.high + 1e-9
        and row.gained - row.lost == row.correct[main] - draft.correct[main]
        and row.gained <= row.correct[main]
        and row.lost <= draft.correct[main]
        and (row.cut_off or 0) <= row.answers
        and (row.cut_off is None) == (draft.cut_off is None)
    )


def check_figures(table: Sequence[Row], traces: Sequence[Trace], main: str) -> None:
    """Fault where a table is not that of these traces, but for what they do not tell: seconds, and who sees gold.

    Which selectors decide on the draft alone, and so pay for fewer tokens, they do not tell either, nor which refiners
    see the whole group, and so pay for more.
    """
    if main not in traces[0].correct[traces[0].draft.id]:
        raise Fault(f"no trace is graded under the filter {shown(main)} of its table")
    components = {candidate.component for trace in traces for candidate in trace.candidates}
    either = zip(rows(traces, main), rows(traces, main, (), traces[0].selected, components), strict=True)
    expected = [(one, {one.tokens, other.tokens}) for one, other in either]
    if [(row.kind, row.name) for row in table] != [(row.kind, row.name) for row, _ in expected]:
        raise Fault("its table has other rows than its traces")
    for row, (known, tokens) in zip(table, expected, strict=True):
        if not any(_same(row, replace(known, tokens=paid)) for paid in tokens):
            raise Fault(f"the figures of {shown(row.name)} in its table are not those of its traces")


def _same(one: Row, other: Row) -> bool:
    def floats(row: Row) -> Iterable[float]:
        return row.low, row.high, row.p_value, row.tokens

    close = all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(floats(one), floats(other), strict=True))
    # Older tables do not say what was cut off.
    return close and (one.problems, one.drafts, one.correct, one.gained, one.lost, one.cut_off) == (
        other.problems,
        other.drafts,
        other.correct,
        other.gained,
        other.lost,
        None if one.cut_off is None else other.cut_off,
    )
