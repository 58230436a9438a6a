"""`refine-eval plan`: what a dry run on a few problems predicts of the whole suite."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from in_process import error_line, refine_eval, student

from refine_eval.costs import RequestedText
from refine_eval.data import Request
from refine_eval.recipes.cost import (
    PlanSettings,
    StageCost,
    at_mean_cost,
    known_sum,
    predicted,
    seconds_for,
    total,
    trained,
)
from refine_eval.runs.execute import execute

SUITE = """
every: {tasks: apples, critic: calculator, limit: 60}
runs:
  refine: {refiner: global}
  resample: {refiner: resample, resample-samples: 1}
"""
PLAN = ("plan", "--suite", "suite.yaml", "--throughput", "1000", "-q")


def asked(tokens: Mapping[str, int]) -> list[RequestedText]:
    """A text of so many tokens for each problem; prompts have 100 characters, and a token has four."""
    return [
        RequestedText(problem_id=problem, prompt_characters=100, characters=4 * count, tokens=count)
        for problem, count in tokens.items()
    ]


def test_a_stage_costs_each_further_problem_what_it_cost_the_measured_on_average() -> None:
    (draft, rest) = predicted({"draft": asked({"a": 10, "b": 20}), "local": asked({"a": 8})}, 2, 10)
    assert (draft.stage, draft.texts, draft.written) == ("draft", 10, 150)
    assert draft.read == 2 * 25 * 5, "prompt characters at four a token"
    # Standard deviation 5 * 2 ** 0.5 of two, of ten; two of the ten are known.
    assert draft.margin == pytest.approx(1.96 * 50**0.5 / 2**0.5 * 0.8**0.5 * 10)
    assert (rest.texts, rest.written) == (5, 40), "problems without a text count too"
    both = total([draft, rest])
    assert both.written == 190
    assert both.margin == pytest.approx((draft.margin**2 + rest.margin**2) ** 0.5)


def test_what_is_measured_whole_is_known() -> None:
    (cost,) = predicted({"draft": asked({"a": 10, "b": 20})}, 2, 2)
    assert (cost.written, cost.margin) == (30, 0)
    (cost,) = predicted({"draft": asked({"a": 10})}, 1, 1)
    assert (cost.written, cost.margin) == (10, 0)
    (cost,) = predicted({"draft": asked({"a": 10})}, 1, 2)
    assert (cost.written, cost.margin) == (20, float("inf")), "one problem says nothing of others"
    assert predicted({}, 3, 9) == []
    assert total([]).written == 0


def test_further_work_costs_what_the_measured_did_on_average() -> None:
    assert at_mean_cost(30, 2, 10) == 150
    assert at_mean_cost(None, 2, 10) is None
    assert at_mean_cost(30, 2, None) is None
    assert seconds_for(30, 4) == 7.5
    assert seconds_for(None, 4) is seconds_for(30, None) is None


def test_sums_of_what_is_known() -> None:
    assert known_sum([1, None, 2]) == 3
    assert known_sum([0, 0]) == 0
    assert known_sum([None, 0]) is known_sum([None]) is None
    assert known_sum([]) == 0


def test_gpu_hours() -> None:
    cost = StageCost(stage="draft", texts=1, read=7200, written=3600, margin=0)
    assert cost.gpu_hours(PlanSettings(throughput=1)) == 1
    assert cost.gpu_hours(PlanSettings(throughput=0.5)) == 2
    assert cost.gpu_hours(PlanSettings(throughput=1, prompt_throughput=2)) == 2
    trains = StageCost(stage="train orm", texts=1, trained=36_000)
    assert trains.gpu_hours(PlanSettings(throughput=1)) == 0
    assert trains.gpu_hours(PlanSettings(throughput=1, train_throughput=10)) == 1
    assert total([cost, trains]).gpu_hours(PlanSettings(throughput=1, train_throughput=10)) == 2


def test_what_is_known_of_reading_is_not_guessed_from_characters() -> None:
    texts = [RequestedText(problem_id=name, prompt_characters=100, characters=40, tokens=10) for name in "ab"]
    (guessed,) = predicted({"draft": texts}, 2, 4)
    (known,) = predicted({"draft": [replace(text, read=7) for text in texts]}, 2, 4)
    (judged,) = predicted({"critic orm": [RequestedText(problem_id="a", read=30)]}, 2, 4)
    assert (guessed.read, known.read) == (2 * 25 * 2, 2 * 7 * 2)
    assert (judged.texts, judged.read, judged.written, judged.margin) == (2, 60, 0, 0)


def test_models_are_trained_on_rows_as_long_as_question_and_solution() -> None:
    texts = [RequestedText(problem_id="a", prompt_characters=100, characters=40, tokens=10)]
    assert trained("orm", 32, texts) == StageCost(stage="train orm", texts=32, trained=32 * 35)
    assert trained("orm", 32, []).trained == 0


def test_a_suite_of_sixty_problems_is_predicted_from_twenty(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    shown: list[list[tuple[str, StageCost]]] = []
    with mock.patch("refine_eval.cli.plan._show", lambda costs, *_: shown.append(costs)):
        refine_eval(*PLAN, "--sample", "20", cwd=tmp_path)
    assert [path.name for path in (tmp_path / "results").iterdir() if "store" not in path.name] == []
    outcomes = []

    def kept(*arguments: Any, **named: Any) -> Any:
        outcomes.append(execute(*arguments, **named))
        return outcomes[-1]

    with mock.patch("refine_eval.runs.execute.execute", kept):
        refine_eval("run", "--suite", "suite.yaml", "-q", cwd=tmp_path)
    (costs,) = shown
    found = {(name, cost.stage): cost for name, cost in costs}
    real: Counter[tuple[str, str]] = Counter()
    seen: set[bytes] = set()
    for name, outcome in zip(("refine", "resample"), outcomes, strict=True):
        for stage, texts in outcome.requested.items():
            real[f"{name}, apples", stage] += sum(text.tokens for key, text in texts.items() if key not in seen)
            seen.update(texts)
    assert {what for what, tokens in real.items() if tokens} == found.keys()
    assert ("resample, apples", "draft") not in found, "the second run has the first one's drafts"
    for what, cost in found.items():
        assert 0 < cost.margin < 0.5 * cost.written
        assert abs(cost.written - real[what]) <= 3 * cost.margin, what
    assert sum(outcome.generated for outcome in outcomes) == 40 * 3, "what the dry run wrote is not written again"
    drafts = found["refine, apples", "draft"]
    assert (drafts.texts, drafts.read > drafts.written) == (60, True)


CRITICS = """
every: {tasks: apples, critic: orm, refiner: global, limit: 40}
runs:
  rerank: {selector: rerank}
  gate: {selector: gate}
