"""The section on what nothing is trained for, from records whose outcome is known."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from records import SETTINGS, ledger_trace

import findings.__main__ as findings
from findings.claims import CLAIMS, judge
from findings.records import read_size
from findings.untrained import untrained
from refine_eval.data import Trace
from refine_eval.results.ledger import rows
from refine_eval.results.published import publish
from refine_eval.results.records import write_run
from refine_eval.results.tables import row_to_json

UNTRAINED = next(size for size in findings.SIZES if size.key == "untrained")
Right = Mapping[str, Callable[[int], bool]]
SAMPLES: Right = {f"1.resample.{at}": lambda n, at=at: n % 4 <= at for at in range(3)}  # type: ignore[misc]


def answered(number: int, right: Right, chosen: str) -> Trace:
    """A problem with a draft that is right for every second one; right answers are "1", wrong ones all different."""
    grades = {"draft": number % 2 == 0, **{name: rule(number) for name, rule in right.items()}}
    trace = ledger_trace(number, grades, {"rerank": chosen, "oracle": chosen}, critic_tokens=0)
    candidates = tuple(
        replace(c, round=int(c.id != "draft"), sample=int(c.id[-1]), solution=replace(c.solution, answer=answer))
        if c.id != "draft"
        else c
        for c in trace.candidates
        if (answer := "1" if grades[c.id] else f"wrong {c.id}")
    )
    return replace(trace, candidates=candidates)


def published(results: Path, name: str, right: Right, chosen: str, refiners: list[str]) -> None:
    traces = [answered(number, right, chosen) for number in range(60)]
    table = [row_to_json(row) for row in rows(traces, "strict", gold={"oracle"})]
    names = {"when": "agreement", "where": "judge", "choose": "agreement"}
    parts = {role: {"name": critic, "options": {}} for role, critic in names.items()}
    settings = {**SETTINGS, **parts, "refiners": [{"name": each} for each in refiners]}
    metrics = {"filter": "strict", "rows": table}
    run = write_run(results / "own", name, settings=settings, traces=traces, metrics=metrics, lm_eval_results={})
    publish(run, results, None, with_traces=True)


def cells(section: str, words: str) -> list[str]:
    (line,) = (line for line in section.splitlines() if line.startswith(f"| {words} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_ways_stand_beside_votes_of_the_same_tokens(tmp_path: Path) -> None:
    """Drafts and samples have 10 tokens each."""
    published(tmp_path, "untrained-samples", SAMPLES, "1.resample.2", ["resample"])
    published(tmp_path, "untrained-rewrite-none", {"1.rewrite.0": lambda n: n % 6 != 1}, "1.rewrite.0", ["rewrite"])
    found = untrained(tmp_path)
    draft, rewrite = cells(found, "draft"), cells(found, "rewrite, no feedback")
    assert (draft[0][:4], draft[1:3], draft[3], draft[5]) == ("50.0", ["", ""], "10", "50.0 (1.0)")
    assert (rewrite[0][:4], rewrite[1][:5], rewrite[3]) == ("83.3", "+33.3", "20")
    # Of two samples that differ the first is handed in: half of the samples are right.
    assert rewrite[5] == "50.0 (2.0)"
    assert rewrite[6].startswith("+33.3 (+")
    best = cells(found, "best of draft and 8 samples, by agreement")
    assert (best[0][:4], best[3], best[5]) == ("75.0", "40", "– (4.0)")
    assert "over the 2 ways that do not see gold answers" in found
    assert cells(found, "the best of the nine, by the gold answer \\*")[2] == "", "no method, so no test"
    assert "continue, from a random step" not in found, "there is no record of it"
    assert found in findings.files(tmp_path)["findings.md"]


def test_without_the_record_of_samples_there_is_no_section(tmp_path: Path) -> None:
    published(tmp_path, "untrained-rewrite-none", {"1.rewrite.0": lambda n: True}, "1.rewrite.0", ["rewrite"])
    assert untrained(tmp_path) == ""


def test_other_components_stand_for_the_methods_parts(tmp_path: Path) -> None:
    right: Right = {"1.continue.0": lambda n: n < 50, "1.rewrite.0": lambda n: n < 40}
    published(tmp_path, "untrained-glore", right, "1.continue.0", ["continue", "rewrite"])
    tested = read_size(tmp_path, UNTRAINED)
    found = {claim.statement: judge(claim, tested) for claim in CLAIMS}
    values = {statement: round(each.estimate.value, 3) for statement, each in found.items() if each is not None}
    assert values["Wrong drafts that the local refiner with the SORM alone repairs"] == round(25 / 30, 3)
    assert values["Wrong drafts that the global refiner alone repairs"] == round(20 / 30, 3)
    assert values["The global refiner alone breaks right drafts (of the right drafts)"] == round(10 / 30, 3)
    assert values["The ORM's choice among draft, global and local refinement improves on the draft"] == round(
        20 / 60, 3
    )
    assert not any("finds the first wrong step" in statement for statement in values)
    assert "local alone" in findings.files(tmp_path)["findings.md"]
