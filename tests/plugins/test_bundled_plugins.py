"""The bundled refiners, selectors and untrained critics, on the toy student."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

import refine_eval_benchmarks
import refine_eval_refiners
from refine_eval.critics.token_classifier import TokenClassifierCritic
from refine_eval.data import Candidate, Critique, Problem, Prompt, ScoredCandidate
from refine_eval.engines.lm_eval_engine import LmEvalEngine
from refine_eval.engines.recorded import RecordedEngine
from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.engines.transformers_engine import TransformersEngine
from refine_eval.errors import PluginError, UsageError
from refine_eval.formats import global_prompt, join_steps, local_prompt
from refine_eval.plugin.components import Component, Critic, Selector
from refine_eval.testing import (
    ToyRuntime,
    component_checks,
    run_checks,
    toy_candidates,
    toy_judged,
    toy_problems,
    toy_solution,
)
from refine_eval_orm.critic import OrmCritic
from refine_eval_refiners.critics import (
    AgreementCritic,
    AgreementOptions,
    CalculatorCritic,
    OracleCritic,
    OracleStepsCritic,
)
from refine_eval_refiners.global_refiner import GlobalRefiner
from refine_eval_refiners.local_refiner import LocalRefiner
from refine_eval_refiners.model_refiner import MODELS, ModelOptions
from refine_eval_refiners.resample import ResampleOptions, ResampleRefiner
from refine_eval_refiners.selectors import (
    DraftSelector,
    GateOptions,
    GateSelector,
    OracleSelector,
    RerankSelector,
    VoteSelector,
    WeightedVoteSelector,
)
from refine_eval_sorm.critic import SormCritic

Opened = TypeVar("Opened", bound=Component)

COMPONENTS: list[type[Component]] = [
    *refine_eval_refiners.refine_eval_critics(),
    *refine_eval_refiners.refine_eval_refiners(),
    *refine_eval_refiners.refine_eval_selectors(),
]


@pytest.mark.parametrize(
    "check",
    [pytest.param(c, id=f"{k.kind}-{k.name}-{c}") for k in COMPONENTS for c in component_checks(k)],
)
def test_contract(check) -> None:  # type: ignore[no-untyped-def]
    check()


def failures(component: type[Component], options: object = None) -> list[str]:
    return [f"{result.name}: {result.message}" for result in run_checks(component, options) if not result.passed]


@pytest.mark.parametrize("critic", [OrmCritic, SormCritic])
def test_trained_critics_keep_the_contract(critic: type[TokenClassifierCritic]) -> None:
    if not (critic.bundled / "model.safetensors").is_file():
        pytest.skip(f"{critic.bundled} holds no model yet")
    assert failures(critic) == []


def test_the_recorded_engine_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "solutions.jsonl"
    rows = [{"question": p.question, "draft": "#### 1", "one": "#### 2", "two": "#### 3"} for p in toy_problems()]
    path.write_text("\n".join(map(json.dumps, rows)))
    options = RecordedEngine.Options(path=str(path), field="draft", samples=("one", "two"))
    assert [
        f"{result.name}: {result.message}" for result in run_checks(RecordedEngine, options) if not result.passed
    ] == []


def test_the_scripted_engine_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "script.jsonl"
    rows = [{"id": p.id, "texts": {"draft": "#### 1", "sample": ["#### 2", "#### 3"]}} for p in toy_problems()]
    path.write_text("\n".join(map(json.dumps, rows)))
    options = ScriptedEngine.Options(path=str(path))
    assert [
        f"{result.name}: {result.message}" for result in run_checks(ScriptedEngine, options) if not result.passed
    ] == []


STUDENT = str(Path(refine_eval_benchmarks.__file__).parent / "models" / "student")


def test_the_transformers_engine_keeps_the_contract() -> None:
    options = TransformersEngine.Options(pretrained=STUDENT)
    assert [f"{r.name}: {r.message}" for r in run_checks(TransformersEngine, options) if not r.passed] == []


def test_texts_of_lm_evals_models_end_by_the_rule() -> None:
    """The one part of the contract that is the harness's: lm-eval itself seeds a batch, not a text."""
    checks = component_checks(LmEvalEngine, LmEvalEngine.Options(pretrained=STUDENT))
    ends = [check for check in checks if check.name.startswith("ends-at")]
    assert len(ends) == 2
    for check in ends:
        check()


