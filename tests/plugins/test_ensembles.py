"""Critics that combine others: what a run asks of the members, what each rule makes of it, and what is refused."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_pipeline as toy
from in_process import error_line, refine_eval

from refine_eval import Candidate, CombiningCritic, Critic, Critique, UsageError, evaluate
from refine_eval.plugin.combining import with_members
from refine_eval.plugin.making import make_critics, names_with_members
from refine_eval.plugin.registry import Registry, registry
from refine_eval.results.critic_weights import CriticWeights
from refine_eval.runs.pipeline import Pipeline
from refine_eval.testing import ToyRuntime, component_checks, run_checks, toy_candidates
from refine_eval_ensembles.critic import EnsembleCritic, EnsembleOptions


class Reading(toy.Even):
    """Reads ten tokens of each text, and counts them."""

    name = "reading"
    asked: int = 0

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        type(self).asked += len(batch)
        return [replace(found, read_tokens=10, feedback="I read it.") for found in super().critique(batch)]


class Choosy(Critic):
    """Leaves the first problem's draft unscored, and scores everything else 0.4, its first step 0.8."""

    name = "choosy"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        return [
            Critique.without_score(c, "too odd (very)", parsed=False)
            if (c.problem.id, c.id) == ("toy/0", "draft")
            else Critique(score=0.4, step_scores=(0.8, *(0.4,) * (len(c.solution.steps) - 1)), feedback="Hm.")
            for c in batch
        ]


class Golden(Critic):
    """Asks the grader."""

    name = "golden"
    needs_gold = True

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        right = [float(self.runtime.grader.is_correct(c)) for c in batch]
        return [Critique(score=r, step_scores=(r,) * len(c.solution.steps)) for c, r in zip(batch, right, strict=True)]


class Naming(CombiningCritic):
    """Names what it is told to, though that are no names."""

    name = "naming"
    named: Any = ()

    @property
    def members(self) -> tuple[str, ...]:
        return self.named  # type: ignore[no-any-return]

    def combine(self, batch: Sequence[Candidate], critiques: Mapping[str, Sequence[Critique]]) -> list[Critique]:
        return list(next(iter(critiques.values())))


class Plugins:
    """All of these as a plugin."""

    @staticmethod
    def refine_eval_critics() -> list[type[Critic]]:
        return [toy.Even, Reading, Choosy, Golden, Naming, EnsembleCritic]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reading, "asked", 0)


def known() -> Registry:
    from refine_eval import hookimpl

    plugin = type("Offered", (), {"refine_eval_critics": hookimpl(lambda self: Plugins.refine_eval_critics())})()
    return Registry([("toys", plugin, "toys", "1")])


def ensemble(*of: str, **options: Any) -> EnsembleCritic:
    (critic,) = make_critics(["ensemble"], {("critic", "ensemble"): {"of": of, **options}}, known()).values()
    assert isinstance(critic, EnsembleCritic)
    return critic


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Any]:
    """Makes the pipeline of a run with one critic for everything, on one store."""
    made: list[Any] = []

    def of(critic: Critic) -> Pipeline:
        runtime = toy.runtime(tmp_path, toy.Digits())
        made.append(runtime)
        return Pipeline(toy.strategy(when=critic, where=critic, choose=critic), runtime)

    yield of
    for runtime in made:
        runtime.close()
        runtime.store.close()


def test_members_are_made_once_each_with_the_users_options_for_them() -> None:
    options: dict[tuple[str, str], dict[str, Any]] = {
        ("critic", "ensemble"): {"of": "orm+calculator"},
        ("critic", "orm"): {"threshold": 0.25},
    }
    found = make_critics(["ensemble", "orm"], options, registry())
    combined = found["ensemble"]
    assert isinstance(combined, EnsembleCritic)
    assert combined.critics[0] is found["orm"]
    assert combined.critics[0].options.threshold == 0.25
    assert [critic.name for critic in with_members(found.values())] == ["orm", "calculator", "ensemble"]
    assert names_with_members(["sorm", "ensemble"], options, registry()) == ["sorm", "ensemble", "orm", "calculator"]


