"""Who asked for which texts, and what critics cost."""

import json
from pathlib import Path

import pytest
from in_process import refine_eval

from refine_eval.data import CutOff, Generation, Problem, Request, Sampling
from refine_eval.plugin.components import Component, Critic, Refiner
from refine_eval.runs.usage import Usage, cut_off_warning

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
    usage.add(component, asked(stage), key, Generation(text="t" * tokens, tokens=tokens, finish_reason="stop"))


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
    usage = Usage()
    usage.add_critic_seconds("toy/1", 0.5)
    usage.add_critic_seconds("toy/1", 0.25)
    assert (usage.critic_seconds("toy/1"), usage.critic_seconds("toy/2")) == (0.75, 0.0)


def test_texts_that_hit_the_limit_count_once_in_their_stage_and_unwritten_ones_not_at_all() -> None:
    usage = Usage()
    for component in (AgreeingCritic(), AgreeingRefiner()):
        for number, reason in enumerate(("length", "stop", "stop")):
            written = Generation(text="t", tokens=1, finish_reason=reason)
            usage.add(component, asked("sample"), bytes([number]), written)
    usage.add(AgreeingRefiner(), asked("sample"), b"none", Generation.without_text("too long"))
    usage.add(AgreeingRefiner(), asked("local"), b"a", Generation(text="t", tokens=1, finish_reason="stop"))
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
    assert found["cut_off"] == record["cut_off"] == expected
    assert [row["cut_off"] for row in found["rows"]] == [row["cut_off"] for row in record["rows"]]
    assert {row["cut_off"] for row in found["rows"]} == {2}
    refine_eval("publish", "results/runs/short", cwd=tmp_path)
    refine_eval("leaderboard", cwd=tmp_path)
    assert f"\n- {note}\n" in (tmp_path / "results/leaderboard-runs.md").read_text()
    refine_eval("report", "results/runs/short", cwd=tmp_path)
    assert f"<p>{note}</p>" in (tmp_path / "results/runs/short/report.html").read_text()
