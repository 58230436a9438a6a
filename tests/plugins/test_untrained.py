"""The critics that need no training: `rollout` against every continuation counted, `likelihood` against a few lines."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import reward_models
from in_process import error_line, refine_eval

from refine_eval.data import Candidate, Generation, Message, Problem, Prompt
from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.errors import PluginError, UsageError
from refine_eval.formats import continued
from refine_eval.plugin.components import Critic
from refine_eval.plugin.registry import Registry
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.store import Store
from refine_eval.terminal import Progress
from refine_eval.testing import ToyRuntime, component_checks, toy_candidates, toy_problems, toy_solution
from refine_eval_untrained.likelihood import (
    LikelihoodCritic,
    LikelihoodOptions,
    SelfCertaintyCritic,
    SelfCertaintyOptions,
)
from refine_eval_untrained.rollout import OracleRolloutCritic, RolloutCritic

SAMPLES = 6
QUESTION = Problem(id="q/0", task="q", question="What is 2+3+4?", prompt="What is 2+3+4?\n")
STEPS = ("2+3=5", "5+4=9", "#### 9")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that can read any text, and has a chat template."""
    return reward_models.save(tmp_path_factory.mktemp("model"), "LlamaForCausalLM", reward_models.chatml(), {})


# Contracts.


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{kind.name}-{search}-{check}")
        for kind in (RolloutCritic, OracleRolloutCritic)
        for search in ("bisect", "all")
        for check in component_checks(kind, kind.Options(search=search, samples=4))
    ],
)
def test_rollouts_keep_the_contract(check: Any) -> None:
    check()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LikelihoodCritic, {"measure": "probability", "threshold": 0.1}),
        (LikelihoodCritic, {"measure": "entropy"}),
        (SelfCertaintyCritic, {"threshold": 0.5}),
    ],
)
def test_likelihoods_keep_the_contract(kind: type[Critic], options: dict[str, Any], model: Path) -> None:
    for check in component_checks(kind, kind.Options(model=str(model), **options)):
        check()


# Rollout.


def opened(
    kind: type[RolloutCritic] = RolloutCritic, runtime: ToyRuntime | None = None, **options: Any
) -> RolloutCritic:
    critic = kind(kind.Options(samples=SAMPLES, **options))
    critic.open(runtime or ToyRuntime(gold=kind.needs_gold))
    return critic


def shares(candidate: Candidate, wanted: str) -> list[float]:
    """The share of continuations of each prefix that have the answer; of the whole whether it has it."""
    runtime, solution, found = ToyRuntime(), candidate.solution, []
    sampling = runtime.sampling(candidate.problem, temperature=0.7)
    for length in range(1, len(solution.steps)):
        prefix = "".join(f"{step}\n" for step in solution.steps[:length])
        [texts] = runtime.generate(
            [candidate.problem],
            [continued(candidate.problem.prompt, prefix)],
            purpose="rollout",
            sampling=sampling,
            samples=SAMPLES,
        )
        answers = [runtime.solution(candidate.problem, text, prefix).answer for text in texts]
        found.append(answers.count(wanted) / SAMPLES)
    return [*found, float(solution.answer == wanted)]


def majority(problem: Problem) -> str:
    answers = [solution.answer for solution in ToyRuntime().sample_answers([problem], SAMPLES, 0.7)[0]]
    return str(max(dict.fromkeys(answers), key=answers.count))


def test_all_prefixes_have_the_share_of_continuations_that_reach_the_majoritys_answer() -> None:
    candidates = toy_candidates(20)
    found = opened(search="all").critique(candidates)
    for candidate, critique in zip(candidates, found, strict=True):
        expected = shares(candidate, majority(candidate.problem))
        assert critique.step_scores == pytest.approx(expected)
        assert critique.score == expected[-1]
        last = max((n for n, share in enumerate(expected) if share), default=-1) + 1
        assert critique.first_bad_step == (last if last < len(expected) else None)
    assert len({score for critique in found for score in critique.step_scores}) > 3
    assert len({critique.first_bad_step for critique in found}) > 2


def test_the_oracle_asks_for_the_gold_answer() -> None:
    gold = {problem.id: answer for problem, answer in zip(toy_problems(), ("84", "55", "10", "60", "15"), strict=True)}
    candidates = toy_candidates(20)
    found = opened(OracleRolloutCritic, search="all").critique(candidates)
    for candidate, critique in zip(candidates, found, strict=True):
        assert critique.step_scores == pytest.approx(shares(candidate, gold[candidate.problem.id]))
    with pytest.raises(PluginError, match="needs_gold"):
        opened(OracleRolloutCritic, ToyRuntime()).critique(candidates[:1])


