"""Who asked for which texts, and what critics cost."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import refine_eval
from small_run import PlainCritic, PlainEngine, SmallRun

from refine_eval.costs import CutOff, ModelUsage
from refine_eval.data import Candidate, Critique, Generation, Problem, Request, Sampling, Trace
from refine_eval.plugin.components import Component, Critic, Refiner
from refine_eval.results.ledger import rows
from refine_eval.runs.usage import Tally, Usage, cut_off_warning

PROBLEM = Problem(id="toy/1", task="toy", question="q", prompt="p")


class AgreeingCritic(Critic):
    """Has the refiner's name."""

    name = "agree"


class AgreeingRefiner(Refiner):
    """Has the critic's name."""

    name = "agree"


def asked(stage: str) -> Request:
    return Request(problem=PROBLEM, prompt="p", sampling=Sampling(max_tokens=9), purpose=stage, sample=0, seed=0)


def add(usage: Usage, component: Component, key: bytes, tokens: int, stage: str = "sample") -> None:
    usage.add(
        component, asked(stage), key, Generation(text="t" * tokens, tokens=tokens, finish_reason="stop"), "student"
    )


def test_a_critic_pays_for_its_own_texts_and_not_for_candidates() -> None:
    usage, critic, refiner = Usage(), AgreeingCritic(), AgreeingRefiner()
    add(usage, critic, b"shared", 3)
    add(usage, refiner, b"shared", 3)
    add(usage, critic, b"its own", 5)
    add(usage, refiner, b"a candidate", 7)
    assert usage.critic_tokens("toy/1", [critic]) == 5, "a refiner of the same name is another component"
    assert usage.critic_tokens("toy/2", [critic]) == 0


def test_a_text_counts_once_in_its_stage_whoever_asks() -> None:
    usage = Usage()
    for component in (AgreeingCritic(), AgreeingRefiner()):
        add(usage, component, b"key", 4)
    add(usage, AgreeingRefiner(), b"key", 4, stage="local")
    assert {stage: list(texts) for stage, texts in usage.requested.items()} == {"sample": [b"key"], "local": [b"key"]}
    assert (usage.requested["sample"][b"key"].tokens, usage.requested["sample"][b"key"].prompt_characters) == (4, 1)


def test_seconds_of_critics_add_up() -> None:
    usage, seen = Usage(), Critique(score=0.5, step_scores=())
    usage.add_critique(AgreeingCritic(), "toy/1", b"a", seen, 0.5)
    usage.add_critique(AgreeingCritic(), "toy/1", b"b", seen, 0.25)
    assert (usage.critic_seconds("toy/1"), usage.critic_seconds("toy/2")) == (0.75, 0.0)
    assert not usage.judged, "it has no model"


def test_what_critics_read_is_told_by_key() -> None:
    usage, seen = Usage(), Critique(score=0.5, step_scores=(), read_tokens=12)
    for key in (b"a", b"a", b"b"):
        usage.add_critique(AgreeingCritic(), "toy/1", key, seen, 0.5)
    (found,) = usage.judged.values()
    assert {key: (text.problem_id, text.read) for key, text in found.items()} == {
        b"a": ("toy/1", 12),
        b"b": ("toy/1", 12),
    }


def test_texts_that_hit_the_limit_count_once_in_their_stage_and_unwritten_ones_not_at_all() -> None:
    usage = Usage()
    for component in (AgreeingCritic(), AgreeingRefiner()):
        for number, reason in enumerate(("length", "stop", "stop")):
            written = Generation(text="t", tokens=1, finish_reason=reason)
            usage.add(component, asked("sample"), bytes([number]), written, "student")
    usage.add(AgreeingRefiner(), asked("sample"), b"none", Generation.without_text("too long"), "student")
    usage.add(AgreeingRefiner(), asked("local"), b"a", Generation(text="t", tokens=1, finish_reason="stop"), "student")
    assert usage.cut_off() == (CutOff(stage="sample", texts=1, of=3), CutOff(stage="local", texts=0, of=1))