def candidate(text: str, number: int = 0, problem: Problem | None = None) -> Candidate:
    return Candidate(
        id=f"1.toy.{number}" if number else "draft",
        problem=problem or toy_problems()[0],
        solution=toy_solution(text),
        origin="refinement" if number else "draft",
        component="toy",
        sample=0,
        round=min(number, 1),
    )


def group(*answers_and_scores: tuple[str | None, float], when: float | None = None) -> list[ScoredCandidate]:
    """A problem's candidates: an answer and a score for each."""
    return [
        ScoredCandidate(
            candidate=candidate("1+1=2" if answer is None else f"#### {answer}", number),
            critique=Critique(score=score, step_scores=(score,)),
            when=Critique(score=when, step_scores=(when,)) if when is not None and not number else None,
        )
        for number, (answer, score) in enumerate(answers_and_scores)
    ]


def opened(component: Opened, *, gold: bool = False) -> Opened:
    component.open(ToyRuntime(gold=gold))
    return component


# Selectors.


@pytest.mark.parametrize(
    ("selector", "candidates", "pick"),
    [
        (DraftSelector(), group(("1", 0.1), ("2", 0.9)), 0),
        (RerankSelector(), group(("1", 0.1), ("2", 0.9), ("3", 0.5)), 1),
        (RerankSelector(), group(("1", 0.5), ("2", 0.5)), 0),
        (VoteSelector(), group(("1", 0.9), ("2", 0.1), ("2", 0.1)), 1),
        (VoteSelector(), group(("1", 0.9), ("2", 0.1)), 0),
        (VoteSelector(), group(("3", 0.1), ("1", 0.1), ("2", 0.1), ("2", 0.1), ("1", 0.1)), 1),
        (VoteSelector(), group((None, 0.9), (None, 0.9), ("2", 0.1)), 2),
        (VoteSelector(), group((None, 0.1), (None, 0.9)), 0),
        (WeightedVoteSelector(), group(("1", 0.9), ("2", 0.3), ("2", 0.3)), 0),
        (WeightedVoteSelector(), group(("1", 0.5), ("2", 0.3), ("2", 0.3)), 1),
        (WeightedVoteSelector(), group((None, 0.9), ("2", 0.0)), 1),
        (WeightedVoteSelector(), group((None, 0.1), (None, 0.9)), 0),
        (GateSelector(), group(("1", 0.1), ("2", 0.3), ("3", 0.4), when=0.5), 0),
        (GateSelector(), group(("1", 0.9), ("2", 0.3), ("3", 0.4), when=0.49), 2),
        (GateSelector(), group(("1", 0.6), ("2", 0.9)), 0),
        (GateSelector(), group(("1", 0.4), ("2", 0.1)), 1),
        (GateSelector(), group(("1", 0.1), when=0.1), 0),
        (GateSelector(GateOptions(threshold=0.8)), group(("1", 0.1), ("2", 0.3), when=0.7), 1),
    ],
)
def test_selectors(selector: Selector, candidates: list[ScoredCandidate], pick: int) -> None:
    assert opened(selector).select([candidates, candidates]) == [pick, pick]


def test_oracle_selector_takes_the_first_right_one() -> None:
    selector = opened(OracleSelector(), gold=True)
    assert selector.select([group(("1", 0.9), ("84", 0.0), ("84", 0.0)), group(("1", 0.1), ("2", 0.9))]) == [1, 0]
    with pytest.raises(PluginError, match="needs_gold"):
        opened(OracleSelector()).select([group(("1", 0.9))])


# Critics.