"""


def test_what_critics_read_is_predicted_once_for_all_runs(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(CRITICS)
    shown: list[list[tuple[str, StageCost]]] = []
    with mock.patch("refine_eval.cli.plan._show", lambda costs, *_: shown.append(costs)):
        for sample in ("20", "40"):
            refine_eval(*PLAN, "--sample", sample, cwd=tmp_path)
    predicted, whole = ({(name, cost.stage): cost for name, cost in costs} for costs in shown)
    refine_eval("run", "--suite", "suite.yaml", "-q", cwd=tmp_path)
    record = json.loads((tmp_path / "results" / "runs" / "gate" / "metrics.json").read_text())
    (read,) = [each["prompt_tokens"] for each in record["usage"]["models"] if each["name"] == "critic orm"]
    orm = "rerank, apples", "critic orm"
    assert predicted[orm].read == pytest.approx(whole[orm].read, rel=0.3)
    # Refinements that repeat the draft are not read again, though a record counts them.
    assert 40 <= whole[orm].texts <= 80
    assert read * whole[orm].texts / 80 == pytest.approx(whole[orm].read, rel=0.1)
    assert ("gate, apples", "critic orm") not in predicted, "the second run has the first one's scores"


def scripted(request: Request) -> str:
    """Drafts are of three words; every other sample is right; rollouts are wrong."""
    return "1+1=2 #### 0" if request.purpose == "draft" else "2+3=5\n#### 5" if request.sample % 2 else "2+3=6\n#### 6"


SCRIPTED = """
every: {tasks: gsm8k_zero_shot, data-dir: data, model: scripted, critic: calculator, refiner: resample}
runs:
  three: {resample-samples: 3}
  one: {resample-samples: 1}
