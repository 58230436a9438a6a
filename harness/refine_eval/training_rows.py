"""What models are trained on: samples, labelled samples, and a trainer's examples of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

IGNORE = -100
"""The label of a position that no loss counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One of a student's samples, or a gold solution: `correct` by the task's metric under the run's filter.

    `cuts` are where its steps begin and end, as a Solution's are; None: each step is a line.
    """

    text: str
    correct: bool
    tokens: int
    cuts: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSamples:
    """A training question and its samples, as `refine-eval collect` draws them: a row of samples.jsonl.

    `asked` is what the user said to a student that reads messages, None where that is `student_prompt(question)`, for
    plain prompts and for conversations of several turns.
    """

    id: str
    question: str
    samples: tuple[Sample, ...]
    asked: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSample:
    """A sample with a label for each step, as `refine-eval label` makes them: a row of labels.jsonl.

    A label is 1 (the right answer can still be reached from here), 0 (it cannot) or, of soft labels, the share of
    rollouts that reached it. `verified[length]` are the steps by which a rollout went on from the first `length` steps
    to the right answer. `exact` steps are pieces of the text, which joined are the text again; others are its lines,
    without white space at their ends.
    """

    id: str
    question: str
    steps: tuple[str, ...]
    correct: bool
    labels: tuple[float, ...]
    verified: Mapping[int, tuple[str, ...]]
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a trainer makes its examples of: the rows of the stages that it reads, those of all folders in order."""

    samples: tuple[QuestionSamples, ...] = ()
    labels: tuple[LabelledSample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training row: token ids, and a label for each position, equally long.

    A label is what the loss expects *at* its position (a generator's are shifted already), `IGNORE` where nothing is
    expected. Labels that are shares in [0, 1] are floats, in all rows alike. `question` says which question the row is
    of: all rows of one question are either trained on or held out.
    """

    question: str
    input_ids: list[int]
    labels: Sequence[float]
