"""--drafts, --draft-temperature and a task's repeats: each draft goes its whole way, and greedy ones are as before."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from in_process import error_line, refine_eval
from made_tasks import NUMBER, benchmark
from small_run import PROBLEMS, PlainCritic, PlainEngine, SmallRun

from refine_eval.data import Candidate, Critique, Generation, Problem, Request
from refine_eval.errors import UsageError
from refine_eval.plugin.registry import Registry
from refine_eval.results.records import read_run, read_traces
from refine_eval.runs.drafting import Drafting, drafting_of
from refine_eval.runs.requests import derive_seed, request_key
from refine_eval.runs.settings import RunSettings

REPEATED = [
    replace(problem, id=Problem.id_of(problem.id, repeat), repeat=repeat) for problem in PROBLEMS for repeat in (0, 1)
]


class Asked(PlainEngine):
    """Remembers the drafts it was asked for; a text says its seed."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[Request] = []

    def one(self, request: Request) -> Generation:
        if request.purpose == "draft":
            self.drafts.append(request)
        return Generation(text=f"so it is\n#### {request.seed % 100}", tokens=5, finish_reason="stop")


def drafted(folder: Path, problems: Sequence[Problem], how: Drafting, *components: Any) -> tuple[SmallRun, list[Any]]:
    run = SmallRun(folder, *components)
    run.pipeline.strategy = replace(run.pipeline.strategy, drafting=how)
    traces = run.pipeline.run(problems)
    run.pipeline.close()
    run.runtime.close()
    run.store.close()
    return run, traces


def test_a_greedy_draft_is_asked_for_as_ever(tmp_path: Path) -> None:
    engine = Asked()
    drafted(tmp_path, PROBLEMS, Drafting(), engine)
    first = engine.drafts[0]
    assert (first.sampling.temperature, first.sampling.top_p, first.sample) == (0.0, 1.0, 0)
    assert first.seed == derive_seed(0, "toy/0", "draft", 0)
    assert request_key("an engine", "a prompt", first).hex()[:16] == "6e9190ce893f427d", "stores of before serve"


def test_each_repeat_has_a_seed_and_samples_of_its_own(tmp_path: Path) -> None:
    engine = Asked()
    _, traces = drafted(tmp_path, REPEATED, Drafting(drafts=2, temperature=0.8, top_p=0.9), engine)
    assert {(request.sampling.temperature, request.sampling.top_p) for request in engine.drafts} == {(0.8, 0.9)}
    assert len({request.seed for request in engine.drafts}) == 8
    assert engine.drafts[0].seed == derive_seed(0, "toy/0", "draft", 0), "the first is that of a run with one draft"
    refinements = [trace.candidates[1].solution.text for trace in traces]
    assert len(set(refinements)) > 4
    assert [trace.problem.first_id for trace in traces[:3]] == ["toy/0", "toy/0", "toy/1"]


class Counting(PlainCritic):
    """Scores by how often it was asked, as a critic that samples for each repeat may."""

    asked = 0

    def one(self, candidate: Candidate) -> Critique:
        type(self).asked += 1
        return Critique(score=(self.asked % 7) / 10, step_scores=(0.5,) * len(candidate.solution.steps))