@pytest.mark.parametrize(
    ("text", "score", "step_scores", "first_bad"),
    [
        ("23+5=28\n28*3=84\n#### 84", 1.0, (1.0, 1.0, 1.0), None),
        ("23+5=28\n28*3=85\n#### 85", 0.0, (1.0, 0.0, 0.0), 1),
        ("23+5=29\n29*3=80\n#### 80", 0.0, (0.0, 0.0, 0.0), 0),
        ("He has more now.\n#### 84", 0.5, (1.0, 1.0), None),
        ("23+5=28", 0.5, (1.0,), None),
        ("", 0.0, (), None),
    ],
)
def test_calculator(text: str, score: float, step_scores: tuple[float, ...], first_bad: int | None) -> None:
    [found] = opened(CalculatorCritic()).critique([candidate(text)])
    assert found == Critique(score=score, step_scores=step_scores, first_bad_step=first_bad)


class CountingRuntime(ToyRuntime):
    """Notes which problems are sampled."""

    def __init__(self) -> None:
        super().__init__()
        self.sampled: list[str] = []

    def sample_answers(self, problems: Sequence[Problem], samples: int, temperature: float, first: int = 0):  # type: ignore[no-untyped-def]
        self.sampled += [problem.id for problem in problems]
        return super().sample_answers(problems, samples, temperature, first)


def test_agreement_is_the_share_of_samples_with_the_same_answer() -> None:
    runtime = CountingRuntime()
    critic = AgreementCritic(AgreementOptions(samples=8))
    critic.open(runtime)
    candidates = toy_candidates(12)
    found = critic.critique(candidates)
    assert sorted(runtime.sampled) == sorted({c.problem.id for c in candidates})
    for one, critique in zip(candidates, found, strict=True):
        samples = ToyRuntime().sample_answers([one.problem], 8, 0.7)[0]
        share = sum(sample.answer == one.solution.answer for sample in samples) / 8
        assert critique == Critique(score=share, step_scores=(share,) * len(one.solution.steps))
    assert len({critique.score for critique in found}) > 2


def test_agreement_without_an_answer_is_none() -> None:
    assert opened(AgreementCritic()).critique([candidate("23+5=28")])[0].score == 0.0


def test_oracle_critic_scores_by_the_gold_answer() -> None:
    critic = opened(OracleCritic(), gold=True)
    right, wrong = critic.critique([candidate("#### 84"), candidate("23+5=28\n#### 85")])
    assert right == Critique(score=1.0, step_scores=(1.0,))
    assert wrong == Critique(score=0.0, step_scores=(0.0, 0.0))


@pytest.mark.parametrize(
    ("text", "step_scores", "first_bad"),
    [
        ("23+5=28\n28*3=84\n#### 84", (1.0, 1.0, 1.0), None),
        ("23+5=28\n28*3=94\n#### 94", (1.0, 0.0, 0.0), 1),
        ("23+5=28\n28*3=84", (1.0, 0.0), 1),
        ("", (), 0),
    ],
)
def test_oracle_steps_names_the_first_wrong_step(
    text: str, step_scores: tuple[float, ...], first_bad: int | None
) -> None:
    [found] = opened(OracleStepsCritic(), gold=True).critique([candidate(text)])
    assert found == Critique(score=float(first_bad is None), step_scores=step_scores, first_bad_step=first_bad)


def test_what_needs_gold_and_what_is_stored() -> None:
    assert {k.name for k in COMPONENTS if k().needs_gold} == {"oracle", "oracle-steps"}
    assert not any(k.stored for k in COMPONENTS if issubclass(k, Critic))
    assert {k.name for k in COMPONENTS if getattr(k, "always_reported", False)} == {"gate", "oracle"}


# Refiners.


def test_local_keeps_what_stands_before_the_first_bad_step() -> None:
    runtime, refiner = ToyRuntime(), LocalRefiner()
    refiner.open(runtime)
    batch = toy_judged(15)
    refined = refiner.refine(batch)
    to_refine = [judged for judged in batch if judged.critique.first_bad_step is not None]
    assert 0 < len(to_refine) < len(batch)
    assert runtime.prompts == [
        local_prompt(j.candidate.problem.question, j.candidate.solution.steps, j.critique.first_bad_step or 0)
        for j in to_refine
    ]
    for judged, solutions in zip(batch, refined, strict=True):
        first_bad = judged.critique.first_bad_step
        if first_bad is None:
            assert solutions == []
            continue
        [solution] = solutions
        kept = judged.candidate.solution.steps[:first_bad]
        assert solution.text.startswith(join_steps(kept))
        assert solution.tokens == len(solution.text) - len(join_steps(kept)) + 1  # the kept steps cost nothing


