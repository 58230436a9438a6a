"""Components that each break the contract in one way, to prove that its checks can fail; see also broken_engines.

Not installed anywhere.
"""

import random
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

from refine_eval.critics.token_classifier import TokenClassifierCritic
from refine_eval.data import Critique, Solution
from refine_eval.plugin.components import Critic, Refiner, Selector


class Sound(Critic):
    """Keeps the whole contract; the others change one thing."""

    name = "sound"

    def critique(self, batch):
        return [self.one(candidate) for candidate in batch]

    def one(self, candidate):
        return Critique(score=0.5, step_scores=(0.5,) * len(candidate.solution.steps))


class BadName(Sound):
    """Has capitals and spaces in its name."""

    name = "Bad Name"


class NoDocstring(Sound):
    name = "no-docstring"


@dataclass(frozen=True, kw_only=True)
class SilentOptions:
    """A field without help."""

    depth: int = 3


class OptionWithoutHelp(Sound):
    """Has an option that nobody can look up."""

    Options = SilentOptions


@dataclass(kw_only=True)
class LooseOptions:
    """Not frozen."""

    depth: int = field(default=3, metadata={"help": "Depth."})


class OptionsNotFrozen(Sound):
    """Has options that change under one's hands."""

    Options = LooseOptions


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """A type that the command line cannot express."""

    words: list[int] = field(default_factory=list, metadata={"help": "Words."})


class OptionOfStrangeType(Sound):
    """Has an option of an unsupported type."""

    Options = ListOptions


class ImportsInInit(Sound):
    """Imports a heavy module when made."""

    def __init__(self, options=None):
        super().__init__(options)
        import datasets  # noqa: F401


class ReadsInInit(Sound):
    """Reads a file when made."""

    def __init__(self, options=None):
        super().__init__(options)
        self.text = (Path(__file__).parents[1] / "example_plugin" / "pyproject.toml").read_text()


class SlowInit(Sound):
    """Computes for long when made."""

    def __init__(self, options=None):
        super().__init__(options)
        end = time.process_time() + 0.7
        while time.process_time() < end:
            pass


class FailsInInit(Sound):
    """Cannot be made."""

    def __init__(self, options=None):
        raise RuntimeError("no luck")


class FailsOnEmptyBatch(Sound):
    """Takes the first input for granted."""

    def critique(self, batch):
        batch[0]
        return super().critique(batch)


class ReturnsTuple(Sound):
    """Returns no list."""

    def critique(self, batch):
        return tuple(super().critique(batch))


class DropsOne(Sound):
    """Leaves the last input out of a batch of several."""

    def critique(self, batch):
        return super().critique(batch)[: max(1, len(batch) - 1)] if batch else []


class ReturnsNumbers(Sound):
    """Returns scores instead of critiques."""

    def one(self, candidate):
        return 0.5


class DependsOnBatch(Sound):
    """Normalises over the batch."""

    def critique(self, batch):
        return [replace(critique, score=1 / len(batch)) for critique in super().critique(batch)]


class SortsOutputs(Sound):
    """Returns the outputs in an order of its own."""

    def one(self, candidate):
        score = len(candidate.solution.text) / 1_000
        return replace(super().one(candidate), score=score)

    def critique(self, batch):
        return [
            replace(critique, step_scores=(0.5,) * len(candidate.solution.steps))
            for critique, candidate in zip(sorted(super().critique(batch), key=lambda c: c.score), batch, strict=True)
        ]


class Random(Sound):
    """Draws its scores from Python's global generator, once for each instance."""

    def open(self, runtime):
        super().open(runtime)
        self.drawn = random.random()

    def one(self, candidate):
        return replace(super().one(candidate), score=self.drawn)


class ChangingIdentity(Sound):
    """Would never be served from the store."""

    def identity(self):
        return f"{id(self)} {time.perf_counter_ns()}"


class NotANumber(Sound):
    """Scores NaN."""

    def one(self, candidate):
        return replace(super().one(candidate), score=float("nan"))


class AboveOne(Sound):
    """Gives log-odds for probabilities, on steps only."""

    def one(self, candidate):
        return Critique(score=0.5, step_scores=(2.5,) * len(candidate.solution.steps))


class IntegerScores(Sound):
    """Gives an int for a float, which a run record would write differently."""

    def one(self, candidate):
        return replace(super().one(candidate), score=1)


