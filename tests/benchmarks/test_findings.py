"""The findings: the page from records whose outcome is known."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import pytest
from traces import judged, trace

import findings.__main__ as findings
from findings import gold_steps
from findings.claims import CLAIMS, judge
from findings.records import read_size
from refine_eval.errors import RunError
from refine_eval.plugin.registry import registry
from refine_eval.results.ledger import rows
from refine_eval.results.published import publish
from refine_eval.results.records import write_run
from refine_eval.tasks.truth import first_bad_steps
from refine_eval_benchmarks.apples import generate

ROOT = Path(__file__).resolve().parents[2]
TINY, _, SVAMP, *_rest = findings.SIZES


GOLDS = [problem["answer"].splitlines() for problem in generate("test", 40)]


def settings(name: str, task: str) -> dict[str, object]:
    critic = {"options": {"threshold": 0.5}}
    return {
        "command": f"refine-eval run --name {name}",
        "task": {"name": task},
        "when": {"name": "orm", **critic},
        "where": {"name": "sorm", **critic},
        "choose": {"name": "orm", **critic},
        "refiners": [{"name": "global"}, {"name": "local"}],
        "machine": "2 cores",
        "model": {"name": "toy", "identity": "toy:1"},
    }


def record(
    results: Path,
    name: str,
    draft: Callable[[int], bool],
    choice: Callable[[int], bool],
    count: int = 40,
    task: str = "apples",
) -> None:
    """A run in which the SORM knows every step, the ORM thinks all good, and global's text is the choice."""
    traces = []
    for number in range(count):
        gold = GOLDS[number]
        wrong = ["0+0=0", *gold[1:]]
        texts = {
            "draft": (gold if draft(number) else wrong, draft(number)),
            "1.global.0": (gold if choice(number) else wrong, choice(number)),
        }
        knows = judged(*[0.9 if draft(number) else 0.1] * len(gold))
        believes = judged(*[0.9] * len(gold))
        traces.append(
            trace(number, texts, {"draft": {"where": knows, "when": believes, "choose": believes}}, "1.global.0", task)
        )
    metrics = {"filter": "strict", "rows": [asdict(row) for row in rows(traces, "strict")]}
    run = write_run(results, name, settings=settings(name, task), traces=traces, metrics=metrics, lm_eval_results={})
    publish(run, results, first_bad_steps(task, registry().benchmarks(), traces), with_traces=False)


def verdicts(results: Path) -> dict[str, str]:
    """The statement of each claim -> the verdict on it at the size tiny."""
    tested = read_size(results, TINY)
    found = {claim.statement: judge(claim, tested) for claim in CLAIMS}
    return {statement: finding.verdict if finding else "not tested" for statement, finding in found.items()}


def of(found: Mapping[str, str], words: str) -> str:
    (verdict,) = [verdict for statement, verdict in found.items() if words in statement]
    return verdict


def test_constructed_records_hold_are_unclear_and_do_not_hold(tmp_path: Path) -> None:
    record(tmp_path, "tiny-0-glore", draft=lambda n: n < 20, choice=lambda n: n < 30)
    record(tmp_path, "tiny-0-best-of-3", draft=lambda n: n < 20, choice=lambda n: n % 4 != 0)
    record(tmp_path, "tiny-0-control", draft=lambda n: n < 38, choice=lambda n: n < 38)
    record(tmp_path, "tiny-0-calculator", draft=lambda n: n < 20, choice=lambda n: n < 32)
    found = verdicts(tmp_path)
    assert of(found, "judges steps better") == "holds"
    assert of(found, "finds the first wrong step") == "holds"
    assert of(found, "ORM judges final answers") == "does not hold"
    assert of(found, "improves on the draft") == "holds"
    assert of(found, "beats the same ORM's choice") == "unclear"
    assert of(found, "beats the control") == "does not hold"
    assert of(found, "calculator's choice") == "holds"
    assert of(found, "global refiner alone repairs") == "higher"
    assert of(found, "local refiner with the SORM alone repairs") == "lower"
    assert of(found, "global refiner alone breaks") == "unclear"


def test_few_problems_decide_nothing(tmp_path: Path) -> None:
    record(tmp_path, "tiny-0-glore", draft=lambda n: False, choice=lambda n: True, count=19)
    assert of(verdicts(tmp_path), "improves on the draft") == "unclear"


def test_seeds_are_pooled_over_those_with_the_record(tmp_path: Path) -> None:
    for seed in (0, 1):
        right = range(28 + 4 * seed)
        record(tmp_path, f"tiny-{seed}-glore", draft=lambda n: n < 20, choice=right.__contains__)
    record(tmp_path, "tiny-1-control", draft=lambda n: n < 20, choice=lambda n: n < 20)
    tested = read_size(tmp_path, TINY)
    by = {claim.statement: judge(claim, tested) for claim in CLAIMS}
    improves = next(finding for statement, finding in by.items() if "improves on the draft" in statement)
    control = next(finding for statement, finding in by.items() if "beats the control" in statement)
    assert improves is not None
    assert control is not None
    assert (improves.estimate.seeds, improves.estimate.value) == pytest.approx((2, 0.25))
    assert (control.estimate.seeds, control.estimate.value) == pytest.approx((1, 0.3))