def test_each_member_is_asked_and_stored_as_any_critic_and_costs_what_it_reads(pipeline: Any) -> None:
    first = pipeline(ensemble("even", "reading"))
    traces = first.run(toy.PROBLEMS)
    texts = sum(len(trace.candidates) for trace in traces)
    assert Reading.asked == texts
    assert [trace.critic_read_tokens for trace in traces] == [10 * len(trace.candidates) for trace in traces]
    assert {"critique by even", "critique by reading", "critique by ensemble"} <= first.seconds.keys()
    assert {"critic even", "critic reading"} <= first.identities.keys()
    stored = first.runtime.store._db.execute("SELECT count(*) FROM critiques").fetchone()[0]
    assert stored == 2 * texts, "what is combined is not stored"
    assert pipeline(ensemble("reading", rule="min")).run(toy.PROBLEMS)
    assert Reading.asked == texts, "another ensemble of the same critics scores nothing anew"


@pytest.mark.parametrize(("rule", "score", "steps"), [("mean", 0.65, (0.85, 0.65)), ("min", 0.4, (0.8, 0.4))])
def test_rules_are_of_solutions_and_of_steps(rule: str, score: float, steps: tuple[float, ...], pipeline: Any) -> None:
    traces = pipeline(ensemble("even", "choosy", rule=rule, threshold=0.7)).run(toy.PROBLEMS)
    found = traces[2].critiques["draft"]["when"]
    assert (found.score, found.step_scores) == (pytest.approx(score), pytest.approx(steps))
    assert found.first_bad_step == 1
    assert found.feedback == "Hm."


def test_a_text_that_a_member_leaves_unscored_is_unscored_and_counted_for_both(pipeline: Any) -> None:
    run = pipeline(ensemble("reading", "choosy"))
    found = run.run(toy.PROBLEMS)[0].critiques["draft"]["when"]
    assert found.unscored == "its member choosy has no score for it (too odd (very))"
    assert (found.score, found.first_bad_step, found.parsed, found.feedback) == (0.0, None, False, "I read it.")
    counted = {entry.component: (entry.texts, entry.reason) for entry in run.left_out}
    assert counted == {
        "choosy": (1, "too odd"),
        "ensemble": (1, "its member choosy has no score for it"),
    }


def test_it_sees_gold_answers_where_a_member_does(pipeline: Any) -> None:
    assert not ensemble("even", "choosy").needs_gold
    critic = ensemble("even", "golden")
    assert critic.needs_gold
    found = pipeline(critic).run(toy.PROBLEMS)
    assert found[2].critiques["draft"]["when"].score == pytest.approx((0.9 + 1) / 2)


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (("ensemble",), "cannot have 'ensemble' as a member, which combines critics itself"),
        (("even", "naming"), "cannot have 'naming' as a member, which combines critics itself"),
        (("even", "even"), "has the member 'even' twice"),
        ((), "has no members"),
        (("",), "has no members"),
        (("evn",), "No critic is called 'evn'. Did you mean 'even'"),
    ],
)
def test_members_that_cannot_be_combined_are_refused(of: tuple[str, ...], why: str) -> None:
    with pytest.raises(Exception, match=re.escape(why)):
        ensemble(*of)


@pytest.mark.parametrize("named", [None, (3,), object()])
def test_members_that_are_no_names_are_the_plugins_fault(named: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Naming, "named", named)
    with pytest.raises(Exception, match=r"Critic 'naming' of toys 1 (must have names|failed in members)"):
        make_critics(["naming"], {}, known())