class Same(PlainEngine):
    """Writes one text."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        for index, _ in enumerate(requests):
            yield index, Generation(text="so it is\n#### 1", tokens=5, finish_reason="stop")


def test_scores_of_repeats_with_one_text_are_not_mixed_up_when_the_run_is_made_again(tmp_path: Path) -> None:
    scores = []
    for _ in range(2):
        _, traces = drafted(tmp_path, REPEATED, Drafting(drafts=2), Same(), Counting())
        scores.append([trace.critiques["draft"]["when"].score for trace in traces])
    assert scores[0] == scores[1]
    assert scores[0][0] != scores[0][1]


class Task:
    def __init__(self, repeats: int = 1, temperature: float = 0.0, top_p: float = 1.0) -> None:
        self.repeats, self.drawing, self.texts_read = repeats, (temperature, top_p), 1


@pytest.mark.parametrize(
    ("given", "task", "found"),
    [
        ({}, Task(), Drafting()),
        ({}, Task(1, 0.6, 0.8), Drafting(temperature=0.6, top_p=0.8)),
        ({"draft_top_p": 0.5}, Task(1, 0.6, 0.8), Drafting(temperature=0.6, top_p=0.5)),
        ({}, Task(64, 0.6), Drafting(drafts=64, temperature=0.6)),
        ({"drafts": 4}, Task(64, 0.6), Drafting(drafts=4, temperature=0.6)),
        ({"draft_temperature": 0.2}, Task(64, 0.6), Drafting(drafts=64, temperature=0.2)),
        ({"draft_temperature": 1, "draft_top_p": 0.5}, Task(), Drafting(temperature=1, top_p=0.5)),
        ({"drafts": 1, "draft_temperature": 0}, Task(64, 0.6), Drafting()),
    ],
)
def test_what_is_not_said_is_the_tasks(given: dict[str, Any], task: Task, found: Drafting) -> None:
    warned: list[str] = []
    assert drafting_of(RunSettings(**given), task, warned.append) == found
    assert warned == []


def test_equal_drafts_are_warned_of_in_one_sentence() -> None:
    warned: list[str] = []
    drafting_of(RunSettings(drafts=4), Task(), warned.append)
    drafting_of(RunSettings(task="aime"), Task(64), warned.append)
    assert warned == [
        "Warning: --drafts asks for 4 drafts of each problem, and greedy drafts are all the same: pass a "
        "--draft-temperature, such as 0.7, or --drafts 1.",
        "Warning: task 'aime' (repeats) asks for 64 drafts of each problem, and greedy drafts are all the same: pass a "
        "--draft-temperature, such as 0.7, or --drafts 1.",
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"drafts": 0}, "from 1 to 1000"),
        ({"drafts": 10**12}, "from 1 to 1000"),
        ({"draft_temperature": -0.1}, "from 0 to 100"),
        ({"draft_top_p": 0}, "above 0 and at most 1"),
        ({"draft_top_p": 1.1}, "above 0 and at most 1"),
    ],
)
def test_numbers_out_of_range_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        RunSettings(**given)


def test_top_p_needs_a_temperature() -> None:
    with pytest.raises(UsageError, match="pass a --draft-temperature above 0 beside it"):
        drafting_of(RunSettings(draft_top_p=0.9), Task(), print)


QUESTIONS = [{"question": f"What comes before {n + 1}?", "answer": str(n)} for n in range(1, 5)]
SELF_CONSISTENCY = """
repeats: 3
generation_kwargs: {until: ["\\n\\n"], do_sample: true, temperature: 0.2}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - name: score-first
    filter: [{function: regex, regex_pattern: "(-?[0-9.,]+)"}, {function: take_first}]
  - name: maj@2
    filter:
      - {function: take_first_k, k: 2}
      - {function: regex, regex_pattern: "(-?[0-9.,]+)"}
      - {function: majority_vote}
      - {function: take_first}
"""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Drafts of four problems: right, right, wrong; of the last all wrong. Samples: two of four are right."""
    made = benchmark(tmp_path / "task", NUMBER, {"test": QUESTIONS})
    monkeypatch.setattr(Registry, "benchmarks", mock.Mock(return_value={"made": made}))
    rows = []
    for number, doc in enumerate(QUESTIONS):
        right, wrong = f"it is {doc['answer']}", "it is 77"
        drafts = [right, right, wrong] if number < 3 else [wrong, wrong, "it is 78"]
        samples = [right, wrong, right, "who knows"]
        rows.append({"question": doc["question"], "texts": {"draft": drafts, "sample": samples}})
    (tmp_path / "script.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [
        *("run", "-q", "--tasks", "made", "--data-dir", str(tmp_path), "--critic", "calculator", "--model", "scripted"),
        *("--model-args", f"path={tmp_path / 'script.jsonl'}", "--refiner", "resample", "--selector", "vote"),
        *("--resample-samples", "4"),
    ]


def test_one_greedy_draft_leaves_nothing_new_in_the_record(scripted: list[str], tmp_path: Path) -> None:
    refine_eval(*scripted, "--name", "one", cwd=tmp_path)
    refine_eval(*scripted, "--name", "said", "--drafts", "1", "--draft-temperature", "0", cwd=tmp_path)
    one, said = (tmp_path / "results" / "runs" / name for name in ("one", "said"))
    for name in ("traces.jsonl", "results_lm_eval.json"):
        assert (one / name).read_bytes() == (said / name).read_bytes()
    settings = [yaml.safe_load((folder / "run.yaml").read_text()) for folder in (one, said)]
    assert [each.pop("command") != "" for each in settings] == [True, True]
    assert settings[0] == settings[1]
    assert "drafting" not in settings[0]
    assert not {"curves", "drafts"} & set(json.loads((one / "metrics.json").read_text()))
    assert "drafts" not in json.loads((one / "metrics.json").read_text())["rows"][0]
    assert "repeat" not in json.loads((one / "traces.jsonl").read_text().splitlines()[0])