class Counting(ToyRuntime):
    """Counts the continuations that are asked for, each prompt and number once."""

    def __init__(self, gold: bool = False) -> None:
        super().__init__(gold=gold)
        self.continued: set[tuple[str, int]] = set()

    def generate(self, problems: Sequence[Problem], prompts: Sequence[Prompt], **how: Any) -> list[list[Generation]]:
        if how["purpose"] == "rollout":
            self.continued |= {(str(prompt), how.get("first", 0)) for prompt in prompts}
        return super().generate(problems, prompts, **how)


def test_bisection_finds_the_place_with_fewer_continuations() -> None:
    candidates, all_, bisect = toy_candidates(20), Counting(), Counting()
    exhaustive = opened(runtime=all_, search="all").critique(candidates)
    found = opened(runtime=bisect).critique(candidates)
    assert 0 < len(bisect.continued) < len(all_.continued) / 2
    assert bisect.continued < all_.continued
    for long, short, candidate in zip(exhaustive, found, candidates, strict=True):
        good = len(candidate.solution.steps) if short.first_bad_step is None else short.first_bad_step
        assert short.step_scores == tuple(float(n < good) for n in range(len(candidate.solution.steps)))
        assert short.score == long.score
        # A lucky longer prefix is the only thing that may set them apart (the first rule).
        if all(share > 0 for share in long.step_scores[:good]):
            assert short.first_bad_step == long.first_bad_step


def test_what_is_right_itself_is_not_continued_by_bisection() -> None:
    runtime = Counting(gold=True)
    right = replace(toy_candidates(1)[0], solution=toy_solution("23+5=28\n28*3=84\n#### 84"))
    [found] = opened(OracleRolloutCritic, runtime).critique([right])
    assert (found.score, found.step_scores, found.first_bad_step) == (1.0, (1.0, 1.0, 1.0), None)
    assert not runtime.continued


class Silent(ToyRuntime):
    """A student that writes no answer, or nothing at all after a prefix."""

    def __init__(self, *, answers: bool) -> None:
        super().__init__()
        self.answers = answers

    def generate(self, problems: Sequence[Problem], prompts: Sequence[Prompt], **how: Any) -> list[list[Generation]]:
        written = super().generate(problems, prompts, **how)
        if not self.answers:
            return [[replace(one, text="I do not know.") for one in some] for some in written]
        unwritten = Generation.without_text("prompt longer than the context (9 tokens of 8)")
        return [[unwritten] * len(some) for some in written] if how["purpose"] == "rollout" else written


def test_without_an_answer_or_a_continuation_there_is_no_score() -> None:
    wrong = replace(toy_candidates(1)[0], solution=toy_solution("23+5=28\n28*3=85\n#### 99"))
    [found] = opened(runtime=Silent(answers=False)).critique([wrong])
    assert found.unscored == "none of its problem's samples has an answer"
    [found] = opened(runtime=Silent(answers=True), search="all").critique([wrong])
    assert found.unscored == "a continuation was not written (prompt longer than the context (9 tokens of 8))"


def test_chats_are_continued_by_prefill() -> None:
    chat = replace(toy_problems()[0], prompt=(Message(role="user", content="Question: 1\nAnswer:\n"),))
    candidate = replace(toy_candidates(1)[0], problem=chat, solution=toy_solution("23+5=28\n28*3=85\n#### 99"))
    runtime = ToyRuntime(gold=True)
    opened(OracleRolloutCritic, runtime, search="all").critique([candidate])
    prefills = {prompt[-1].content for prompt in runtime.prompts if isinstance(prompt, tuple) and len(prompt) > 1}
    assert prefills == {"23+5=28\n", "23+5=28\n28*3=85\n"}


# Likelihood.


