"""The refiners `rewrite` and `merge`, the selector `select-by-prompt`: what they ask, what they make of answers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import refine_eval

from refine_eval.data import Candidate, Critique, Message, Prompt, ScoredCandidate
from refine_eval.errors import PluginError, TaskError, UsageError
from refine_eval.formats import as_messages, prompt_text
from refine_eval.testing import ToyRuntime, component_checks, toy_groups, toy_judged, toy_solution
from refine_eval_refiners.merge_refiner import MergeOptions, MergeRefiner
from refine_eval_refiners.rewrite_refiner import RewriteOptions, RewriteRefiner
from refine_eval_refiners.select_by_prompt import SelectByPromptOptions, SelectByPromptSelector, named

WRONG = "23+5=28\n28*3=85\n#### 85"
MESSAGES = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="An example?"),
    Message(role="assistant", content="#### 1"),
    Message(role="user", content="How many? End with ####."),
)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{options.prompt}-{options.feedback}-{check}")
        for options in (
            RewriteOptions(feedback="oracle"),
            RewriteOptions(prompt="critic", feedback="random"),
            RewriteOptions(prompt="reflexion", samples=2, temperature=0.7),
        )
        for check in component_checks(RewriteRefiner, options)
    ],
)
def test_contract_of_other_options(check: Callable[[], None]) -> None:
    check()


def judged(text: str = WRONG, **critique: Any) -> ScoredCandidate:
    """A solution of the first toy problem, and what the where critic says of it."""
    found = toy_judged(1)[0]
    solution = toy_solution(text)
    return replace(
        found,
        candidate=replace(found.candidate, solution=solution),
        critique=Critique(score=0.1, step_scores=(0.1,) * len(solution.steps), **critique),
    )


def asked(options: RewriteOptions, *batch: ScoredCandidate, gold: bool = False) -> list[Prompt]:
    """What a rewrite refiner asks about these."""
    runtime, refiner = ToyRuntime(gold=gold), RewriteRefiner(options)
    refiner.open(runtime)
    refiner.refine(list(batch))
    return runtime.prompts


@pytest.mark.parametrize("preset", ["self-refine", "critic", "reflexion"])
def test_presets_say_question_solution_and_feedback(preset: str) -> None:
    [with_feedback, without] = map(
        prompt_text,
        asked(RewriteOptions(prompt=preset), judged(feedback="Line two is off by one."), judged()),
    )
    for text in (with_feedback, without):
        assert "Tom has 23 apples." in text
        assert "28*3=85" in text
        assert "\n\n\n" not in text
        assert text.endswith("solution:\n") or text.endswith("Reflection:\n")
    assert "Line two is off by one." in with_feedback
    assert "first wrong one" not in without


def test_a_place_without_words_is_put_in_words() -> None:
    [text] = map(prompt_text, asked(RewriteOptions(prompt="critic"), judged(first_bad_step=1)))
    assert "Step 2 is the first wrong one.\nStep 2 says: 28*3=85\n" in text
    [text] = map(prompt_text, asked(RewriteOptions(feedback="none"), judged(first_bad_step=1, feedback="No!")))
    assert "No!" not in text
    assert "wrong" not in text


def test_random_feedback_has_the_words_of_the_oracles_and_knows_nothing() -> None:
    options = RewriteOptions(feedback="random")
    many = [judged(first_bad_step=1, feedback="No!") for _ in range(60)]
    many = [
        replace(j, candidate=replace(j.candidate, problem=replace(j.candidate.problem, id=f"toy/{n}")))
        for n, j in enumerate(many)
    ]
    texts = list(map(prompt_text, asked(options, *many)))
    steps = [n for text in texts for n in (1, 2, 3) if f"Step {n} is the first wrong one." in text]
    assert len(steps) == len(texts)
    assert min(steps.count(n) for n in (1, 2, 3)) > 8
    assert texts == list(map(prompt_text, asked(options, *many)))


def test_oracle_feedback_names_the_exact_step_and_leaves_what_is_right() -> None:
    options = RewriteOptions(feedback="oracle")
    right, stopped = judged("23+5=28\n28*3=84\n#### 84"), judged("23+5=28")
    texts = list(map(prompt_text, asked(options, judged(), right, stopped, gold=True)))
    assert len(texts) == 2
    assert "Step 2 is the first wrong one." in texts[0]
    assert "The final answer is wrong." in texts[1]
    assert "84" not in "".join(texts), "the gold answer is not told"
    assert RewriteRefiner(options).needs_gold
    assert not RewriteRefiner().needs_gold
    with pytest.raises(PluginError, match="needs_gold"):
        asked(options, judged())


def test_oracle_feedback_does_without_steps_where_the_task_knows_none() -> None:
    class NoSteps(ToyRuntime):
        @property
        def grader(self) -> Any:
            found = super().grader

            class Blind:
                is_correct = staticmethod(found.is_correct)

                def first_bad_step(self, candidate: Candidate) -> int | None:
                    raise TaskError("This task has no steps.")

            return Blind()

    runtime, refiner = NoSteps(gold=True), RewriteRefiner(RewriteOptions(feedback="oracle"))
    refiner.open(runtime)
    assert len(refiner.refine([judged()])[0]) == 1
    assert "The final answer is wrong." in prompt_text(runtime.prompts[0])


def test_models_that_read_messages_get_messages() -> None:
    given = judged()
    given = replace(
        given, candidate=replace(given.candidate, problem=replace(given.candidate.problem, prompt=MESSAGES))
    )
    [prompt] = asked(RewriteOptions(), given)
    assert isinstance(prompt, tuple)
    assert [message.role for message in prompt] == ["system", "user"]
    assert prompt[0] == MESSAGES[0]
    assert "How many? End with ####." in prompt[1].content


@pytest.mark.parametrize("student", ["Q: how many?", MESSAGES], ids=["plain", "chat"])
def test_it_may_be_asked_otherwise_than_the_student(student: Prompt, tmp_path: Path) -> None:
    given = judged()
    given = replace(given, candidate=replace(given.candidate, problem=replace(given.candidate.problem, prompt=student)))
    (tmp_path / "system.txt").write_text("You correct solutions.\n")
    for system in ("You correct solutions.", str(tmp_path / "system.txt")):
        [prompt] = asked(RewriteOptions(chat="on", system=system), given)
        assert isinstance(prompt, tuple)
        assert [message.role for message in prompt] == ["system", "user"]
        assert prompt[0].content == "You correct solutions."
        [plain] = asked(RewriteOptions(chat="off", system=system), given)
        assert plain == f"You correct solutions.\n\n{prompt[1].content}"
    [prompt] = asked(RewriteOptions(chat="on"), given)
    assert isinstance(prompt, tuple)
    roles = [message.role for message in as_messages(prompt)]
    assert roles == (["user"] if isinstance(student, str) else ["system", "user"])


def test_a_system_text_is_read_and_known_again_by_what_it_says(tmp_path: Path) -> None:
    def identity(system: str) -> str:
        refiner = RewriteRefiner(RewriteOptions(system=system))
        refiner.open(ToyRuntime())
        return refiner.identity()

    path = tmp_path / "system.txt"
    path.write_text("Be strict.")
    before = identity(str(path))
    path.write_text("Be kind.")
    assert identity(str(path)) != before
    for component, flag in (
        (RewriteRefiner(RewriteOptions(system="no/such.txt")), "--rewrite-system"),
        (MergeRefiner(MergeOptions(system="no/such.txt")), "--merge-system"),
        (SelectByPromptSelector(SelectByPromptOptions(system="no/such.txt")), "--select-by-prompt-system"),
    ):
        with pytest.raises(UsageError, match=f"{flag} names the file no/such.txt, which cannot be read"):
            component.open(ToyRuntime())


def test_a_prompt_of_ones_own_and_a_model_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.j2"
    path.write_text("{{ question }}|{{ draft }}|{{ steps | length }}|{{ first_bad }}|{{ feedback }}")
    seen: list[Any] = []

    class Asked(ToyRuntime):
        def generate(self, problems: Any, prompts: Any, **how: Any) -> Any:
            seen.append(how)
            return super().generate(problems, prompts, **how)

    runtime, refiner = Asked(), RewriteRefiner(RewriteOptions(prompt=str(path), model="someone/large"))
    refiner.open(runtime)
    refiner.refine([judged(first_bad_step=0, feedback="{{ steps }} \x1b[31m")])
    question = judged().candidate.problem.question
    assert runtime.prompts == [f"{question}|{WRONG}|3|1|{{{{ steps }}}} \x1b[31m"]
    assert seen[0]["model"] == "someone/large"
    path.write_text("{{ gold }}")
    with pytest.raises(UsageError, match=r"--rewrite-prompt .* uses 'gold', which it is not given"):
        RewriteRefiner(RewriteOptions(prompt=str(path))).open(ToyRuntime())
    for other, flag in ((MergeRefiner(MergeOptions(prompt="marge")), "--merge-prompt 'marge'"),):
        with pytest.raises(UsageError, match=rf"{flag} is neither a file nor one of: merge. Did you mean 'merge'"):
            other.open(ToyRuntime())
    with pytest.raises(UsageError, match="--select-by-prompt-template 'x' is neither a file nor one of: select"):
        SelectByPromptSelector(SelectByPromptOptions(template="x")).open(ToyRuntime())


def test_merge_reads_all_candidates_so_far() -> None:
    runtime, refiner = ToyRuntime(), MergeRefiner()
    refiner.open(runtime)
    one, other = judged(), judged("#### 84")
    group = (one.candidate, other.candidate)
    assert [len(found) for found in refiner.refine([replace(one, group=group), replace(one, group=group[:1])])] == [
        1,
        0,
    ]
    [text] = map(prompt_text, runtime.prompts)
    assert f"Here are 2 solutions of it. Some may be wrong.\n\nSolution 1:\n{WRONG}\n\nSolution 2:\n#### 84\n" in text


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("Solution 1 slips in step 2. Best: 2", 1),
        ("The best solution is **Solution 3**.", 2),
        ("Best: 1, no, wait.\nBest: 2.", 1),
        ("2", 1),
        ("Solution 3.", 2),
        ("Best: 4", None),
        ("Best: 0", None),
        ("They are all wrong: 3 of 3.", None),
        ("Die zweite ist richtig.", None),
        ("", None),
        ("(" * 100_000, None),
        ("best " * 100_000, None),
        ("Best: 99999999999999999999", None),
    ],
)
def test_what_an_answer_names(answer: str, index: int | None) -> None:
    assert named(answer, 3) == index


class Saying(ToyRuntime):
    """A student that says one thing."""

    def __init__(self, says: str) -> None:
        super().__init__()
        self.says = says

    def generate(self, problems: Sequence[Any], prompts: Sequence[Prompt], **how: Any) -> Any:
        return [[replace(text, text=self.says) for text in of] for of in super().generate(problems, prompts, **how)]


def test_select_by_prompt_shows_all_candidates_and_asks_nothing_about_one() -> None:
    groups = [*toy_groups(10), toy_groups(5)[0]]
    for says, picks in (("Best: 2", [1, 1, 1, 1, 1, 0]), ("Who knows?", [None] * 5 + [0])):
        runtime, selector = Saying(says), SelectByPromptSelector()
        selector.open(runtime)
        assert selector.select(groups) == picks
        assert len(runtime.prompts) == 5
    for group, prompt in zip(groups, runtime.prompts, strict=False):
        assert all(each.candidate.solution.text in prompt_text(prompt) for each in group)


def test_a_run_counts_what_named_no_candidate(tmp_path: Path) -> None:
    """The bundled student knows no English: its prompts are words that it has."""
    (tmp_path / "which.j2").write_text("Question: {{ question }}\nAnswer:\n")
    base = ("--tasks", "apples", "--limit", "5", "--critic", "calculator", "--refiner", "resample")
    asked = (*base, "--selector", "select-by-prompt", "--select-by-prompt-template", "which.j2", "--name", "named")
    done = refine_eval("run", *asked, cwd=tmp_path)
    said = "select-by-prompt could not choose from the candidates of 5 of 5 texts: it named none of them"
    assert said in done.stdout + done.stderr
