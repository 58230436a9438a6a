"""Critics on labelled solutions: what they are given, what is stored, and what an ended evaluation takes up."""

from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest
from labelled import judged

from refine_eval.data import Candidate, Critique, Message
from refine_eval.errors import ModelError
from refine_eval.plugin.components import Critic
from refine_eval.plugin.registry import registry
from refine_eval.runs import scoring
from refine_eval.runs.judging import Views, _problem, judge_files
from refine_eval.runs.settings import LABELLED, RunSettings
from refine_eval.statistics.judged import Labelled
from refine_eval.terminal import Progress


class Counting(Critic):
    """Scores by length; fails when it is told to, and remembers what it was given."""

    name = "counting"
    fails_after: int | None = None
    given: Sequence[Candidate] = ()

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        if self.fails_after is not None and len(self.given) >= self.fails_after:
            raise ModelError("The power is gone.")
        type(self).given = [*self.given, *batch]
        return [
            Critique(score=0.9, step_scores=(0.9,) * len(candidate.solution.steps), read_tokens=10)
            for candidate in batch
        ]


def solutions(*steps: Sequence[str], question: str = "Why?") -> list[Labelled]:
    return [
        Labelled(
            id=str(at), problem=question, question=question, steps=tuple(some), good=(True,) * len(some), correct=True
        )
        for at, some in enumerate(steps)
    ]


def judge(folder: Path, found: Sequence[Labelled]) -> Views:
    settings = RunSettings(task=LABELLED, results=folder)
    with mock.patch("refine_eval.runs.judging._critics", return_value=[Counting()]):
        (views,) = judge_files(settings, ["counting"], found, registry(), Progress(quiet=True))
    return views


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "given", ())
    monkeypatch.setattr(Counting, "fails_after", None)


def test_an_evaluation_that_was_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_CRITIQUES_A_BATCH", 2)
    monkeypatch.setattr(Counting, "fails_after", 4)
    found = solutions(*([f"step {at}"] for at in range(6)))
    with pytest.raises(ModelError, match="The power is gone"):
        judge(tmp_path, found)
    monkeypatch.setattr(Counting, "fails_after", None)
    monkeypatch.setattr(Counting, "given", ())
    views = judge(tmp_path, found)
    assert [candidate.solution.steps for candidate in Counting.given] == [("step 4",), ("step 5",)]
    assert [critique.score for critique in views.critiques] == [0.9] * 6
    assert (views.cost.read_tokens, views.cost.tokens) == (10, 0)
    judge(tmp_path, found)
    assert len(Counting.given) == 2


def test_critics_are_given_the_very_steps_that_were_labelled(tmp_path: Path) -> None:
    judge(tmp_path, solutions(["a", "b"], ["first\nline", "b"], ["one\u2028two"]))
    lines, paragraphs, odd = (candidate.solution for candidate in Counting.given)
    assert (lines.text, lines.cuts) == ("a\nb\n", None)
    assert (paragraphs.text, paragraphs.steps) == ("first\nline\n\nb\n\n", ("first\nline", "b"))
    assert paragraphs.cuts == (0, 12, 15)
    assert paragraphs.before(1) == "first\nline\n\n"
    assert odd.steps == ("one\u2028two",)
    assert len({candidate.problem.id for candidate in Counting.given}) == 1


def test_answers_are_those_that_texts_state(tmp_path: Path) -> None:
    judge(
        tmp_path,
        solutions(["So \\boxed{\\frac{1}{2}} of 7"], ["#### $1,200.0"], ["It was 3, now it is 4."], ["Nothing."]),
    )
    answers = [candidate.solution.answer for candidate in Counting.given]
    assert answers == ["\\frac{1}{2}", "1200", "4", None]


def test_the_order_of_a_file_changes_no_sample(tmp_path: Path) -> None:
    one, other = solutions(["a"], question="One?"), solutions(["b"], question="Other?")
    judge(tmp_path / "a", [*one, *other])
    judge(tmp_path / "b", [*other, *one])
    ids = [candidate.problem.id for candidate in Counting.given]
    assert ids[:2] == ids[:1:-1]


def test_a_student_reads_the_bare_question_as_a_text_or_as_messages() -> None:
    assert _problem("Why?", None, False).prompt == "Question: Why?\nAnswer:\n"
    assert _problem("Why?", "Be brief.", False).prompt == "Be brief.\n\nQuestion: Why?\nAnswer:\n"
    asked = Message(role="user", content="Why?")
    assert _problem("Why?", None, True).prompt == (asked,)
    assert _problem("Why?", "Be brief.", True).prompt == (Message(role="system", content="Be brief."), asked)


def test_unscored_solutions_are_counted_apart() -> None:
    from refine_eval.statistics.judged import figures

    found = figures([judged(0, [True], [0.9], correct=True), judged(1, [True], [0.0], correct=True, unscored="long")])
    assert (found.solutions, found.accuracy.value if found.accuracy else None) == (1, 1)