class ForgetsAStep(Sound):
    """Has no score for the answer's step."""

    def one(self, candidate):
        return Critique(score=0.5, step_scores=(0.5,) * (len(candidate.solution.steps) - 1))


class CountsFromOne(Sound):
    """Names the last step as people count it."""

    def one(self, candidate):
        return replace(super().one(candidate), first_bad_step=len(candidate.solution.steps))


class ScoresWhatItLeavesOut(Sound):
    """Says that it has no score for a text, and gives one."""

    def one(self, candidate):
        return replace(super().one(candidate), unscored="too long")


class ScoresWithoutAVerdict(Sound):
    """Could parse no verdict, and gives a score."""

    def one(self, candidate):
        return replace(super().one(candidate), parsed=False)


class FeedbackNotText(Sound):
    """Gives a list of remarks as its feedback."""

    def one(self, candidate):
        return replace(super().one(candidate), feedback=["Step 1 is wrong."])


class LeavesAllOut(Sound):
    """Has no score for anything."""

    def one(self, candidate):
        return Critique.without_score(candidate, "not its kind of text")


class FailsWithoutSteps(Sound):
    """Divides by the number of steps."""

    def one(self, candidate):
        return replace(super().one(candidate), score=1 / len(candidate.solution.steps))


class FailsOnEscapes(Sound):
    """Chokes on control characters."""

    def one(self, candidate):
        if not candidate.solution.text.replace("\n", "").isprintable():
            raise ValueError("unprintable")
        return super().one(candidate)


class EmptiesBatch(Sound):
    """Takes its inputs out of the batch that it is given."""

    def critique(self, batch):
        return [self.one(batch.pop(0)) for _ in range(len(batch))]


class WritesIntoInputs(Sound):
    """Gets round the frozen records."""

    def one(self, candidate):
        object.__setattr__(candidate.solution, "answer", "0")
        return super().one(candidate)


class PeeksAtGold(Sound):
    """Asks for the grader without saying so, and hides that it was refused."""

    def one(self, candidate):
        try:
            good = self.runtime.grader.is_correct(candidate)
        except Exception:
            good = False
        return replace(super().one(candidate), score=float(good))


class NeedsNoGold(Sound):
    """Declares that it sees the gold answers and does not look."""

    needs_gold = True


class ClosesOnce(Sound):
    """Deletes its model on close, and deletes it again."""

    def open(self, runtime):
        super().open(runtime)
        self.model = object()

    def close(self):
        del self.model


class DoesNotReopen(Sound):
    """Counts how often it was opened."""

    opened = 0

    def open(self, runtime):
        super().open(runtime)
        self.opened += 1

    def one(self, candidate):
        return replace(super().one(candidate), score=1 / self.opened)


class _ReadsNewlineAsSpace:
    """A tokenizer of characters that decodes a newline to a space."""

    unk_token_id = bos_token_id = None

    def encode(self, text, **_):
        return [ord(character) for character in text]

    def __call__(self, texts, **_):
        return SimpleNamespace(input_ids=[self.encode(text) for text in texts])

    def decode(self, ids):
        return "".join(map(chr, ids)).replace("\n", " ")


class LosesStepEnds(TokenClassifierCritic):
    """Has a tokenizer for which a newline is a space like any other."""

    name = "loses-step-ends"

    def open(self, runtime):
        self._model = SimpleNamespace(tokenizer=_ReadsNewlineAsSpace())

    def close(self):
        self._model = None


class OneListForAll(Refiner):
    """Returns solutions where lists of solutions are wanted."""

    name = "one-list"

    def refine(self, batch):
        return [judged.candidate.solution for judged in batch]


class StepsNotText(Refiner):
    """Makes Solutions by hand, and wrongly."""

    name = "steps-not-text"

    def refine(self, batch):
        return [
            [Solution(text="1+1=2\n#### 2", steps=("1+1=2",), answer="2", finish_reason="stop", tokens=3)]
            for _ in batch
        ]


class PicksBeyond(Selector):
    """Counts candidates from 1."""

    name = "picks-beyond"

    def select(self, batch):
        return [len(group) for group in batch]


class NeedsTwo(Selector):
    """Expects a refinement to be there."""

    name = "needs-two"

    def select(self, batch):
        return [0 if group[0].critique.score > group[1].critique.score else 1 for group in batch]