def test_global_rewrites_everything_it_is_given() -> None:
    runtime, refiner = ToyRuntime(), GlobalRefiner()
    refiner.open(runtime)
    batch = toy_judged(7)
    assert [len(solutions) for solutions in refiner.refine(batch)] == [1] * 7
    assert runtime.prompts == [global_prompt(j.candidate.problem.question, j.candidate.solution.steps) for j in batch]


class AskedRuntime(ToyRuntime):
    """Notes how texts are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, object]] = []

    def generate(self, problems: Sequence[Problem], prompts: Sequence[Prompt], **how):  # type: ignore[no-untyped-def]
        self.asked.append(how)
        return super().generate(problems, prompts, **how)


@pytest.mark.parametrize("kind", [LocalRefiner, GlobalRefiner])
def test_model_refiners_use_their_model(kind: type[LocalRefiner | GlobalRefiner]) -> None:
    batch = [j for j in toy_judged(15) if j.critique.first_bad_step is not None]
    for options, model in (
        (ModelOptions(), str(MODELS / kind.name)),
        (ModelOptions(model="someone/refiner", samples=3, temperature=0.7), "someone/refiner"),
    ):
        runtime, refiner = AskedRuntime(), kind(options)
        refiner.open(runtime)
        refined = refiner.refine(batch)
        [how] = runtime.asked
        assert (how["purpose"], how["model"], how["samples"]) == (kind.name, model, options.samples)
        assert how["sampling"] == runtime.sampling(batch[0].candidate.problem, temperature=options.temperature)
        assert all(len(solutions) == options.samples for solutions in refined)


def test_nothing_to_refine_asks_for_nothing() -> None:
    runtime, refiner = AskedRuntime(), LocalRefiner()
    refiner.open(runtime)
    batch = [replace(j, critique=replace(j.critique, first_bad_step=None)) for j in toy_judged(5)]
    assert refiner.refine(batch) == [[]] * 5
    assert runtime.asked == []


def test_resample_draws_the_next_samples_each_round() -> None:
    refiner = opened(ResampleRefiner(ResampleOptions(samples=2)))
    batch = [replace(judged, round=1 + number % 3) for number, judged in enumerate(toy_judged(8))]
    refined = refiner.refine(batch)
    for judged, solutions in zip(batch, refined, strict=True):
        first = 2 * (judged.round - 1)
        assert solutions == ToyRuntime().sample_answers([judged.candidate.problem], 2, 0.7, first=first)[0]


@pytest.mark.parametrize(
    ("options", "values", "says"),
    [
        (ModelOptions, {"samples": 2}, "temperature above 0"),
        (ModelOptions, {"samples": 0}, "ModelOptions.samples must be a whole number of at least 1, not 0"),
        (ModelOptions, {"temperature": -1.0}, "ModelOptions.temperature must be a number from 0 to 100, not -1.0"),
        (
            ResampleOptions,
            {"temperature": 0.0},
            "ResampleOptions.temperature must be a number above 0 and at most 100, not 0.0",
        ),
        (ResampleOptions, {"samples": 0}, "ResampleOptions.samples must be a whole number of at least 1, not 0"),
        (
            AgreementOptions,
            {"temperature": 0.0},
            "AgreementOptions.temperature must be a number above 0 and at most 100, not 0.0",
        ),
        (AgreementOptions, {"samples": 0}, "AgreementOptions.samples must be a whole number of at least 1, not 0"),
        (GateOptions, {"threshold": 1.5}, "GateOptions.threshold must be a number from 0 to 1, not 1.5"),
    ],
)
def test_options_that_make_no_sense(options: type, values: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        options(**values)
