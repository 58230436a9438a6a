"""The critic judge: its forms, how it is read, what it costs, and whatever a model or a user may say."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reward_models
import tiny_models as tiny
from small_run import PlainEngine, SmallRun

from refine_eval.data import Candidate, Critique, EngineSpec, Generation, Message, Request
from refine_eval.errors import ModelError, UsageError
from refine_eval.plugin.values import LONGEST_FEEDBACK
from refine_eval.results.table import notes
from refine_eval.results.traces import trace_from_json, trace_to_json
from refine_eval.results.typed import Fault
from refine_eval.testing import ToyRuntime, run_checks, toy_candidates
from refine_eval_judge.critic import JudgeCritic, JudgeOptions
from refine_eval_judge.presets import PRESETS
from refine_eval_judge.reading import expected

TEXT = "Step 1: 3 + 4 = 7.\nStep 2: She has 7 apples.\n#### 7"
CANDIDATE = tiny.candidate(reward_models.QUESTION, TEXT)


class Says(ToyRuntime):
    """A judge that says these texts in turn; without any it only tells how likely choices are."""

    def __init__(self, *texts: str, logprobs: Sequence[float | None] = (), bound: float | None = None) -> None:
        super().__init__()
        self.texts, self.logprobs, self.bound = texts, tuple(logprobs), bound
        self.asked: list[dict[str, Any]] = []

    def can_choose(self, model: str | EngineSpec | None = None) -> bool:
        return not self.texts

    def choose(self, problems: Any, prompts: Any, choices: Any, **asked: Any) -> list[Generation]:
        self.asked.append({"prompts": list(prompts), "choices": list(choices), **asked})
        return [Generation.of_choices(self.logprobs[: len(choices)], bound=self.bound) for _ in prompts]

    def generate(self, problems: Any, prompts: Any, **asked: Any) -> list[list[Generation]]:
        self.asked.append({"prompts": list(prompts), **asked})
        said = [Generation(text=text, tokens=9, finish_reason="stop") for text in self.texts]
        return [said[: asked["samples"]] for _ in prompts]


def judged(runtime: Any, candidate: Candidate = CANDIDATE, **options: Any) -> Critique:
    critic = JudgeCritic(JudgeOptions(**options))
    critic.open(runtime)
    (found,) = critic.critique([candidate])
    return found


@pytest.mark.parametrize("form", sorted(PRESETS))
@pytest.mark.parametrize("read", ["auto", "text"])
def test_it_keeps_its_contract(form: str, read: str) -> None:
    class Fluent(JudgeCritic):
        """The toy student writes solutions, in which a number stands for a verdict here."""

        name = "fluent"

        def open(self, runtime: Any) -> None:
            super().open(runtime)
            if not self._by_choices:
                said = {"first-error": "\\boxed{-1}", "score": "8"}.get(form, "Verdict: correct")
                self.runtime = Says(*[said] * 3)

    options = JudgeOptions(prompt=form, read=read)  # type: ignore[arg-type]
    failed = [f"{r.name}: {r.message}" for r in run_checks(Fluent, options) if not r.passed]
    assert [each for each in failed if not each.startswith(("light-import", "init-does"))] == []


def test_its_own_class_is_light() -> None:
    results = {result.name: result for result in run_checks(JudgeCritic)}
    assert results["light-import"].passed, results["light-import"].message
    assert results["init-does-no-work"].passed, results["init-does-no-work"].message
    assert results["one-output-per-input"].passed, "by the toy runtime's choices"


# Read by choices.


def test_a_verdict_is_how_much_likelier_yes_is_than_no() -> None:
    runtime = Says(logprobs=(math.log(0.3), math.log(0.1)))
    found = judged(runtime)
    assert found.score == pytest.approx(0.75)
    assert found.step_scores == (found.score,) * 3
    (asked,) = runtime.asked
    assert asked["choices"] == [" Yes", " No"]
    assert reward_models.QUESTION in asked["prompts"][0]
    assert TEXT in asked["prompts"][0]
    assert asked["prompts"][0].endswith("Yes or No.\nAnswer:")


def test_a_chat_is_read_as_messages() -> None:
    runtime = Says(logprobs=(-0.1, -3.0))
    judged(runtime, chat="on")
    (asked,) = runtime.asked
    assert asked["choices"] == ["Yes", "No"]
    assert [message.role for message in asked["prompts"][0]] == ["user"]


@pytest.mark.parametrize("form", ["verdict", "steps", "feedback"])
def test_it_is_told_first_what_the_user_says(form: str, tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("You check solutions.\n")
    for system in ("You check solutions.", str(tmp_path / "system.txt")):
        runtime = Says(*["Verdict: correct"] * (form == "feedback"), logprobs=(-0.1, -3.0))
        judged(runtime, prompt=form, chat="on", system=system)
        judged(runtime, prompt=form, system=system)
        judged(runtime, prompt=form)
        chat, plain, without = (asked["prompts"] for asked in runtime.asked)
        assert all(prompt[0] == Message(role="system", content="You check solutions.") for prompt in chat)
        assert plain == [f"You check solutions.\n\n{prompt}" for prompt in without]


def test_its_system_text_is_known_again_by_what_it_says(tmp_path: Path) -> None:
    path, found = tmp_path / "system.txt", set()
    for text in ("Be strict.", "Be kind."):
        path.write_text(text)
        critic = JudgeCritic(JudgeOptions(system=str(path)))
        critic.open(ToyRuntime())
        found.add(critic.identity())
    assert len(found) == 2
    path.unlink()
    with pytest.raises(UsageError, match=r"--judge-system names the file .*system\.txt, which cannot be read"):
        JudgeCritic(JudgeOptions(system=str(path))).open(ToyRuntime())


def test_a_score_is_the_expectation_over_its_tokens() -> None:
    weights = [0.0] * 8 + [0.25, 0.25]
    found = judged(Says(logprobs=[math.log(w) if w else -1000.0 for w in weights]), prompt="score")
    assert found.score == pytest.approx((8.5) / 9)
    assert expected([0.0] * 9 + [1.0]) == 1.0
    assert expected([1.0] + [0.0] * 9) == 0.0


def test_each_step_is_judged_after_the_ones_before() -> None:
    runtime = Says(logprobs=(math.log(0.2), math.log(0.6)))
    found = judged(runtime, prompt="steps")
    assert found.step_scores == pytest.approx((0.25,) * 3)
    assert found.score == pytest.approx(0.25)
    assert found.first_bad_step == 0
    prompts = runtime.asked[0]["prompts"]
    assert len(prompts) == 3
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(prompts))
    judged(runtime, prompt="steps", chat="on")
    turns = runtime.asked[1]["prompts"][2]
    assert [message.role for message in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[1] == Message(role="assistant", content="Yes")


@pytest.mark.parametrize(
    ("logprobs", "bound", "score"),
    [((-0.1, None), -6.0, 1.0), ((None, -0.1), -6.0, 0.0), ((-0.1, None), -0.5, None), ((None, None), -6.0, None)],
    ids=["no is unlikely", "yes is unlikely", "no may be likely", "neither is there"],
)
def test_a_truncated_list_bounds_a_verdict_or_leaves_it_out(
    logprobs: tuple[float | None, ...], bound: float, score: float | None
) -> None:
    found = judged(Says(logprobs=logprobs, bound=bound))
    if score is None:
        assert str(found.unscored).startswith(
            "its verdict is not among the likeliest tokens that the engine tells; pas"
        )
        assert not found.parsed
    else:
        assert found.score == score


# Read from text.


def test_the_first_error_names_a_step() -> None:
    found = judged(Says("Step 2 is off: \\boxed{1}"), prompt="first-error")
    assert (found.score, found.step_scores, found.first_bad_step) == (0.0, (1.0, 0.0, 0.0), 1)
    assert found.feedback == "Step 2 is off: \\boxed{1}"
    assert judged(Says("\\boxed{-1}"), prompt="first-error").score == 1.0


def test_a_critique_in_words_ends_in_a_verdict() -> None:
    found = judged(Says("She has 7, not 8.\nAdd again.\nVerdict: wrong"), prompt="feedback")
    assert (found.score, found.feedback) == (0.0, "She has 7, not 8.\nAdd again.")


def test_sampled_verdicts_are_averaged() -> None:
    runtime = Says("Yes", "Yes", "No", "Peut-\u00eatre", "Yes")
    found = judged(runtime, verdicts=5)
    assert found.score == 0.75, "of the four that could be read"
    assert (found.verdicts, found.unread, found.parsed) == (5, 1, True)
    sampling = runtime.asked[0]["sampling"]
    assert (runtime.asked[0]["samples"], sampling.temperature) == (5, 0.7)


@pytest.mark.parametrize("form", ["verdict", "first-error", "feedback", "score", "steps"])
@pytest.mark.parametrize("text", ["Oui.", TEXT, f"Here it is:\n{TEXT}\n"], ids=["French", "repeats", "repeats more"])
def test_without_a_verdict_there_is_no_score_and_it_is_counted(form: str, text: str) -> None:
    found = judged(Says(text), prompt=form)
    assert str(found.unscored).startswith("no verdict in what the judge wrote (")
    assert not found.parsed


@pytest.mark.parametrize("form", ["verdict", "first-error", "feedback", "score", "steps"])
def test_a_verdicts_words_in_a_repeated_solution_are_none(form: str) -> None:
    solution = "To the right are 3 + 4 = 7.\nThe answer is 1, with a score of 7."
    assert not judged(Says(solution), tiny.candidate(reward_models.QUESTION, solution), prompt=form, read="text").parsed


def test_a_text_that_is_cut_off_says_what_to_raise() -> None:
    class Rambles(Says):
        def generate(self, problems: Any, prompts: Any, **asked: Any) -> list[list[Generation]]:
            return [[Generation(text="Well, " * 9, tokens=9, finish_reason="length")] for _ in prompts]

    assert judged(Rambles("x"), max_tokens=9).unscored == (
        "no verdict before the length limit (9 tokens); raise --judge-max-tokens"
    )


@pytest.mark.parametrize(
    ("form", "texts", "unread"),
    [
        ("feedback", ("Verdict: wrong", "Oui", "Non"), (3, 2)),
        ("first-error", ("\\boxed{1}", "\\boxed{-1}", "\\boxed{9}"), (3, 1)),
        ("score", ("7", "so", "8"), (3, 1)),
        ("steps", ("Yes", "No", "so"), (9, 3)),
        ("verdict", ("so", "la", "la"), (3, 3)),
        ("steps", ("so", "la", "la"), (9, 9)),
    ],
)
def test_verdicts_that_could_not_be_read_are_counted_in_every_form(
    form: str, texts: tuple[str, ...], unread: tuple[int, int]
) -> None:
    found = judged(Says(*texts), prompt=form, verdicts=3)
    assert (found.verdicts, found.unread) == unread
    assert (found.unscored is None) == found.parsed == (unread[0] > unread[1])


# In a run.


class Writes(PlainEngine):
    """Writes solutions, and as a judge what it was told."""

    verdict = "Verdict: correct"

    def one(self, request: Request) -> Any:
        if request.purpose == "judge":
            text = "Oui" if request.problem.id == "toy/2" else self.verdict
            return Generation(text=text, tokens=5, finish_reason="stop")
        return super().one(request)


def test_what_has_no_verdict_is_counted_in_the_run(tmp_path: Path) -> None:
    parts = SmallRun(tmp_path, Writes(), JudgeCritic(JudgeOptions()))
    traces = parts.traces()
    (left,) = parts.pipeline.left_out
    assert (left.component, left.verb, left.texts, left.of) == ("judge", "score", 2, 8)
    assert left.reason == "no verdict in what the judge wrote"
    assert traces[0].critiques["draft"]["when"].score == 1.0
    assert traces[0].critic_tokens == 10, "what the judge wrote of two candidates is on the bill"


class WritesSeveral(Writes):
    """Of three verdicts on a solution the second cannot be read, on one problem none."""

    def one(self, request: Request) -> Any:
        if request.purpose == "judge" and request.sample == 1:
            return Generation(text="Peut-\u00eatre", tokens=5, finish_reason="stop")
        return super().one(request)


def test_of_several_verdicts_those_that_could_not_be_read_are_counted_in_the_run(tmp_path: Path) -> None:
    parts = SmallRun(tmp_path, WritesSeveral(), JudgeCritic(JudgeOptions(verdicts=3)))
    traces = parts.traces()
    assert notes(parts.pipeline.left_out) == [
        "judge could not score 2 of 8 texts: no verdict in what the judge wrote",
        "judge could not read a verdict in 12 of 24 texts: they are left out of the means",
    ]
    graded = replace(traces[0], correct={each.id: {"strict": True} for each in traces[0].candidates})
    row = json.loads(json.dumps(trace_to_json(graded)))
    said = row["critiques"]["draft"]["when"]
    assert (said["score"], said["verdicts"], said["unread"]) == (1.0, 3, 1)
    assert trace_from_json(row).critiques == graded.critiques
    said["unread"] = 4
    with pytest.raises(Fault, match="4 of 3 verdicts could not be read"):
        trace_from_json(row)


@pytest.mark.parametrize("megabyte", [True, False])
def test_a_megabyte_of_feedback_or_escapes_is_made_safe(megabyte: bool, tmp_path: Path) -> None:
    engine = Writes()
    engine.verdict = ("x" * 1_000_000 if megabyte else "\x1b[2J\x07red") + "\nVerdict: wrong"
    feedback = SmallRun(tmp_path, engine, JudgeCritic(JudgeOptions(prompt="feedback"))).traces()[0]
    said = feedback.critiques["draft"]["when"].feedback
    assert said is not None
    assert said.startswith("x" * LONGEST_FEEDBACK + "\n[cut: 20,000 of") if megabyte else said == "\ufffd[2J\ufffdred"


def test_where_the_judge_never_gives_a_verdict_the_run_says_so(tmp_path: Path) -> None:
    engine = Writes()
    engine.verdict = "Ja"
    with pytest.raises(
        ModelError, match=r"Critic 'judge' can score none of 4 texts.*no verdict in what the judge wrote"
    ):
        SmallRun(tmp_path, engine, JudgeCritic(JudgeOptions())).traces()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "verdikt"}, r"--judge-prompt 'verdikt' is neither a file nor one of: verdict, .*Did you mean"),
        ({"prompt": "feedback", "read": "choices"}, "--judge-read choices reads one verdict of the forms"),
        ({"verdicts": 3, "read": "choices"}, "leave it out for --judge-verdicts"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        JudgeCritic(JudgeOptions(**options)).open(Says("Yes"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ solution }}", "uses 'solution', which it is not given"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "has 'call' in line 1, which no prompt may have",
        ),
        ("{% include 'secrets.txt' %}", "has 'include' in line 1"),
    ],
    ids=["undefined", "endless", "reads files"],
)
def test_a_prompt_of_a_user_that_cannot_be_used(source: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(source)
    with pytest.raises(UsageError, match=f"^--judge-prompt .*mine.jinja. {message}") as e:
        judged(Says("Yes"), prompt=str(path))
    assert "\n" not in str(e.value)


def test_a_prompt_of_a_user_is_used_and_part_of_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    identities = []
    for words in ("Good?", "Fine?"):
        path.write_text(f"{{{{ steps|length }}}} steps, answer {{{{ answer }}}}, {{{{ others|length }}}}. {words}")
        runtime = Says("Yes")
        critic = JudgeCritic(JudgeOptions(prompt=str(path), others=2))
        critic.open(ToyRuntime())
        identities.append(critic.identity())
        critic.runtime, critic._by_choices = runtime, False
        runtime.sample_answers = ToyRuntime().sample_answers  # type: ignore[method-assign]
        assert critic.critique([toy_candidates(1)[0]])[0].score == 1.0
        answer = toy_candidates(1)[0].solution.answer
        assert runtime.asked[0]["prompts"][0].endswith(f"steps, answer {answer}, 2. {words}\nAnswer:")
    assert identities[0] != identities[1]
