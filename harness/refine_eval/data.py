"""The records that flow through a run: frozen, slotted, keyword-only.

A problem never carries its gold answer; only the grader and components that declare `needs_gold` see it.
Steps are the non-empty lines of a solution, counted from 0; the line with the final answer is the last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem as components see it.

    `id` is unique in a run ("gsm8k/17"); `question` is the bare question; `prompt` is what the student reads
    (with few-shot examples where the task has them).
    """

    id: str
    task: str
    question: str
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to continue a prompt. Temperature 0 is greedy decoding; `stop` strings end a text and are cut off."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One text to write for `problem`, continuing `prompt`.

    `stage` ("draft", "sample" or a refiner's name) and `sample` (0, 1, ...) say what the text is for; `seed` is
    derived from the run's seed, the problem, the stage and the sample, so that a sampled text does not depend
    on what else is in the batch.
    """

    problem: Problem
    prompt: str
    sampling: Sampling
    stage: str
    sample: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What an engine wrote: the text after the prompt, the number of tokens written and why it ended.

    `finish_reason` is "stop" (an end-of-text token or a stop string) or "length"; `seconds` is this text's
    share of the engine's time.
    """

    text: str
    tokens: int
    finish_reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A whole solution: text, its steps, the answer that the task's filter finds in it (None: none).

    `tokens` counts generated tokens only; `seconds` is the engine's time for them.
    """

    text: str
    steps: tuple[str, ...]
    answer: str | None
    finish_reason: str
    tokens: int
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A solution of a problem and where it comes from.

    `id` is unique within the problem ("draft", "1.local.0": round, component, sample); `origin` is "draft" or
    "refinement"; `round` is 0 for the draft; `parent` is the id of the candidate that was refined.
    """

    id: str
    problem: Problem
    solution: Solution
    origin: str
    component: str
    sample: int
    round: int = 0
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Critique:
    """A critic's view of one candidate; all scores are probabilities in [0, 1].

    `score` is for the solution as a whole, `step_scores[i]` for the prefix that ends with step i (one per step),
    `first_bad_step` the index from 0 of the first step held to be wrong, None where the critic finds none.
    """

    score: float
    step_scores: tuple[float, ...]
    first_bad_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A candidate with its critique: what refiners and selectors are given.

    For refiners `critique` is the *where* critic's, for selectors the *choose* critic's. `when` is the *when*
    critic's view of a candidate that was up for refinement, None for the others. `round` counts rounds of
    refinement from 1: a later round may come back to the same candidate, and should sample anew.
    """

    candidate: Candidate
    critique: Critique
    when: Critique | None = None
    round: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All that happened to one problem.

    `critiques[candidate id][role]` with the roles "when", "where" and "choose"; `refined` says whether the gate
    let the draft be refined; `selected[selector]` is a candidate id; `correct[candidate id][filter]` is the
    task's own metric on that candidate under each of the task's filters. `critic_tokens` and `critic_seconds`
    are what the critics cost, beyond the candidates themselves. A trace read back from a run record has no
    question and no prompt: records name problems by id, so that they can be published where data may not be.
    """

    problem: Problem
    candidates: tuple[Candidate, ...]
    critiques: Mapping[str, Mapping[str, Critique]]
    refined: bool
    selected: Mapping[str, str]
    correct: Mapping[str, Mapping[str, bool]]
    critic_tokens: int = 0
    critic_seconds: float = field(default=0.0, compare=False)

    def candidate(self, candidate_id: str) -> Candidate:
        """The candidate with this id; raises KeyError where there is none."""
        for candidate in self.candidates:
            if candidate.id == candidate_id:
                return candidate
        raise KeyError(candidate_id)


DRAFT = "draft"


IGNORE = -100


def alone(trace: Trace, refiner: str) -> Candidate:
    """What a refiner alone answers: its first refinement, or the draft where it wrote none."""
    return next((c for c in trace.candidates if c.component == refiner), _draft(trace))


def _draft(trace: Trace) -> Candidate:
    return trace.candidate(DRAFT)