def test_without_records_nothing_is_tested_and_the_page_says_how(tmp_path: Path) -> None:
    page = findings.files(tmp_path)["findings.md"]
    assert set(verdicts(tmp_path).values()) == {"not tested"}
    assert "**holds**" not in page.split("How a cell is decided")[0]
    assert "refine-eval recipe run tiny --work DIR --set seed=N" in page
    assert list(findings.files(tmp_path)) == ["findings.md"]


def test_records_of_other_problems_are_one_sentence(tmp_path: Path) -> None:
    record(tmp_path, "tiny-0-glore", draft=lambda n: True, choice=lambda n: True)
    record(tmp_path, "tiny-0-control", draft=lambda n: True, choice=lambda n: True, count=39)
    with pytest.raises(RunError, match="tiny-0-glore and tiny-0-control are not over the same problems") as raised:
        findings.files(tmp_path)
    assert "\n" not in str(raised.value)


def test_the_page_is_checked(tmp_path: Path) -> None:
    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "benchmarks/findings",
            "--results",
            str(tmp_path),
            "--docs",
            str(tmp_path / "docs"),
        ]
        return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)

    record(tmp_path, "tiny-0-glore", draft=lambda n: n < 20, choice=lambda n: n < 30)
    record(tmp_path, "tiny-0-ablation-small-glore", draft=lambda n: n < 20, choice=lambda n: n < 20)
    stale = script("--check")
    assert stale.returncode == 1
    assert "write it anew: python benchmarks/findings" in stale.stderr
    assert not (tmp_path / "docs").exists()
    assert script().returncode == 0
    assert script("--check").returncode == 0
    page = (tmp_path / "docs" / "findings.md").read_text("utf-8")
    assert "| small | 1 |" in page
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {
        "findings.md",
        "findings-tiny-calibration.svg",
        "findings-tiny-tokens.svg",
    }
    (tmp_path / "docs" / "findings-gone.svg").write_text("<svg/>")
    assert "findings-gone.svg" in script("--check").stderr


def test_a_task_without_truth_judges_no_steps_but_answers(tmp_path: Path) -> None:
    record(tmp_path, "smollm2-svamp-0-glore", draft=lambda n: n < 20, choice=lambda n: n < 30, task="svamp")
    tested = read_size(tmp_path, SVAMP)
    found = {claim.statement: judge(claim, tested) for claim in CLAIMS}
    assert [finding is None for statement, finding in found.items() if "steps" in statement] == [True, True]
    assert any(finding for statement, finding in found.items() if "improves on the draft" in statement)
    assert "### Accuracy by number of steps" not in findings.files(tmp_path)["findings.md"]
    (tmp_path / "gold-steps.json").write_text(json.dumps({"svamp": [1, 2] * 20}))
    page = findings.files(tmp_path)["findings.md"]
    assert "`smollm2-svamp-0-where-orm`" in page
    assert "`smollm2-svamp-0-oracle-steps`" not in page, "there can be none"
    assert "Counted with `python benchmarks/findings/gold_steps.py svamp`." in page
    assert "| 2 | 20 | 50.0" in page


@pytest.mark.parametrize("text", ['{"svamp": [1, 2', "[1, 2]", '{"svamp": ["two"]}', '{"svamp": null}'])
def test_broken_counts_of_gold_steps_are_one_sentence(text: str, tmp_path: Path) -> None:
    record(tmp_path, "smollm2-svamp-0-glore", draft=lambda n: n < 20, choice=lambda n: n < 30, task="svamp")
    (tmp_path / "gold-steps.json").write_text(text)
    with pytest.raises(
        RunError, match=r"gold-steps.json cannot be read .*: remove it and make it again with"
    ) as raised:
        findings.files(tmp_path)
    assert "\n" not in str(raised.value)
    words = ["gold_steps.py", "svamp", "--out", str(tmp_path / "gold-steps.json")]
    with mock.patch.object(sys, "argv", words), pytest.raises(SystemExit, match="cannot be read") as exited:
        gold_steps.main()
    assert str(exited.value) == str(raised.value)
    assert (tmp_path / "gold-steps.json").read_text() == text


def test_labels_are_judged_by_the_papers_k(tmp_path: Path) -> None:
    record(tmp_path, "tiny-0-glore", draft=lambda n: n < 20, choice=lambda n: n < 30)
    names = ("first error", "false positives", "false negatives", "as naive")
    row = {"way": "cheap", "tokens": 9, "agreement low": 0.95, "agreement high": 0.99, **dict.fromkeys(names, 0.5)}
    rows_of = [{**row, "K": 4, "agreement": 0.9}, {**row, "K": 8, "agreement": 0.97}]
    drawn = {"questions": 30, "samples": 4, "temperature": 0.5}
    report = {"student": "toy:1", "settings": drawn, "samples": 50, "wrong": 20, "steps": 200, "rows": rows_of}
    (tmp_path / "label-quality.json").write_text(json.dumps(report))
    page = findings.files(tmp_path)["findings.md"]
    assert "4 samples of each of 30 training questions of apples at temperature 0.5" in page
    assert "| 94 % (second-hand) | **higher**: 97.0 % (95.0–99.0), 1 seed | not tested |" in page
    (tmp_path / "label-quality.json").write_text(json.dumps({**report, "student": "toy:2"}))
    page = findings.files(tmp_path)["findings.md"]
    assert "| 94 % (second-hand) | not tested | not tested |" in page, "labels of another student"


def test_the_committed_page_is_fresh() -> None:
    wanted = findings.files(ROOT / "results")
    assert findings.stale(ROOT / "docs", wanted) == [], "run: python benchmarks/findings"
