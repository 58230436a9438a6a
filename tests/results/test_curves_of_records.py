"""Curves in a record: written, read back with every value checked, and shown as text and on the page."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import ledger_trace, write

from refine_eval.data import Trace
from refine_eval.errors import RunError
from refine_eval.results.curves import Curve, curves, curves_to_json, plain_curves
from refine_eval.results.manifest import write_manifest
from refine_eval.results.records import read_run, read_traces
from refine_eval.results.viewer import Viewed
from refine_eval.results.viewer import page as page_of
from refine_eval.statistics.samples import equal_as_text


def sampled(number: int, repeat: int = 0) -> Trace:
    right = {"draft": number > 1, "1.<b>.0": number > 2, "1.<b>.1": True}
    trace = ledger_trace(number, right, {"vote": "draft"})
    problem = replace(trace.problem, id=trace.problem.id + (f"@{repeat}" if repeat else ""), repeat=repeat)
    at = {"draft": 0, "1.<b>.0": 0, "1.<b>.1": 1}
    candidates = tuple(
        replace(c, problem=problem, sample=at[c.id], round=int(c.id != "draft")) for c in trace.candidates
    )
    return replace(trace, problem=problem, candidates=candidates)


TRACES = [sampled(n) for n in range(5)]


def found(traces: list[Trace] = TRACES, gold: tuple[str, ...] = (), choose_sees_gold: bool = False) -> list[Curve]:
    return curves(traces, "strict", equal_as_text, gold, choose_sees_gold)


def with_curves(folder: Path, change: Callable[[Any], object] = lambda given: None) -> Path:
    run = write(folder, traces=TRACES)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["curves"] = curves_to_json(found())
    change(metrics["curves"])
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "manifest.json").unlink()
    write_manifest(run)
    return run


def test_a_record_keeps_its_curves(tmp_path: Path) -> None:
    assert list(read_run(with_curves(tmp_path)).curves) == found()
    assert read_run(write(tmp_path / "other")).curves == ()


def test_what_sees_gold_is_marked() -> None:
    assert [each.name for each in found()] == ["pass@k *", "best-of-k", "maj@k", "weighted-maj@k"]
    assert all(each.needs_gold for each in found(gold=("<b>",)))
    by_gold = [each.way for each in found(choose_sees_gold=True) if each.needs_gold]
    assert by_gold == ["pass", "best-of", "weighted-maj"]


def test_drafts_and_refiners_have_their_own() -> None:
    both = found([sampled(n, repeat) for n in range(3) for repeat in range(2)])
    assert [each.source for each in both[::4]] == ["draft", "<b>"]


def test_the_text_has_a_line_for_each_k() -> None:
    title, head, one, two = plain_curves(found())
    assert title == "k of 2 samples of <b>: accuracy in % with its 95 % interval"
    assert head.split() == ["k", "tokens", "pass@k", "*", "best-of-k", "maj@k", "weighted-maj@k"]
    assert one.split()[:3] == ["1", "10.0", "70.0"]
    assert two.split()[:3] == ["2", "20.0", "100.0"]


def test_the_page_shows_them_as_table_and_plot(tmp_path: Path) -> None:
    run = with_curves(tmp_path)
    page = page_of([Viewed(record=read_run(run), traces=read_traces(run))])
    assert "k of 2 samples of &lt;b&gt;: accuracy" in page
    assert page.count("<polyline") == 4
    assert "logarithmic" in page


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda given: given[0].update(way="luck"), "unknown way 'luck'"),
        (lambda given: given[0].update(samples=4), "a curve of 4 samples has other points"),
        (lambda given: given[0].update(samples=1), "a curve of 1 samples has other points"),
        (lambda given: given[0]["points"][0].update(accuracy=1.5), "'accuracy' is 1.5 and not a number from 0 to 1"),
        (lambda given: given[0]["points"][0].update(accuracy=0.0), "is not within its interval"),
        (lambda given: given[0].pop("source"), "has no 'source'"),
        (lambda given: given.append(3), "'curve' is 3 and not an object"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, change: Callable[[Any], object], says: str) -> None:
    with pytest.raises(RunError, match=says):
        read_run(with_curves(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[1].update(repeat=2), "'t/0@1' is not called as repeat 2 of one is"),
        (lambda rows: rows[1].update(repeat=-1), "'repeat' is -1 and not a whole number"),
        (lambda rows: rows.pop(1), "'t/0' has fewer drafts than others"),
        (lambda rows: rows[1].pop("repeat"), "has fewer drafts than others"),
    ],
)
def test_a_fault_in_repeats_is_named(tmp_path: Path, change: Callable[[Any], object], says: str) -> None:
    run = write(tmp_path, traces=[sampled(n, repeat) for n in range(2) for repeat in range(2)])
    assert [trace.problem.repeat for trace in read_traces(run)] == [0, 1, 0, 1]
    rows = [json.loads(line) for line in (run / "traces.jsonl").read_text().splitlines()]
    change(rows)
    (run / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "manifest.json").unlink()
    write_manifest(run)
    with pytest.raises(RunError, match=says):
        read_traces(run)