@pytest.mark.parametrize(("texts", "warned"), [(0, False), (1, False), (2, True)])
def test_more_than_a_twentieth_is_worth_a_warning(texts: int, warned: bool) -> None:
    stages = [CutOff(stage="draft", texts=0, of=20), CutOff(stage="sample", texts=texts, of=20)]
    said = cut_off_warning(stages)
    assert (said is not None) is warned
    assert not warned or ("(sample 2 of 20)" in str(said) and "--max-gen-toks" in str(said))


def test_a_run_says_what_was_cut_off_and_warns_once(tmp_path: Path) -> None:
    chosen = ("--critic", "calculator", "--refiner", "resample", "--resample-samples", "1", "--name", "short", "-q")
    typed = ("run", "--limit", "2", *chosen, "--max-gen-toks", "3")
    done = refine_eval(*typed, "--columns", "answer,cut-off", cwd=tmp_path)
    note = "cut off at the length limit: draft 100.0 % (2 of 2), sample 100.0 % (2 of 2)"
    assert [line.split() for line in done.stdout.splitlines()[1:3]] == [
        ["answer", "cut", "off", "%"],
        ["draft", "100.0"],
    ]
    assert f"\n{note}\n" in done.stdout
    assert done.stderr.count("--max-gen-toks") == 1
    (found,) = json.loads(refine_eval(*typed, "--json", cwd=tmp_path).stdout)
    expected = [{"stage": "draft", "texts": 2, "of": 2}, {"stage": "sample", "texts": 2, "of": 2}]
    record = json.loads((tmp_path / "results/runs/short/metrics.json").read_text())
    (model,) = found["usage"]["models"]
    assert (model["name"], model["texts"], model["tokens"], model["unknown"]) == ("student", 4, 12, 0)
    draft = found["rows"][0]
    assert draft["flops"] == 2 * model["parameters"] * (draft["read_tokens"] + draft["tokens"]) > 0
    assert record["usage"] == found["usage"]
    assert record["rows"] == [{k: v for k, v in row.items() if k != "accuracy"} for row in found["rows"]]
    assert found["cut_off"] == record["cut_off"] == expected
    assert [row["cut_off"] for row in found["rows"]] == [row["cut_off"] for row in record["rows"]]
    assert {row["cut_off"] for row in found["rows"]} == {2}
    refine_eval("publish", "results/runs/short", cwd=tmp_path)
    refine_eval("leaderboard", cwd=tmp_path)
    assert f"\n- {note}\n" in (tmp_path / "results/leaderboard-runs.md").read_text()
    refine_eval("report", "results/runs/short", cwd=tmp_path)
    page = (tmp_path / "results/runs/short/report.html").read_text()
    assert f'<p class="note">{note}</p>' in page
    assert f"<td>student</td><td>{model['parameters']:,}</td><td>4</td>" in page
    assert '<th scope="col">read</th><th scope="col">FLOPs</th>' in page


# What a run reads, writes and computes.


class ReadingEngine(PlainEngine):
    """Prompts of 9 tokens, of which 4 are cached in samples; 100 parameters."""

    model_parameters = 100

    def one(self, request: Request) -> Any:
        return replace(super().one(request), prompt_tokens=9, cached_tokens=0 if request.purpose == "draft" else 4)


class ReadingCritic(PlainCritic):
    """Reads 20 tokens for each text; 10 parameters."""

    model_parameters = 10

    def one(self, candidate: Candidate) -> Any:
        return replace(super().one(candidate), read_tokens=20)


class AskingCritic(PlainCritic):
    """Has the student write a text of its own for each candidate, and no model."""

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        problems = [candidate.problem for candidate in batch]
        self.runtime.generate(problems, ["judge"] * len(problems), purpose="verdict")
        return super().critique(batch)


def table(traces: Sequence[Trace]) -> dict[str, tuple[float, float | None, float | None]]:
    graded = [replace(t, correct={c.id: {"strict": True} for c in t.candidates}) for t in traces]
    return {row.name: (row.tokens, row.read_tokens, row.flops) for row in rows(graded, "strict")}


DRAFT = 2 * 100 * (9 + 5)
SAMPLE = 2 * 100 * (9 - 4 + 5)
PASS = 2 * 10 * 20