training: {questions: 40, samples: 4, rollouts: 2, per_question: 1, train: {orm: 640, local: 80}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    rows = "".join(f'{{"question": "Ann has {n} apples.", "answer": "2+3=5\\n#### 5"}}\n' for n in range(20))
    for split in ("train", "test"):
        (tmp_path / "data" / "gsm8k" / f"{split}.jsonl").write_text(rows)
    (tmp_path / "suite.yaml").write_text(SCRIPTED.replace("\\n", "\n"))
    return tmp_path


def test_texts_that_runs_share_count_once_and_training_data_is_a_part(place: Path) -> None:
    with student(scripted, "cli.plan", "runs.execute"):
        done = refine_eval(*PLAN, "--sample", "5", "--gpus", "2", cwd=place)
    lines = [line.split() for line in done.stdout.splitlines()]
    cells = {" ".join(line[:-6]): line[-6:] for line in lines[1:-1]}
    assert {name: line[0] for name, line in cells.items()} == {
        "three, gsm8k_zero_shot draft": "20",
        "three, gsm8k_zero_shot sample": "60",
        # The run "one" asks for nothing else.
        "training data sample": "160",
        # The one distinct wrong sample of a question: two rollouts of "2+3=6", one or two of nothing.
        "training data rollout": cells["training data rollout"][0],
        "training data train orm": "640",
        "training data train local": "80",
        "all": cells["all"][0],
    }
    assert cells["three, gsm8k_zero_shot draft"][2:4] == ["60", "0"], "three words each"
    rows = {name: float(line[4].replace(",", "")) for name, line in cells.items()}
    assert rows["training data train orm"] == pytest.approx(8 * rows["training data train local"], rel=0.01)
    assert rows["all"] == pytest.approx(rows["training data train orm"] + rows["training data train local"], abs=1)
    # A question with its prompt has eight words or more, and a solution two to four.
    assert 640 * 5 < rows["training data train orm"] < 640 * 30
    assert "hours on 2 GPUs at 1,000 tokens/s each, reading taking no time (--prompt-throughput) and training" in (
        done.stdout
    )
    assert not (place / "results" / "runs").exists()


def test_limits_beside_the_suite_and_of_the_task(place: Path) -> None:
    (place / "suite.yaml").write_text(SCRIPTED.partition("training")[0])
    for more, texts in ((("--limit", "8"), "8"), (("--limit", "3"), "3"), (("--limit", "1000"), "20"), ((), "20")):
        with student(scripted, "runs.execute"):
            done = refine_eval(*PLAN, "--sample", "5", *more, cwd=place)
        assert done.stdout.splitlines()[1].split()[3] == texts


def test_what_plan_refuses(place: Path) -> None:
    assert "No option is called --limt. Did you mean '--limit'?" in error_line(
        *PLAN, "--limt", "3", cwd=place, expect=2
    )
    for rows in ("3", "{orm: 0}", "{orm: {steps: 3}}", "{orm: true}"):
        (place / "suite.yaml").write_text(SCRIPTED.replace("{orm: 640, local: 80}", rows))
        assert "in `training`, `train` takes" in error_line(*PLAN, cwd=place, expect=2)
    (place / "suite.yaml").write_text(SCRIPTED.replace("orm: 640", "orn: 640"))
    assert "No trainer is called 'orn'" in error_line(*PLAN, cwd=place)
    (place / "suite.yaml").write_text("runs: []")
    assert "it has no runs" in error_line(*PLAN, cwd=place, expect=2)
    assert not (place / "results").exists()
