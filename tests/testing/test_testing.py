"""The contract checks: a sound component passes, and each check fails on a component that breaks it."""

import subprocess
import sys
from collections.abc import Sequence

import broken_components as broken
import broken_engines
import broken_splitters
import pytest
from broken_import import ImportsAtTop

from refine_eval import testing
from refine_eval.data import Candidate, Critique
from refine_eval.errors import PluginError
from refine_eval.formats import continued
from refine_eval.plugin.components import Component, Critic
from refine_eval.plugin.runtime import Runtime
from refine_eval.testing import (
    ToyRuntime,
    check_component,
    component_checks,
    run_checks,
    toy_candidates,
    toy_groups,
    toy_judged,
    toy_problems,
    toy_solution,
)

BREAKS = [
    (broken.BadName, "name-and-docstring", "Bad Name"),
    (broken.NoDocstring, "name-and-docstring", "no docstring"),
    (broken.OptionWithoutHelp, "valid-options", "'depth' has no help"),
    (broken.OptionsNotFrozen, "valid-options", "not frozen"),
    (broken.OptionOfStrangeType, "valid-options", "'words'"),
    (ImportsAtTop, "light-import", "datasets"),
    (broken.ImportsInInit, "init-does-no-work", "datasets"),
    (broken.ReadsInInit, "init-does-no-work", "pyproject.toml"),
    (broken.SlowInit, "init-does-no-work", "takes"),
    (broken.FailsInInit, "init-does-no-work", "no luck"),
    (broken.FailsOnEmptyBatch, "empty-batch", "IndexError"),
    (broken.ReturnsTuple, "one-output-per-input", "instead of a list"),
    (broken.DropsOne, "one-output-per-input", "returned 11 outputs for a batch of 12"),
    (broken.ReturnsNumbers, "one-output-per-input", "not a Critique"),
    (broken.ScoresWhatItLeavesOut, "one-output-per-input", "and scored it"),
    (broken.LeavesAllOut, "one-output-per-input", "all 12 ordinary inputs are left out, the first for: not its kind"),
    (broken.DependsOnBatch, "batch-does-not-matter", "alone"),
    (broken.SortsOutputs, "batch-does-not-matter", "depends on the batch"),
    (broken.Random, "same-seed-same-output", "changes"),
    (broken.ChangingIdentity, "same-seed-same-output", "identity() changes"),
    (broken.NotANumber, "scores-in-range", "nan"),
    (broken.AboveOne, "scores-in-range", "2.5"),
    (broken.IntegerScores, "scores-in-range", "not a Python float"),
    (broken.ForgetsAStep, "one-score-per-step", "2 step scores"),
    (broken.CountsFromOne, "first-bad-step-in-range", "counted from 0"),
    (broken.ScoresWithoutAVerdict, "words-are-texts", "no verdict was parsed"),
    (broken.FeedbackNotText, "words-are-texts", "not a text"),
    (broken.FailsWithoutSteps, "empty-solution", "ZeroDivisionError"),
    (broken.FailsOnEscapes, "hostile-text", "unprintable"),
    (broken.EmptiesBatch, "inputs-untouched", "has 0"),
    (broken.WritesIntoInputs, "inputs-untouched", "changed"),
    (broken.PeeksAtGold, "gold-only-if-declared", "without declaring"),
    (broken.NeedsNoGold, "gold-only-if-declared", "drop the declaration"),
    (broken.ClosesOnce, "closes-twice-and-reopens", "AttributeError"),
    (broken.DoesNotReopen, "closes-twice-and-reopens", "opened again"),
    (broken.LosesStepEnds, "step-ends-are-tokens", "the step ends read ' "),
    (broken.OneListForAll, "one-output-per-input", "not a list of Solutions"),
    (broken.StepsNotText, "one-output-per-input", "non-empty lines"),
    (broken.PicksBeyond, "one-output-per-input", "picked"),
    (broken.NeedsTwo, "one-output-per-input", "IndexError"),
    (broken_engines.SkipsARequest, "one-output-per-input", "yielded nothing"),
    (broken_engines.AnswersTwice, "one-output-per-input", "twice"),
    (broken_engines.SeedsByBatch, "batch-does-not-matter", "depends on the batch"),
    (broken_engines.KeepsUnwritten, "one-output-per-input", "is unwritten and has a text"),
    (broken_engines.WritesNothing, "one-output-per-input", "all 6 ordinary inputs are left out, the first for: a bad"),
    (broken_engines.LeavesStop, "one-output-per-input", "left in the text"),
    (broken_engines.LeavesStop, "ends-at-stop-strings", "instead of ''"),
    (broken_engines.TooLikely, "choices-are-probabilities", "add up to 3.62"),
    (broken_engines.ForgetsAChoice, "choices-are-probabilities", "for 4 choices; it must be Generation.of_choices"),
    (broken_engines.ChoosesByBatch, "choices-are-probabilities", "depend on the batch"),
    (broken_engines.ReadsNothing, "one-output-per-input", "a prompt of 0 tokens"),
    (broken_engines.CachesTooMuch, "one-output-per-input", "4 cached tokens of a prompt of 3 tokens"),
    (broken_engines.CutsAtTheLastStop, "ends-at-stop-strings", "up to the first"),
    (broken_engines.CallsStopsLength, "ends-at-stop-strings", "is 'length' instead of 'stop'"),
    (broken_engines.CallsLimitsStop, "ends-at-its-limit", "is 'stop' then instead of 'length'"),
    (broken_engines.CountsWrong, "ends-at-its-limit", "has 11 tokens and the finish reason 'length'"),
    (broken_splitters.StripsSteps, "one-output-per-input", "joined, the pieces must be the text"),
    (broken_splitters.StripsSteps, "pieces-make-the-text", "make another text"),
    (broken_splitters.TurnsRound, "pieces-make-the-text", "make another text"),
    (broken_splitters.NeverCuts, "pieces-make-the-text", "none of 9 ordinary texts is cut"),
    (broken_splitters.FailsOnEmptyText, "empty-solution", "ValueError"),
    (broken_splitters.FailsOnEscapeCodes, "hostile-text", "unprintable"),
    (broken_splitters.Backtracks, "linear-time", "100,000 characters take"),
    (broken_engines.KeepsTheEnd, "ends-at-its-limit", "'</s>' is left in the text"),
    (broken_engines.ThinksInNumbers, "one-output-per-input", "is 7"),
    (broken_engines.ReadsTextsOnly, "messages-are-written", "AttributeError"),
    (broken_engines.LeavesMessagesOut, "messages-are-written", "all 6 messages are left out, the first for: a chat"),
    (broken_engines.CountsMessages, "messages-are-written", "depends on the batch"),
    (broken_engines.RepeatsWhatWasBegun, "begun-answers-go-on", "begins so again"),
    (broken_engines.FailsOnBegunAnswers, "begun-answers-go-on", "ValueError"),
    (broken_engines.OneKeyForAll, "keys-tell-messages-apart", "is the same for"),
    (broken_engines.OnlyMessagesOfNone, "messages-are-refused", "reads nothing else"),
    (broken_engines.DeclaresLate, "messages-are-refused", "its class does not say so"),
]


