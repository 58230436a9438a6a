"""The refiners that need no training, `continue` and `wait`, and the critic `random`."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import refine_eval

from refine_eval.data import Generation, Message, ScoredCandidate
from refine_eval.errors import UsageError
from refine_eval.testing import ToyRuntime, toy_candidates, toy_judged, toy_solution
from refine_eval_refiners.continue_refiner import ContinueOptions, ContinueRefiner
from refine_eval_refiners.critics import RandomCritic
from refine_eval_refiners.wait_refiner import WaitOptions, WaitRefiner

MESSAGES = (Message(role="system", content="Be brief."), Message(role="user", content="How many?"))


def judged(text: str, first_bad: int | None, *, messages: bool = False) -> ScoredCandidate:
    """A solution of the first toy problem with the place of its first bad step."""
    found = toy_judged(1)[0]
    candidate = replace(found.candidate, solution=toy_solution(text))
    if messages:
        candidate = replace(candidate, problem=replace(candidate.problem, prompt=MESSAGES))
    return replace(found, candidate=candidate, critique=replace(found.critique, first_bad_step=first_bad))


def test_continue_keeps_what_stands_before_the_first_bad_step_to_the_byte() -> None:
    runtime, refiner = ToyRuntime(), ContinueRefiner(ContinueOptions(tries=1))
    refiner.open(runtime)
    batch = [judged(" 23+5=28\t\n\n28*3=85\n#### 85", 1), judged("23+5=28\n28*3=84\n#### 84", None), judged("", 0)]
    [[first], none, [empty]] = refiner.refine(batch)
    prompt = batch[0].candidate.problem.prompt
    assert runtime.prompts == [f"{prompt} 23+5=28\t\n\n", prompt]
    assert first.text.startswith(" 23+5=28\t\n\n28*3=")
    assert first.tokens == len(first.text) - len(" 23+5=28\t\n\n") + 1  # what is kept costs nothing
    assert none == []
    assert empty.text.startswith("23+5=")


def test_continue_gives_a_chat_model_a_prefill() -> None:
    runtime, refiner = ToyRuntime(), ContinueRefiner(ContinueOptions(tries=1))
    refiner.open(runtime)
    [[found]] = refiner.refine([judged("23+5=28\n28*3=85\n#### 85", 1, messages=True)])
    assert runtime.prompts == [(*MESSAGES, Message(role="assistant", content="23+5=28\n"))]
    assert found.text.startswith("23+5=28\n")


def test_continue_samples_anew_in_each_round() -> None:
    refiner = ContinueRefiner(ContinueOptions(samples=3))
    refiner.open(ToyRuntime())
    wrong = judged("23+5=28\n28*3=85\n#### 85", 0)
    [first, second, first_again] = refiner.refine([wrong, replace(wrong, round=2), wrong])
    assert len(first) == 3
    assert first == first_again
    assert first != second


class Repeating(ToyRuntime):
    """Says the bad step again, until a sample of this number or a later one is asked for."""

    def __init__(self, until: int) -> None:
        super().__init__()
        self.until = until

    def generate(self, problems, prompts, *, samples=1, first=0, **how):  # type: ignore[no-untyped-def]
        self.prompts.extend(prompts)
        texts = ["28*3=84\n#### 84" if n >= self.until else "28*3=85\n#### 85" for n in range(first, first + samples)]
        return [
            [Generation(text=t, tokens=9, finish_reason="stop", seconds=0.5, prompt_tokens=20) for t in texts]
            for _ in problems
        ]


@pytest.mark.parametrize(
    ("options", "until", "answers", "drawn"),
    [
        (ContinueOptions(), 0, ["84"], 1),
        (ContinueOptions(), 2, ["84"], 3),
        (ContinueOptions(tries=2), 9, ["85"], 2),
        (ContinueOptions(temperature=0.0), 9, ["85"], 1),
        (ContinueOptions(samples=2), 1, ["84", "84"], 3),
    ],
)
def test_continue_puts_back_what_begins_with_the_bad_step_and_pays_for_it(
    options: ContinueOptions, until: int, answers: list[str], drawn: int
) -> None:
    refiner = ContinueRefiner(options)
    refiner.open(Repeating(until))
    [found] = refiner.refine([judged("23+5=28\n28*3=85\n#### 85", 1)])
    assert [solution.answer for solution in found] == answers
    assert sum(solution.tokens for solution in found) == 9 * drawn
    assert all(solution.text.startswith("23+5=28\n28*3=") for solution in found)


@pytest.mark.parametrize("options", [ContinueOptions, WaitOptions])
def test_several_greedy_samples_are_refused(options: type[ContinueOptions | WaitOptions]) -> None:
    with pytest.raises(UsageError, match=r"2 greedy samples would all be the same; set the refiner's temperature"):
        options(samples=2, temperature=0.0)


@pytest.mark.parametrize(
    ("text", "kept"), [("23+5=29\n#### 29", "23+5=29\n#### 29\nWait"), ("#### 29\n", "#### 29\nWait"), ("", "Wait")]
)
def test_wait_appends_the_bare_word_and_keeps_the_whole(text: str, kept: str) -> None:
    runtime, refiner = ToyRuntime(), WaitRefiner()
    refiner.open(runtime)
    plain, chat = judged(text, None), judged(text, None, messages=True)
    [[found], [answered]] = refiner.refine([plain, chat])
    prompt = plain.candidate.problem.prompt
    assert runtime.prompts == [f"{prompt}{kept}", (*MESSAGES, Message(role="assistant", content=kept))]
    assert found.text.startswith(kept)
    assert answered.text.startswith(kept)


def test_random_names_every_step_alike() -> None:
    critic, other = RandomCritic(), RandomCritic()
    critic.open(ToyRuntime(seed=1))
    other.open(ToyRuntime(seed=2))
    candidate = toy_candidates(1)[0]
    many = [replace(candidate, problem=replace(candidate.problem, id=f"toy/{n}")) for n in range(3_000)]
    found = critic.critique(many)
    counts = Counter(critique.first_bad_step for critique in found)
    assert set(counts) == {0, 1, 2}
    assert all(900 < count < 1_100 for count in counts.values())
    assert 0.48 < sum(critique.score for critique in found) / 3_000 < 0.52
    assert critic.critique(many[:9]) == found[:9] != other.critique(many[:9])


def test_continue_from_the_exact_place_gains_ten_points_at_fewer_tokens_than_a_fresh_sample(tmp_path: Path) -> None:
    """The bundled student, told where its first slip is, against the same student sampled once."""
    asked = ("--tasks", "apples", "--limit", "500", "--critic", "oracle-steps", "--resample-samples", "1")
    refine_eval("run", *asked, "--refiner", "continue", "--refiner", "resample", "--name", "places", cwd=tmp_path)
    metrics = json.loads((tmp_path / "results/runs/places/metrics.json").read_text())
    rows = {(row["kind"], row["name"]): row for row in metrics["rows"]}
    draft, local, fresh = rows["draft", "draft"], rows["refiner", "continue"], rows["refiner", "resample"]
    gained = (local["correct"][metrics["filter"]] - draft["correct"][metrics["filter"]]) / 500
    assert gained >= 0.10
    assert draft["tokens"] < local["tokens"] < fresh["tokens"]
    assert local["needs_gold"]