def read(model: Path, prompt: Prompt) -> tuple[Any, Any, Any]:
    """Log-probabilities of each next token over the vocabulary, the tokens, and the characters where they begin."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    text = (
        prompt
        if isinstance(prompt, str)
        else f"<|im_start|>user\n{prompt[0].content}<|im_end|>\n<|im_start|>assistant\n"
    )
    encoded = tokenizer(text + "\n".join(STEPS), return_offsets_mapping=True)
    ids = torch.tensor([encoded["input_ids"]])
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(ids).logits[0, :-1]
    begins = torch.tensor([begin for begin, _ in encoded["offset_mapping"]])[1:] - len(text)
    return logits.log_softmax(-1), ids[0, 1:], begins


@pytest.mark.parametrize("prompt", [QUESTION.prompt, (Message(role="user", content="What is 2+3+4?"),)])
@pytest.mark.parametrize("measure", ["probability", "entropy", "self-certainty"])
def test_scores_are_the_means_over_the_steps_tokens(measure: str, prompt: Prompt, model: Path) -> None:
    logs, ids, begins = read(model, prompt)
    size = logs.shape[-1]
    of_token = {
        "probability": logs[range(len(ids)), ids],
        "entropy": 1 + (logs.exp() * logs).sum(-1) / math.log(size),
        "self-certainty": (1 / size * (math.log(1 / size) - logs)).sum(-1),
    }[measure]
    score: Callable[[float], float] = {
        "probability": math.exp,
        "entropy": lambda mean: mean,
        "self-certainty": lambda mean: mean / (1 + mean),
    }[measure]
    ends = [0, *(len("\n".join(STEPS[:n]) + "\n") for n in (1, 2)), len("\n".join(STEPS))]
    means = [of_token[(begins >= a) & (begins < b)].mean().item() for a, b in pairwise(ends)]
    whole = of_token[begins >= 0].mean().item()
    candidate = Candidate(
        id="draft",
        problem=replace(QUESTION, prompt=prompt),
        solution=toy_solution("\n".join(STEPS)),
        origin="draft",
        component="toy",
        sample=0,
    )
    critic: Critic = (
        SelfCertaintyCritic(SelfCertaintyOptions(model=str(model)))
        if measure == "self-certainty"
        else LikelihoodCritic(LikelihoodOptions(model=str(model), measure=measure))  # type: ignore[arg-type]
    )
    critic.open(ToyRuntime())
    [found] = critic.critique([candidate])
    critic.close()
    assert found.score == pytest.approx(score(whole), abs=1e-5)
    assert found.step_scores == pytest.approx([score(mean) for mean in means], abs=1e-5)
    assert found.read_tokens == len(ids) + 1
    assert found.first_bad_step is None


def test_a_threshold_names_the_first_step_below_it(model: Path) -> None:
    candidates, scores = toy_candidates(6), []
    for threshold in (0.0, 1.0):
        critic = LikelihoodCritic(LikelihoodOptions(model=str(model), threshold=threshold))
        critic.open(ToyRuntime())
        scores.append(critic.critique(candidates))
    assert {critique.first_bad_step for critique in scores[0]} == {None}
    assert {critique.first_bad_step for critique in scores[1]} == {0}


def test_the_student_is_read_by_default_and_costs_are_known(tmp_path: Path) -> None:
    asked = ("--limit", "3", "--refiner", "resample", "--resample-samples", "2", "--curves")
    for critic in ("likelihood", "self-certainty", "rollout"):
        extra = ("--rollout-samples", "2") if critic == "rollout" else ()
        refine_eval("run", *asked, "--critic", critic, "--name", critic, *extra, cwd=tmp_path)
        record = tmp_path / f"results/runs/{critic}"
        metrics = json.loads((record / "metrics.json").read_text())
        chosen = next(row for row in metrics["rows"] if row["name"] == "rerank")
        assert chosen["read_tokens"] > 0
        assert chosen["flops"] > 0
        scores = {
            critique["score"]
            for line in (record / "traces.jsonl").read_text().splitlines()
            for critique in json.loads(line)["critiques"]["draft"].values()
        }
        assert all(0 <= score <= 1 for score in scores)


def test_a_student_without_files_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "script.jsonl").write_text(json.dumps({"question": "how", "texts": {}}) + "\n")
    runtime = RunRuntime(
        student=ScriptedEngine(ScriptedEngine.Options(path=str(tmp_path / "script.jsonl"))),
        registry=Registry(),
        store=Store(tmp_path / "store.sqlite"),
        tasks=mock.Mock(),
        progress=Progress(quiet=True),
    )
    critic = LikelihoodCritic()
    with pytest.raises(UsageError, match=r"Critic 'likelihood' .*'scripted' has none here: pass --likelihood-model"):
        critic.open(runtime.for_component(critic))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--rollout-samples", "0"), "must be a whole number of at least 1"),
        (("--rollout-temperature", "0"), "must be a number above 0"),
        (("--rollout-search", "best"), "must be bisect or all"),
        (("--likelihood-measure", "surprise"), "must be probability or entropy"),
        (("--likelihood-threshold", "2"), "must be a number from 0 to 1"),
    ],
)
def test_options_that_make_no_sense(words: tuple[str, str], says: str, tmp_path: Path) -> None:
    critic = words[0].split("-")[2]
    assert says in error_line("run", "--critic", critic, "--refiner", "resample", *words, cwd=tmp_path, expect=2)
