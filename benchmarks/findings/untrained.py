"""The section on what a chat model gains when nothing is trained: every way beside majority votes of the same cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from findings.sections import table
from refine_eval.results.compared import p_text, points
from refine_eval.results.equal_cost import EqualRow, equal_cost
from refine_eval.results.ledger import Row
from refine_eval.results.records import RunRecord
from refine_eval.results.sampled import Sampled, read_sampled
from refine_eval.results.table import label
from refine_eval.statistics.comparison import Comparison, compare, together

SAMPLES = "untrained-samples"
SOURCE = "resample"
WAYS: Sequence[tuple[str, str, str, str]] = (
    # what the page calls it; record, kind and name of its row
    ("draft", SAMPLES, "draft", ""),
    ("best of draft and 8 samples, by agreement", SAMPLES, "selector", "rerank"),
    ("weighted vote of the same nine, by agreement", SAMPLES, "selector", "weighted-vote"),
    ("majority vote of the same nine", SAMPLES, "selector", "vote"),
    ("best of the nine, by calculator", f"{SAMPLES}-calculator", "selector", "rerank"),
    ("weighted vote of the nine, by calculator", f"{SAMPLES}-calculator", "selector", "weighted-vote"),
    ("best of draft and 4 samples, by likelihood", f"{SAMPLES}-likelihood", "selector", "rerank"),
    ("weighted vote of the five, by likelihood", f"{SAMPLES}-likelihood", "selector", "weighted-vote"),
    ("best of the five, by judge", f"{SAMPLES}-judge", "selector", "rerank"),
    ("weighted vote of the five, by judge", f"{SAMPLES}-judge", "selector", "weighted-vote"),
    ("rewrite, no feedback", "untrained-rewrite-none", "refiner", "rewrite"),
    ("rewrite, a random step called wrong", "untrained-rewrite-random", "refiner", "rewrite"),
    ("rewrite, the model's own critique", "untrained-rewrite-self", "refiner", "rewrite"),
    ("rewrite, told by the gold answer", "untrained-rewrite-oracle", "refiner", "rewrite"),
    ('"Wait", and on', "untrained-wait", "refiner", "wait"),
    ("continue, from a random step", "untrained-continue-random", "refiner", "continue"),
    ("continue, from a false equation", "untrained-continue-calculator", "refiner", "continue"),
    ("continue, from where rollouts fail", "untrained-continue-rollout", "refiner", "continue"),
    ("continue, from where a judge says", "untrained-calculator", "refiner", "continue"),
    ("continue, from where rollouts fail by gold", "untrained-continue-oracle", "refiner", "continue"),
    ("draft, continue or rewrite, by agreement", "untrained-glore", "selector", "rerank"),
    ("the same, by judge", "untrained-glore-judge", "selector", "rerank"),
    ("the same, by calculator", "untrained-calculator", "selector", "rerank"),
    ("the same, by the gold answer", "untrained-glore", "selector", "oracle"),
    ("the best of the nine, by the gold answer", SAMPLES, "selector", "oracle"),
)


def untrained(results: Path) -> str:
    """The section; "" without the record of samples, and ways without a record are left out."""
    records = _records(results)
    if SAMPLES not in records:
        return ""
    samples = records[SAMPLES]
    beside = {
        name: {row.answer: row for row in equal_cost([each], SOURCE, [samples]).units["tokens"]}
        for name, each in records.items()
    }
    draft = samples.right(samples.record.rows[0])
    found: list[tuple[str, Row, EqualRow, Comparison]] = []
    for words, name, kind, wanted in WAYS:
        if (row := _row(records, name, kind, wanted)) is not None:
            right = records[name].right(row)
            found.append((words, row, beside[name][label(row)], compare([(right, draft)])))
    of_methods = [each for _, row, _, each in found if row.is_method and row.kind != "draft"]
    adjusted = {id(one): both for one, both in zip(of_methods, together(of_methods), strict=True)}
    return (
        "\n## Nothing trained: every way beside majority votes that write as many tokens\n\n"
        f"{len(draft):,} problems of gsm8k_chat, Qwen2.5-Coder-0.5B-Instruct, from the records `untrained-*`. Percent "
        "right ± half of the 95 % interval's width, and what it is more than the draft: paired, p corrected by Holm "
        f"over the {len(of_methods)} ways that do not see gold answers. Tokens are written ones a problem and FLOPs "
        "those of writing and reading, both with all that the answer needs. Then what the majority vote of N samples "
        "has, with N such that it writes as many tokens, and the lead over it. \\* sees the gold answers: an upper "
        "bound, not a method.\n\n"
        + table(
            ["answer", "right", "− draft", "p", "tokens", "FLOPs", "vote (N)", "lead"],
            [_cells(words, row, equal, one, adjusted.get(id(one))) for words, row, equal, one in found],
        )
        + _curves(samples.record)
    )


def _records(results: Path) -> dict[str, Sampled]:
    names = dict.fromkeys(name for _, name, *_ in WAYS)
    folders = {name: results / "published" / name for name in names}
    return {name: read_sampled(folder) for name, folder in folders.items() if folder.is_dir()}


def _row(records: Mapping[str, Sampled], record: str, kind: str, name: str) -> Row | None:
    rows = records[record].record.rows if record in records else ()
    return next((row for row in rows if row.kind == kind and name in ("", row.name)), None)


def _cells(words: str, row: Row, equal: EqualRow, one: Comparison, adjusted: Comparison | None) -> list[str]:
    by, votes = one.estimate, equal.beside["maj"]
    lead = votes.lead
    of_draft = row.kind == "draft"
    return [
        words + " \\*" * row.needs_gold,
        f"{100 * equal.accuracy:.1f} ± {50 * (equal.high - equal.low):.1f}",
        "" if of_draft else f"{points(by.value)} ({points(by.low)} to {points(by.high)})",
        "" if adjusted is None else p_text(adjusted.adjusted),
        f"{row.tokens:,.0f}",
        "–" if row.flops is None else f"{row.flops:.1e}",
        f"{'–' if votes.accuracy is None else f'{100 * votes.accuracy:.1f}'} ({votes.n:.1f})",
        "–" if lead is None else f"{points(lead.value)} ({points(lead.low)} to {points(lead.high)})",
    ]


def _curves(record: RunRecord) -> str:
    curves = [each for each in record.curves if each.source == SOURCE]
    if not curves:
        return ""
    rows = []
    for of_k in zip(*(each.points for each in curves), strict=True):
        shares = (f"{100 * each.accuracy:.1f} ± {50 * (each.high - each.low):.1f}" for each in of_k)
        rows.append([str(of_k[0].k), f"{of_k[0].tokens:,.0f}", *shares])
    return "\n### What k samples are worth\n\nPercent, over all subsets of the 8 samples.\n\n" + table(
        ["k", "tokens", *(each.name.replace("*", "\\*") for each in curves)], rows
    )