def test_rows_pay_for_all_that_they_need(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, ReadingEngine(), ReadingCritic())
    both = (10.0, 9 + 5 + 2 * 20.0, DRAFT + SAMPLE + 2 * PASS)
    assert table(small.traces()) == {"draft": (5.0, 9.0, DRAFT), "plain-refiner": both, "plain-selector": both}
    assert small.runtime.usage.by_model() == (
        ModelUsage(name="student", parameters=100, texts=8, prompt_tokens=72, cached_tokens=16, tokens=40, unknown=0),
        ModelUsage(
            name="critic plain-critic", parameters=10, texts=8, prompt_tokens=160, cached_tokens=0, tokens=0, unknown=0
        ),
    )


def test_a_run_from_the_store_costs_the_same(tmp_path: Path) -> None:
    first, again = (SmallRun(tmp_path, ReadingEngine(), ReadingCritic()) for _ in range(2))
    assert table(first.traces()) == table(again.traces())
    assert again.runtime.generated == 0
    assert first.runtime.usage.by_model() == again.runtime.usage.by_model()


def test_what_critics_have_written_is_read_and_computed_too(tmp_path: Path) -> None:
    traces = SmallRun(tmp_path, ReadingEngine(), AskingCritic()).traces()
    # "judge" is written once, greedily: a text of each problem's critics.
    assert [(t.critic_tokens, t.critic_read_tokens, t.critic_flops) for t in traces] == [(5, 5, SAMPLE)] * 4


def test_an_engine_that_does_not_know_leaves_its_rows_unknown(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, PlainEngine(), ReadingCritic())
    found = table(small.traces())
    assert {(read, computed) for _, read, computed in found.values()} == {(None, None)}
    (student, _) = small.runtime.usage.by_model()
    assert (student.parameters, student.prompt_tokens, student.unknown) == (None, 0, 8)


def test_tokens_may_be_known_where_the_models_size_is_not(tmp_path: Path) -> None:
    engine = ReadingEngine()
    engine.model_parameters = None  # type: ignore[assignment]
    assert table(SmallRun(tmp_path, engine, ReadingCritic()).traces())["draft"] == (5.0, 9.0, None)


def test_scores_of_before_are_of_an_unknown_number_of_tokens(tmp_path: Path) -> None:
    SmallRun(tmp_path, ReadingEngine(), ReadingCritic()).traces()
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        db.execute("PRAGMA application_id=0")  # as in a file from before there were checksums
        db.execute("UPDATE critiques SET read_tokens = NULL, checksum = NULL")
        db.execute(
            "UPDATE generations SET prompt_tokens = NULL, cached_tokens = NULL, checksum = NULL WHERE seconds = 0.5"
        )
    small = SmallRun(tmp_path, ReadingEngine(), ReadingCritic())
    assert {(read, computed) for _, read, computed in table(small.traces()).values()} == {(None, None)}
    assert small.runtime.generated == 0
    assert [model.unknown for model in small.runtime.usage.by_model()] == [8, 8]


def test_a_text_that_could_not_be_written_costs_nothing(tmp_path: Path) -> None:
    class HalfEngine(ReadingEngine):
        def one(self, request: Request) -> Any:
            return Generation.without_text("no") if request.problem.id == "toy/0" else super().one(request)

    assert table(SmallRun(tmp_path, HalfEngine()).traces())["draft"] == (5 * 3 / 4, 9 * 3 / 4, DRAFT * 3 / 4)


def test_a_tally_counts_texts_that_runs_share_once() -> None:
    critic, first, second, tally = AgreeingCritic(), Usage(), Usage(), Tally()
    texts = [Generation(text="x", tokens=tokens, finish_reason="stop") for tokens in (3, 5)]
    assert first.add_written([*texts, Generation.without_text("too long")]) == 2
    for usage in (first, second):
        add(usage, critic, b"shared", 3)
        add(usage, critic, b"shared", 3, stage="another")
    add(first, critic, b"its own", 5)
    assert tally.add(first).counts() == {"texts_now": 2, "tokens_now": 8, "texts": 2, "tokens": 8}
    assert tally.add(second).counts() == {"texts_now": 2, "tokens_now": 8, "texts": 2, "tokens": 8}
    assert Tally().add(second).counts() == {"texts_now": 0, "tokens_now": 0, "texts": 1, "tokens": 3}