SOUND = (broken.Sound, broken_engines.SoundEngine, broken_engines.SoundChatEngine, broken_splitters.SoundSplitter)


@pytest.mark.parametrize("component", SOUND)
def test_a_sound_component_passes(component: type[Component]) -> None:
    results = run_checks(component)
    assert [result.message for result in results if not result.passed] == []
    assert len({result.name for result in results}) == len(results) >= 13


@pytest.mark.parametrize(("component", "name", "because"), BREAKS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_check_can_fail(component: type[Component], name: str, because: str) -> None:
    check = next(check for check in component_checks(component) if check.name == name)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - a component's own exceptions pass through
        check()
    assert because in f"{type(raised.value).__name__}: {raised.value}"


def test_every_check_is_proved_able_to_fail() -> None:
    proved = {name for _, name, _ in BREAKS}
    sorts = (broken.LosesStepEnds, broken_engines.SoundChooser, *SOUND)
    assert proved == {check.name for sort in sorts for check in component_checks(sort)}


def test_each_check_says_what_must_hold() -> None:
    for check in component_checks(broken.Sound):
        assert check.description.endswith(".")
        assert str(check) == check.name


def test_check_component_names_the_check() -> None:
    check_component(broken.Sound)
    with pytest.raises(AssertionError, match="not a Critique") as raised:
        check_component(broken.ReturnsNumbers)
    assert "one-output-per-input" in "".join(raised.value.__notes__)


def test_results_go_on_after_a_failure() -> None:
    results = {result.name: result for result in run_checks(broken.FailsInInit)}
    assert not results["empty-batch"].passed
    assert results["empty-batch"].message == "it raised RuntimeError: no luck"
    assert results["valid-options"].passed


def test_only_components_can_be_checked() -> None:
    with pytest.raises(PluginError, match="subclass one of them"):
        component_checks(dict)  # type: ignore[arg-type]


def test_a_class_in_a_function_is_told_to_move() -> None:
    class Hidden(broken.Sound):
        """Nobody can import it."""

    check = next(check for check in component_checks(Hidden) if check.name == "light-import")
    with pytest.raises(AssertionError, match="top of a module"):
        check()


def test_public_names_are_sorted_and_there() -> None:
    assert testing.__all__ == sorted(testing.__all__)
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_importing_is_light() -> None:
    code = (
        "import refine_eval.testing, sys; print([m for m in ('torch', 'pytest', 'rich', 'yaml') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# The toys.


def test_toy_runtime_is_a_runtime() -> None:
    runtime: Runtime = ToyRuntime()
    assert (runtime.seed, runtime.device, runtime.dtype, runtime.batch_size) == (0, "cpu", "float32", None)


def test_the_toy_student_depends_on_what_it_is_asked_and_on_nothing_else() -> None:
    problems = toy_problems()
    whole = ToyRuntime().sample_answers(problems, 4, 0.7)
    assert [ToyRuntime().sample_answers([p], 4, 0.7)[0] for p in problems] == whole
    assert ToyRuntime().sample_answers(problems, 2, 0.7, first=2) == [found[2:] for found in whole]
    assert ToyRuntime(seed=1).sample_answers(problems, 4, 0.7) != whole
    assert sum(len(set(found)) > 1 for found in whole) >= 3
    greedy = ToyRuntime().generate(problems, [p.prompt for p in problems], purpose="draft", samples=2)
    assert all(first == second for first, second in greedy)


def test_the_toy_student_is_sometimes_right() -> None:
    grader = ToyRuntime(gold=True).grader
    graded = [grader.is_correct(candidate) for candidate in toy_candidates(50)]
    assert 0.2 < sum(graded) / len(graded) < 0.8


def test_the_toy_student_goes_on_from_kept_steps() -> None:
    problem = toy_problems()[0]
    [[generation]] = ToyRuntime().generate([problem], [continued(problem.prompt, "23+5=29\n")], purpose="local")
    assert generation.text.startswith("29*3=")
    assert len(generation.text.splitlines()) == 2


def test_the_toy_grader_knows_the_first_bad_step() -> None:
    grader = ToyRuntime(gold=True).grader
    for judged in toy_judged(20):
        bad = judged.critique.first_bad_step
        assert bad == grader.first_bad_step(judged.candidate)
        if grader.is_correct(judged.candidate):
            assert bad is None


def test_the_grader_is_for_those_who_may_have_it() -> None:
    with pytest.raises(PluginError, match="needs_gold"):
        _ = ToyRuntime().grader


def test_toy_candidates_are_drafts_first() -> None:
    candidates = toy_candidates(12)
    assert [c.origin for c in candidates] == ["draft"] * 5 + ["refinement"] * 7
    assert len({(c.problem.id, c.id) for c in candidates}) == 12
    groups = toy_groups(12)
    assert [len(group) for group in groups] == [3, 3, 2, 2, 2]
    assert all(group[0].candidate.id == "draft" and group[0].when is not None for group in groups)


def test_toy_solution_reads_the_last_answer() -> None:
    assert toy_solution("1+1=2\n\n #### 2 \n").answer == "2"
    assert toy_solution("1+1=2").answer is None
    assert toy_solution("").steps == ()


class SlowToOpen(Critic):
    """Counts how often it is opened."""

    name = "slow-to-open"
    opened = 0
    open_now = 0

    @property
    def keep_loaded(self) -> bool:
        return True

    def open(self, runtime: Runtime) -> None:
        type(self).opened += 1
        type(self).open_now += 1
        self.is_open = True

    def close(self) -> None:
        type(self).open_now -= getattr(self, "is_open", False)
        self.is_open = False

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        return [Critique(score=0.5, step_scores=(0.5,) * len(c.solution.steps)) for c in batch]


def test_what_is_slow_to_open_serves_several_checks_and_is_closed() -> None:
    results = run_checks(SlowToOpen)
    assert len(results) > 12
    # Its own for: the same seed twice, the watched runtime, closing and reopening.
    assert SlowToOpen.opened <= 6
    assert SlowToOpen.open_now == 0