def test_a_combination_that_breaks_the_contract_is_named(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    critic = ensemble("even")
    monkeypatch.setattr(type(critic), "combine", lambda *_: [])
    with pytest.raises(Exception, match="must return a list of 6 critiques, one per candidate"):
        pipeline(critic).run(toy.PROBLEMS)


@pytest.mark.parametrize("options", [{"rule": "logistic"}, {"weights": "some.json"}, {"rule": "min", "weights": "x"}])
def test_weights_and_the_rule_logistic_go_together(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--ensemble-rule logistic --ensemble-weights FILE"):
        EnsembleOptions(**options)


@pytest.mark.parametrize("check", component_checks(EnsembleCritic), ids=str)
def test_contract(check: Any) -> None:
    check()


def test_contract_where_a_member_sees_gold_answers() -> None:
    found = run_checks(EnsembleCritic, EnsembleOptions(of=("calculator", "oracle"), rule="min"))
    assert [result.message for result in found if not result.passed] == []


def test_by_itself_it_has_its_members_judge() -> None:
    critic = make_critics(["ensemble"], {}, registry())["ensemble"]
    critic.open(ToyRuntime())
    candidates = toy_candidates(4)
    alone = []
    for name in ("agreement", "calculator"):
        member = make_critics([name], {}, registry())[name]
        member.open(ToyRuntime())
        alone.append([found.score for found in member.critique(candidates)])
    assert [found.score for found in critic.critique(candidates)] == [
        pytest.approx((one + other) / 2) for one, other in zip(*alone, strict=True)
    ]


MEMBERS = ["--critic", "orm", "--critic", "calculator"]
LOGISTIC = ["--critic", "ensemble", "--ensemble-of", "orm+calculator", "--ensemble-rule", "logistic"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights.json, fitted on problems of apples that are held out, and a run by these weights."""
    folder = tmp_path_factory.mktemp("ensembles")
    words = ["--task", "apples:validation", "--limit", "60", "-o", "weights.json", "-q"]
    said = refine_eval("critics", "fit", *MEMBERS, *words, cwd=folder).stdout.splitlines()
    assert said[0] == "apples:validation, drafts of the validation problems: 60 solutions of 60 problems"
    assert [line.split()[0] for line in said[1:4]] == ["critic", "orm", "calculator"]
    run = ["--task", "apples", "--limit", "12", "--refiner", "local", "--name", "base", "-q"]
    refine_eval("run", *run, *LOGISTIC, "--ensemble-weights", str(folder / "weights.json"), cwd=folder)
    return folder


def test_weights_are_kept_with_all_that_they_are_of(fitted: Path) -> None:
    found = CriticWeights.read(fitted / "weights.json")
    assert [member.name for member in found.members] == ["orm", "calculator"]
    assert found.members[0].identity.startswith("critic:orm:sha256:")
    assert (found.solutions, found.problems, found.details["task"]) == (60, 60, "apples:validation")
    assert found.steps is not None
    assert all(weight > 0 for weight in (*found.answers.weights, *found.steps.weights))
    assert str(fitted) not in (fitted / "weights.json").read_text()


def test_a_record_says_the_members_and_no_path(fitted: Path) -> None:
    from refine_eval.results.records import read_settings_of

    choice = read_settings_of(fitted / "results" / "runs" / "base")["choose"]
    assert choice["options"]["weights"] == "weights.json"
    assert list(choice["members"]) == ["orm", "calculator"]
    assert choice["members"]["orm"]["identity"].startswith("critic:orm:sha256:")
    assert str(fitted) not in str(choice)


def test_a_fitted_ensemble_may_not_judge_what_it_was_fitted_on(fitted: Path) -> None:
    words = ["run", "--task", "apples:validation", "--limit", "3", *LOGISTIC, "--ensemble-weights", "weights.json"]
    assert "fitted on 3 of the very problems that are judged" in error_line(*words, "-q", cwd=fitted, expect=2)


def test_a_fitted_ensemble_takes_the_members_that_it_was_fitted_on_alone(fitted: Path) -> None:
    words = ["run", "--task", "apples", "--limit", "3", *LOGISTIC, "--ensemble-weights", "weights.json", "-q"]
    assert "fitted to the critic 'orm'" in error_line(*words, "--orm-threshold", "0.2", cwd=fitted, expect=2)
    words[words.index("orm+calculator")] = "sorm+calculator"
    assert "of 'calculator', 'orm', not of 'calculator', 'sorm'" in error_line(*words, cwd=fitted, expect=2)


def test_options_of_members_alone_may_be_given_beside_it(fitted: Path) -> None:
    words = ["run", "--task", "apples", "--limit", "3", "--critic", "ensemble", "--orm-threshold", "0.2", "-q"]
    assert "takes no part in this run" in error_line(*words, cwd=fitted, expect=2)
    refine_eval(*words, "--ensemble-of", "orm", "--refiner", "resample", cwd=fitted)
    with pytest.raises(UsageError, match="takes no part in this run"):
        evaluate("apples", critic="ensemble", critic_options={"orm": {"threshold": 0.2}}, results=fitted / "other")


def test_a_replay_is_by_the_recorded_scores_and_names_of_the_members(fitted: Path) -> None:
    def rows(*words: str) -> Any:
        found = json.loads(refine_eval("replay", "base", *words, "--json", cwd=fitted).stdout)
        assert found["generated"] == 0
        return [(row["name"], row["correct"]) for row in found["rows"]]

    assert rows() == rows("--selector", "rerank", "--ensemble-threshold", "0.5")
    missing = error_line("replay", "base", "--choose", "orm", cwd=fitted)
    assert "lacks scores of 'orm'" in missing


def test_a_named_record_is_made_again_and_not_by_other_members(fitted: Path) -> None:
    words = ["run", "--task", "apples", "--limit", "2", "--critic", "ensemble", "--name", "mine", "-q"]
    words += ["--refiner", "resample", "--resample-samples", "1"]
    for _ in range(2):
        refine_eval(*words, "--ensemble-of", "orm+calculator", cwd=fitted)
    other = error_line(*words, "--ensemble-of", "orm+calculator", "--orm-threshold", "0.2", cwd=fitted)
    assert "holds another run, with when.members.orm.options.threshold 0.5 and not 0.2" in other


def test_an_evaluation_counts_what_members_read(fitted: Path) -> None:
    words = ["critics", "eval", "--critic", "orm", *LOGISTIC, "--ensemble-weights", "weights.json"]
    found = json.loads(refine_eval(*words, "--task", "apples", "--limit", "8", "--json", "-q", cwd=fitted).stdout)
    orm, both = found["critics"]
    assert both["cost"]["read_tokens"] == orm["cost"]["read_tokens"] > 0
    assert both["needs_gold"] is False


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--critic", "orm", "--critic", "oracle"], "'oracle' sees the gold answers, which weights are fitted to"),
        (["--critic", "ensemble"], "'ensemble' combines critics itself: fit weights for its members"),
        (["--critic", "calculator", "--orm-threshold", "0.2"], "takes no part in this run"),
    ],
)
def test_what_cannot_be_fitted_is_refused(words: list[str], why: str, fitted: Path) -> None:
    task = ["--task", "apples:validation", "--limit", "3", "-o", "other.json", "-q"]
    assert why in error_line("critics", "fit", *words, *task, cwd=fitted, expect=2)
    assert not (fitted / "other.json").exists()


def test_answers_of_one_kind_fit_no_weights(fitted: Path) -> None:
    row = {"question": "1+1?", "steps": ["1+1=2", "#### 2"], "first_bad": None, "correct": True}
    (fitted / "right.jsonl").write_text(json.dumps(row))
    said = error_line("critics", "fit", "--critic", "calculator", "--data", "right.jsonl", "-o", "x.json", cwd=fitted)
    assert (
        "it takes right and wrong final answers, and of 1 scored solutions 1 are known to be right and 0 wrong" in said
    )


def test_labelled_files_fit_weights_too(fitted: Path) -> None:
    rows = [
        {"question": f"{n}+1?", "steps": [f"{n}+1={n + 1 + wrong}", f"#### {n + 1 + wrong}"], "correct": not wrong}
        for n, wrong in enumerate((0, 1, 0, 1, 1))
    ]
    rows = [{**row, "first_bad": None if row["correct"] else 0} for row in rows]
    (fitted / "both.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["--data", "both.jsonl", "-o", "both.json", "-q"]
    refine_eval("critics", "fit", "--critic", "calculator", *words, cwd=fitted)
    found = CriticWeights.read(fitted / "both.json")
    assert found.data == "both.jsonl (plain)"
    assert found.of_solution({"calculator": 1.0}) > 0.5 > found.of_solution({"calculator": 0.0})
    again = ["--critic", "ensemble", "--ensemble-of", "calculator", "--ensemble-rule", "logistic"]
    words = ["critics", "eval", *again, "--ensemble-weights", "both.json", "--data", "both.jsonl", "-q"]
    assert "fitted on 5 of the very problems" in error_line(*words, cwd=fitted, expect=2)
