"""`refine-eval compare`: rows of records, lm-eval's samples and Inspect's logs, and what cannot be compared."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import error_line, refine_eval
from records import HOSTILE, TRACES, ledger_trace, write

from refine_eval.data import Problem

ROOT = Path(__file__).resolve().parents[2]


def samples(path: Path, right: dict[int, Any], filters: tuple[str, ...] = ("strict-match",), **more: Any) -> str:
    """A samples file of lm-eval with these values of exact_match; returns its name."""
    rows = [
        {
            "doc_id": number,
            "doc_hash": f"hash {number}",
            "filter": name,
            "metrics": ["exact_match"],
            "exact_match": value,
        }
        | more
        for name in filters
        for number, value in right.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path.name


def as_json(*arguments: str, cwd: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(refine_eval("compare", "--json", *arguments, cwd=cwd).stdout)
    return found


def test_the_published_record_against_its_own_draft() -> None:
    printed = refine_eval("compare", "apples-glore", "apples-glore:draft", cwd=ROOT).stdout
    assert "apples, 1,000 problems, right by flexible-extract" in printed
    assert (
        "apples-glore is better than apples-glore:draft: the difference of 17.1 points is real (p < .001)." in printed
    )
    assert "won: apples/23, " in printed
    assert "and 159 more" in printed
    (found,) = as_json("results/published/apples-glore", "apples-glore:draft", cwd=ROOT)
    row = next(
        row
        for row in json.loads((ROOT / "results/published/apples-glore/metrics.json").read_text())["rows"]
        if row["kind"] == "selector"
    )
    assert (len(found["won"]), len(found["lost"]), found["p_value"]) == (row["gained"], row["lost"], row["p_value"])


def test_seeds_are_pooled_and_comparisons_corrected() -> None:
    seeds = ",".join(f"tiny-{seed}-glore" for seed in range(3))
    found = as_json(seeds, f"{seeds}:draft", f"{seeds}:local", "tiny-0-control", cwd=ROOT)
    assert [each["seeds"] for each in found] == [3, 3, 3]
    assert [each["problems"] for each in found] == [1000] * 3
    assert sorted(found, key=lambda each: each["p_value"])[0]["p_value_holm"] == pytest.approx(
        3 * min(each["p_value"] for each in found)
    )
    printed = refine_eval("compare", seeds, f"{seeds}:draft", f"{seeds}:local", cwd=ROOT).stdout
    assert "p (Holm)" in printed


def test_what_is_not_shown_says_how_many_problems_would_show_it(tmp_path: Path) -> None:
    one = samples(tmp_path / "one.jsonl", {n: float(n < 62) for n in range(100)})
    other = samples(tmp_path / "other.jsonl", {n: float(4 <= n < 64) for n in range(100)})
    (found,) = as_json(one, other, cwd=tmp_path)
    assert not found["is_shown"]
    assert found["problems_needed"] == 1175
    assert found["says"] == (
        "No difference between one.jsonl and other.jsonl is shown (p = 0.688): about 1,200 problems would show a "
        "difference of +2.0 points (power 80 %)."
    )
    assert (found["won"], found["lost"]) == (["0", "1", "2", "3"], ["62", "63"])


def test_records_and_samples_files_of_one_task_pair_by_number(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine", settings={**SETTINGS, "task": {"name": "t"}})
    file = samples(tmp_path / "samples_t_2026-01-01T00-00-00.000000.jsonl", {0: 1, 1: 1, 2: 0, 3: 1})
    (found,) = as_json("mine", file, cwd=tmp_path)
    assert (found["won"], found["lost"]) == ([], [])
    (found,) = as_json("mine:draft", file, cwd=tmp_path)
    assert (found["won"], found["lost"]) == ([], ["t/0"])


def test_drafts_of_one_problem_are_one_case(tmp_path: Path) -> None:
    traces = []
    for trace in TRACES:
        for repeat in (0, 1):
            problem = replace(trace.problem, id=Problem.id_of(trace.problem.id, repeat), repeat=repeat)
            right = {"draft": {"strict": repeat == 0, "flexible": True}}
            traces.append(replace(trace, problem=problem, correct={**trace.correct, **right}))
    write(tmp_path / "results", "several", traces=traces, settings=SETTINGS)
    (found,) = as_json("several", "several:draft", cwd=tmp_path)
    assert found["problems"] == 4
    assert (found["won"], found["lost"]) == (["t/0"], ["t/2"])


SETTINGS = {"command": "refine-eval run", "task": {"name": "t"}, "model": {"name": "digits"}, "machine": "2 cores"}


def test_filters_of_samples_files(tmp_path: Path) -> None:
    file = samples(tmp_path / "a.jsonl", {0: 1.0, 1: 0.0}, ("strict-match", "flexible-extract"))
    (found,) = as_json(file, f"{file}:strict-match", cwd=tmp_path)
    assert found["filters"] == ["flexible-extract", "strict-match"]
    assert "has no filter 'other', but strict-match, flexible-extract" in error_line(
        "compare", file, f"{file}:other", cwd=tmp_path
    )
    assert "has no metric 'bleu', but exact_match" in error_line(
        "compare", file, file, "--metric", "bleu", cwd=tmp_path
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"doc_id": 0, "filter": "a", "metrics": ["x"], "x": NaN}', "cannot be read as a samples file"),
        ('{"doc_id": 0, "filter": "a", "metrics": ["x"], "x": 12.5}', "is 12.5, neither right nor wrong"),
        ('{"doc_id": 0, "filter": "a", "metrics": ["x"], "x": "yes"}', "is 'yes', neither right nor wrong"),
        ('{"doc_id": -1, "filter": "a", "metrics": ["x"], "x": 1}', "'doc_id' is -1 and not a whole number"),
        ('{"doc_id": 0, "filter": "a"}', "its lines have no metric"),
        ("[1]", "'the line' is [1] and not an object"),
        ("{", "cannot be read as a samples file"),
        ("", "it has no lines"),
        ('{"doc_id": 0, "filter": "a", "metrics": ["x"], "x": 1}\n' * 2, "the problem 0 is in it twice"),
    ],
)
def test_broken_samples_files_are_one_sentence(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "a.jsonl").write_text(line)
    assert said in error_line("compare", "a.jsonl", "a.jsonl", cwd=tmp_path)


def test_other_problems_are_named_and_the_common_ones_can_be_compared(tmp_path: Path) -> None:
    one = samples(tmp_path / "one.jsonl", dict.fromkeys(range(9), 1.0))
    other = samples(tmp_path / "other.jsonl", dict.fromkeys(range(1, 20), 0.0))
    assert error_line("compare", one, other, cwd=tmp_path) == (
        "Error: one.jsonl and other.jsonl are not over the same problems: 8 in both, 1 only in one.jsonl (0), 11 only "
        "in other.jsonl (9, 10, 11, 12, 13, ...); --common compares those that both have."
    )
    (found,) = as_json(one, other, "--common", cwd=tmp_path)
    assert found["problems"] == 8
    apart = samples(tmp_path / "apart.jsonl", {50: 1.0})
    assert "0 in both" in error_line("compare", one, apart, "--common", cwd=tmp_path)


def test_other_questions_tasks_and_rows_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    write(tmp_path / "results", "other", settings={**SETTINGS, "task": {"name": "svamp"}})
    one = samples(tmp_path / "one.jsonl", {0: 1.0, 1: 0.0})
    other = samples(tmp_path / "other.jsonl", {0: 1.0, 1: 0.0}, doc_hash="another")
    cases = {
        (one, other): "ask other questions: 0, 1 differ in their doc_hash",
        ("mine", "other"): "answer different tasks (toy and svamp)",
        ("mine:gate", "mine:draft"): "mine:gate sees the gold answers: it is an upper bound",
        (
            "mine:rerang",
            "mine",
        ): "has no row 'rerang'; it has draft, local, rerank, gate. Did you mean 'rerank'?",
        ("mien", "mine"): "There is no run record 'mien'",
        ("mine,mine,mine", "mine,mine"): "have 3 and 2 seeds",
        ("mine,other", "mine"): "mine and other are not seeds of one thing",
        ("no.jsonl", "mine"): "no.jsonl cannot be read as a samples file of lm-eval (--log_samples): No such file",
    }
    for names, said in cases.items():
        assert said in error_line("compare", *names, cwd=tmp_path)
    assert "draft" in refine_eval("compare", "mine:gate", "mine:gate", cwd=tmp_path).stdout.replace(
        "mine:gate", "draft"
    )


def test_an_unfinished_run_is_no_run(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    (tmp_path / "results" / "runs" / "mine" / "metrics.json").unlink()
    assert "mine is not a run record: " in error_line("compare", "mine", "mine:draft", cwd=tmp_path)


def test_hostile_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    traces = [ledger_trace(n, {"draft": n % 2 == 0}, {HOSTILE: "draft"}) for n in range(4)]
    write(tmp_path / "results", "mine", traces)
    printed = refine_eval("compare", f"mine:{HOSTILE}", "mine:draft", cwd=tmp_path).stdout
    assert "\x1b" not in printed
    assert "\u2028" not in printed


def test_a_hundred_thousand_problems(tmp_path: Path) -> None:
    count = 100_000
    one = samples(tmp_path / "one.jsonl", {n: float(n % 3 > 0) for n in range(count)})
    other = samples(tmp_path / "other.jsonl", {n: float(n % 5 > 1) for n in range(count)})
    printed = refine_eval("compare", one, other, cwd=tmp_path).stdout
    assert "100,000 problems" in printed
    assert len(printed) < 2_000


def test_logs_of_inspect(tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    def written(name: str, rights: dict[str, list[str]], status: str = "success") -> str:
        found = [
            log.EvalSample(
                id=key, epoch=epoch, input="?", target="1", output=ModelOutput(), scores={"match": Score(value=value)}
            )
            for key, values in rights.items()
            for epoch, value in enumerate(values, 1)
        ]
        spec = log.EvalSpec(
            created="2026-01-01T00:00:00+00:00",
            task="inspect_evals/gsm8k",
            dataset=log.EvalDataset(),
            model="m",
            config=log.EvalConfig(),
        )
        path = tmp_path / name
        log.write_eval_log(log.EvalLog(status=status, eval=spec, samples=found), str(path))
        return name

    one = written("one.eval", {"a": ["C", "C"], "b": ["I", "C"], "c": ["I", "I"]})
    other = written("other.json", {"a": ["C"], "b": ["I"], "c": ["I"]})
    (found,) = as_json(one, other, cwd=tmp_path)
    assert (found["won"], found["difference"]) == (["gsm8k/b"], pytest.approx(0.5 / 3))
    assert "has no score 'f1' of the sample a; it has match" in error_line("compare", f"{one}:f1", other, cwd=tmp_path)
    stopped = written("stopped.eval", {"a": ["C"]}, "cancelled")
    assert "not the log of a finished evaluation (status cancelled)" in error_line(
        "compare", stopped, other, cwd=tmp_path
    )
    write(tmp_path / "results", "mine")
    assert "number their problems in different ways" in error_line("compare", one, "mine", cwd=tmp_path)


def test_a_log_of_inspect_without_the_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "inspect_ai.log", None)
    (tmp_path / "a.eval").write_bytes(b"")
    assert "pip install 'refine-eval[inspect]'" in error_line("compare", "a.eval", "a.eval", cwd=tmp_path)


def test_rows_of_one_record_need_no_store_and_no_models(tmp_path: Path) -> None:
    write(tmp_path / "results", "mine", TRACES)
    (found,) = as_json("mine:rerank", "mine:local", cwd=tmp_path)
    assert found["difference"] == 0
    assert "they answer equally many rightly" in found["says"]
