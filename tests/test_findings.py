"""The findings: statistics against hand-counted cases, and the page from records whose outcome is known."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import pytest

import findings
import gold_steps
from findings_claims import CLAIMS, judge
from findings_records import read_size
from refine_eval.critic_quality import (
    auc,
    both,
    brier_cases,
    broken,
    cross_fitted,
    draft_scores,
    final_cases,
    first_error_cases,
    only,
    ranking,
    reliability,
    repaired,
    right_cases,
    role_of,
    step_cases,
)
from refine_eval.data import Candidate, Critique, Problem, Solution, Trace
from refine_eval.errors import RunError
from refine_eval.intervals import MIN_CASES, contrast, share, t_below, t_quantile
from refine_eval.ledger import mcnemar, rows, wilson
from refine_eval.results import write_run
from refine_eval_benchmarks.apples import generate

ROOT = Path(__file__).resolve().parent.parent
TINY, _, SVAMP, *_ = findings.SIZES


def solution(steps: Sequence[str]) -> Solution:
    return Solution(text="\n".join(steps), steps=tuple(steps), answer=None, finish_reason="stop", tokens=10)


def trace(
    number: int,
    texts: Mapping[str, tuple[Sequence[str], bool]],
    critiques: Mapping[str, Mapping[str, Critique]],
    chosen: str = "draft",
    task: str = "apples",
) -> Trace:
    """`texts`: candidate id -> its lines, and whether it is right."""
    problem = Problem(id=f"{task}/{number}", task=task, question="q", prompt="p")
    candidates = tuple(
        Candidate(
            id=name,
            problem=problem,
            solution=solution(steps),
            origin="draft" if name == "draft" else "refinement",
            component="student" if name == "draft" else name.split(".")[1],
            sample=0,
        )
        for name, (steps, _) in texts.items()
    )
    return Trace(
        problem=problem,
        candidates=candidates,
        critiques=critiques,
        refined=True,
        selected={"rerank": chosen},
        correct={name: {"strict": right} for name, (_, right) in texts.items()},
    )


def judged(*scores: float) -> Critique:
    return Critique(score=scores[-1], step_scores=scores)


# Drafts of three, two and two steps and an answer line; the second is wrong from its second step on, the third in its
# answer alone; the fourth was never judged.
TRACES = [
    trace(0, {"draft": (["a", "b", "c", "#"], True)}, {"draft": {"choose": judged(0.9, 0.4, 0.5, 0.8)}}),
    trace(1, {"draft": (["a", "x", "#"], False)}, {"draft": {"choose": judged(0.9, 0.2, 0.6)}}),
    trace(2, {"draft": (["a", "b", "#"], False)}, {"draft": {"choose": judged(0.3, 0.9, 0.6)}}),
    trace(3, {"draft": (["a", "b", "#"], True)}, {}),
]
FIRST_BAD = {"apples/0": None, "apples/1": 1, "apples/2": 2, "apples/3": None}
SCORES = draft_scores(TRACES, "choose")


def test_steps_first_errors_and_answers_are_counted_as_by_hand() -> None:
    assert list(SCORES) == ["apples/0", "apples/1", "apples/2"]
    assert list(step_cases(TRACES, SCORES, FIRST_BAD, 0.5).values()) == [(2, 3), (2, 2), (1, 2), (0, 0)]
    assert list(first_error_cases(TRACES, SCORES, FIRST_BAD, 0.5).values()) == [(0, 0), (1, 1), (0, 0), (0, 0)]
    assert list(first_error_cases(TRACES, SCORES, FIRST_BAD, 0.95).values()) == [(0, 0), (0, 1), (0, 0), (0, 0)]
    assert list(final_cases(TRACES, SCORES, "strict", 0.5).values()) == [(1, 1), (0, 1), (0, 1), (0, 0)]
    brier = share([brier_cases(TRACES, SCORES, "strict")])
    assert brier is not None
    assert brier.value == pytest.approx((0.2**2 + 0.6**2 + 0.6**2) / 3)


def test_auc_and_ranking_count_ties_half() -> None:
    found = auc(TRACES, SCORES, "strict")
    assert found is not None
    assert (found.value, found.problems) == (1.0, 3)
    ties = [
        trace(0, {"draft": (["a"], True)}, {"draft": {"choose": judged(0.6)}}),
        *TRACES[1:3],
        trace(4, {"draft": (["a"], False)}, {"draft": {"choose": judged(0.1)}}),
    ]
    found = auc(ties, draft_scores(ties, "choose"), "strict")
    assert found is not None
    assert found.value == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert auc(TRACES[1:3], SCORES, "strict") is None

    def candidates(number: int, *scores: float) -> Trace:
        texts = {"draft": (["a"], True), "1.global.0": (["b"], False), "1.local.0": (["c"], False)}
        return trace(number, texts, {c: {"choose": judged(s)} for c, s in zip(texts, scores, strict=True)})

    ranked = ranking([candidates(0, 0.5, 0.5, 0.4), candidates(1, 0.1, 0.2, 0.3), TRACES[0]], "choose", "strict")
    assert ranked is not None
    assert (ranked.value, ranked.problems) == (0.75 / 2, 2)
    assert (ranked.low, ranked.high) == (0.0, 0.75)


def test_reliability_has_a_bin_for_each_tenth_with_drafts() -> None:
    low, high = reliability([(0.0, False), (0.05, True), (1.0, True), (0.95, True)])
    assert (low.low, low.drafts, low.score, low.right) == (0.0, 2, 0.025, 0.5)
    assert (high.high, high.drafts, high.right) == (1.0, 2, 1.0)
    assert (high.right_low, high.right_high) == wilson(2, 2)


def test_repairs_and_their_overlap() -> None:
    before = {"a": (0.0, 1.0), "b": (0.0, 1.0), "c": (1.0, 1.0)}
    one, other = ({"a": (1.0, 1.0), "b": (float(b), 1.0), "c": (0.0, 1.0)} for b in (0, 1))
    first, second = repaired(before, one), repaired(before, other)
    assert first == {"a": (1, 1), "b": (0, 1), "c": (0, 0)}
    assert broken(before, one) == {"a": (0, 0), "b": (0, 0), "c": (1, 1)}
    assert both(first, second)["a"] == (1, 1)
    assert only(second, first) == {"a": (0, 1), "b": (1, 1), "c": (0, 0)}
    texts = {"draft": (["x"], False), "1.global.0": (["a"], True)}
    (case,) = [trace(0, texts, {}, chosen="draft")]
    answers = ("draft", "choice", "oracle", "global", "local")
    assert [right_cases([case], "strict", a)["apples/0"][0] for a in answers] == [0, 0, 1, 1, 0]


def test_a_threshold_is_chosen_on_the_other_half() -> None:
    low = {"a": (1.0, 1.0), "b": (0.0, 1.0), "c": (1.0, 1.0), "d": (0.0, 1.0)}
    high = {problem: (1 - right, 1.0) for problem, (right, _) in low.items()}
    # Each half is judged at what is best for the other, which is worst for it.
    assert {right for right, _ in cross_fitted({0.1: low, 0.9: high}).values()} == {0.0}


def test_which_critic_had_which_role() -> None:
    settings = {"when": {"name": "orm"}, "where": {"name": "sorm"}, "choose": {"name": "orm"}}
    assert [role_of(settings, name) for name in ("orm", "sorm", "calculator")] == ["choose", "where", None]


def test_one_seeds_intervals() -> None:
    plain = share([{"a": (1.0, 1.0), "b": (0.0, 1.0), "c": (0.0, 0.0)}])
    assert plain is not None
    assert (plain.value, plain.low, plain.high, plain.problems) == (0.5, *wilson(1, 2), 2)
    assert share([{"a": (0.0, 0.0)}]) is None
    # Two drafts of 2 and 4 steps, 2 and 1 right: 3/6; z = 1/2 + (a - b/2) / 3 = 5/6, 1/6; variance of the mean 1/9.
    clustered = share([{"a": (2.0, 2.0), "b": (1.0, 4.0)}])
    assert clustered is not None
    assert clustered.value == pytest.approx(0.5)
    one, other = {"a": (2.0, 2.0), "b": (1.0, 4.0)}, {"a": (0.0, 2.0), "b": (0.0, 4.0)}
    paired = contrast([(one, other)])
    assert paired is not None
    assert paired.high - paired.value == pytest.approx(t_quantile(1) / 3)
    wins = {str(i): (float(i < 9), 1.0) for i in range(40)}
    losses = {str(i): (float(i in (8, 39)), 1.0) for i in range(40)}
    found = contrast([(wins, losses)])
    assert found is not None
    assert (found.value, found.p_value) == (pytest.approx(7 / 40), mcnemar(8, 1))


def test_several_seeds_count_problems_and_seeds() -> None:
    none = {str(i): (0.0, 1.0) for i in range(4)}
    # Seeds that differ by a constant: all of the variance is theirs, and there are two of them.
    seeds = [dict.fromkeys(none, (value, 1.0)) for value in (0.2, 0.4)]
    found = contrast([(seed, none) for seed in seeds])
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert found.high - found.value == pytest.approx(t_quantile(1) * 0.1)
    # The same differences in each seed: problems alone count, as if there were one seed.
    same = {"0": (1.0, 1.0), "1": (0.0, 1.0), "2": (0.0, 1.0), "3": (0.0, 1.0)}
    thrice = contrast([(same, none)] * 3)
    assert thrice is not None
    assert thrice.high - thrice.value == pytest.approx(t_quantile(3) * math.sqrt(0.25 / 4))
    assert (thrice.seeds, thrice.problems, thrice.cases) == (3, 4, 12)
    few = dict.fromkeys(map(str, range(MIN_CASES - 1)), (1.0, 1.0))
    decided = share([few] * 3)
    assert decided is not None
    assert decided.side() == 0, "seeds do not make more problems of few"


def test_students_t() -> None:
    assert [round(t_quantile(n), 3) for n in (1, 2, 3, 10, 100)] == [12.706, 4.303, 3.182, 2.228, 1.984]
    assert t_below(0, 5) == 0.5
    assert t_below(-1, 1) == pytest.approx(0.25)


def test_other_problems_cannot_be_paired() -> None:
    one, other = {"a": (1.0, 1.0), "b": (1.0, 1.0)}, {"a": (1.0, 1.0)}
    with pytest.raises(RunError, match=r"^P and Q are not over the same problems \(2 and 1; b is in one only\): make"):
        contrast([(one, other)], "P and Q")


# Records

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
    write_run(results, name, settings=settings(name, task), traces=traces, metrics=metrics, lm_eval_results={})


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
        record(tmp_path, f"tiny-{seed}-glore", draft=lambda n: n < 20, choice=lambda n, seed=seed: n < 28 + 4 * seed)
    record(tmp_path, "tiny-1-control", draft=lambda n: n < 20, choice=lambda n: n < 20)
    tested = read_size(tmp_path, TINY)
    by = {claim.statement: judge(claim, tested) for claim in CLAIMS}
    improves = next(finding for statement, finding in by.items() if "improves on the draft" in statement)
    control = next(finding for statement, finding in by.items() if "beats the control" in statement)
    assert improves is not None
    assert control is not None
    assert (improves.estimate.seeds, improves.estimate.value) == (2, pytest.approx(0.25))
    assert (control.estimate.seeds, control.estimate.value) == (1, pytest.approx(0.3))


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
            "benchmarks/findings.py",
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
    assert "write it anew: python benchmarks/findings.py" in stale.stderr
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
    assert "Counted with `python benchmarks/gold_steps.py svamp`." in page
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
    assert findings.stale(ROOT / "docs", wanted) == [], "run: python benchmarks/findings.py"