def test_several_drafts_are_one_table_over_problems(scripted: list[str], tmp_path: Path) -> None:
    typed = [*scripted, "--drafts", "3", "--draft-temperature", "0.7"]
    done = refine_eval(*typed, "--name", "three", cwd=tmp_path)
    assert done.stdout.splitlines()[0].startswith("made, 4 problems x 3 drafts, scripted")
    folder = tmp_path / "results" / "runs" / "three"
    record = read_run(folder)
    draft = record.rows[0]
    assert (draft.problems, draft.drafts, draft.correct["last"]) == (4, 3, 6)
    assert draft.accuracy("last") == 0.5
    assert draft.low < 0.5 < draft.high
    assert record.settings["drafting"] == {"drafts": 3, "temperature": 0.7, "top_p": 1.0}
    traces = read_traces(folder)
    assert [trace.problem.id for trace in traces[:4]] == ["made/0", "made/0@1", "made/0@2", "made/1"]
    assert [trace.problem.repeat for trace in traces[:4]] == [0, 1, 2, 0]
    curves = {(each.source, each.way): each for each in record.curves}
    assert [point.k for point in curves["draft", "pass"].points] == [1, 2, 3]
    assert [round(point.accuracy, 4) for point in curves["draft", "pass"].points] == [0.5, 0.75, 0.75]
    assert curves["draft", "maj"].points[-1].accuracy == 0.75
    assert [round(point.accuracy, 4) for point in curves["resample", "pass"].points] == [0.5, 0.8333, 1.0]
    again = refine_eval(*typed, "--name", "three", cwd=tmp_path)
    assert "0 texts written now" in again.stdout
    line = error_line(*scripted, "--name", "three", cwd=tmp_path)
    assert "drafting.drafts 3 and not 1" in line


def test_a_tasks_repeats_are_its_drafts_and_lm_eval_reads_them_all(tmp_path: Path, scripted: list[str]) -> None:
    made = benchmark(tmp_path / "task", SELF_CONSISTENCY, {"test": QUESTIONS})
    with mock.patch.object(Registry, "benchmarks", return_value={"made": made}):
        refine_eval(*scripted[:-4], "--resample-samples", "4", "--selector", "draft", "--name", "repeats", cwd=tmp_path)
        line = error_line(*scripted, "--drafts", "1", cwd=tmp_path, expect=2)
        assert "A filter of task 'made' reads 2 texts of each problem: pass --drafts 2 or more." in line
    runs = tmp_path / "results" / "runs"
    settings = yaml.safe_load((runs / "repeats" / "run.yaml").read_text())
    assert settings["drafting"] == {"drafts": 3, "temperature": 0.2, "top_p": 1.0}
    row = read_run(runs / "repeats").rows[0]
    assert (row.drafts, row.correct) == (3, {"score-first": 6, "maj@2": 6})
    of_lm_eval = json.loads((runs / "repeats" / "results_lm_eval.json").read_text())["results"]["made"]
    assert of_lm_eval["exact_match,score-first"] == 0.75, "the first draft of each"
    assert of_lm_eval["exact_match,maj@2"] == 0.75


def test_curves_of_samples_are_shown_when_asked_for(scripted: list[str], tmp_path: Path) -> None:
    without = json.loads(refine_eval(*scripted, "--json", cwd=tmp_path).stdout)[0]
    found = json.loads(refine_eval(*scripted, "--json", "--curves", cwd=tmp_path).stdout)[0]
    assert "curves" not in without
    assert without["record"] == found["record"], "curves are no other run"
    assert found["generated"] == 0
    assert [(each["way"], each["needs_gold"]) for each in found["curves"]] == [
        ("pass", True),
        ("best-of", False),
        ("maj", False),
        ("weighted-maj", False),
    ]
    assert [point["k"] for point in found["curves"][0]["points"]] == [1, 2, 4]
    shown = refine_eval(*scripted, "--curves", cwd=tmp_path).stdout
    assert "k of 4 samples of resample: accuracy in % with its 95 % interval" in shown
    assert "pass@k *" in shown


def test_a_refiner_without_several_samples_has_no_curves(scripted: list[str], tmp_path: Path) -> None:
    done = refine_eval(*scripted, "--resample-samples", "1", "--curves", cwd=tmp_path)
    assert done.stderr.splitlines() == [
        "Warning: --curves shows nothing: no refiner wrote several samples of every problem; pass --refiner resample, "
        "or --drafts N with a --draft-temperature."
    ]
    assert "k of" not in done.stdout


def test_recorded_texts_have_one_draft(scripted: list[str], tmp_path: Path) -> None:
    (tmp_path / "said.jsonl").write_text("\n".join(json.dumps({**doc, "said": "1"}) for doc in QUESTIONS))
    args = [word.replace("scripted", "recorded").replace("script.jsonl", "said.jsonl,field=said") for word in scripted]
    line = error_line(*args, "--drafts", "2", cwd=tmp_path)
    assert "has one draft of each problem, and another one is asked for, of problem made/0; pass --drafts 1." in line
