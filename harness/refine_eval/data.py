"""The records that flow through a run: frozen, slotted, keyword-only.

A problem never carries its gold answer; only the grader and components that declare `needs_gold` see it.
Steps are counted from 0. By default they are the non-empty lines of a solution, and the line with the final answer is
the last; `--steps` cuts in another way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from refine_eval.costs import Cost
from refine_eval.cuts import line_ends

DRAFT = "draft"
"""The id and the origin of the first candidate of every problem, and the stage that writes it."""

PREFERRED_FILTER = "flexible-extract"
"""The filter that decides right and wrong where a task has it and none is named."""

UNWRITTEN = "unwritten"
"""The `finish_reason` of a text that could not be written."""

CUT_OFF = "length"
"""The `finish_reason` of a text that its limit ended."""

FINISH_REASONS = ("stop", CUT_OFF)
"""Why a text ended: by an end-of-text token or a stop string, or by its limit."""

Precision = Literal["float32", "bfloat16", "float16"]
"""What weights can be stored and computed in."""


Dtype = Literal["auto", Precision]
"""What models can be asked to compute in; "auto" leaves it to the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation, as a chat template or a chat server takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | tuple[Message, ...]
"""What a model continues: a text, or messages. A last message by the assistant is a prefill, which the text continues;
after any other the model answers with a message of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatForm:
    """How a model's own chat template is asked to render messages.

    `template` is its name, for a model that has several; `enable_thinking` goes to templates that know it (Qwen3's).
    None leaves either to the model.
    """

    template: str | None = None
    enable_thinking: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How a model thinks before it answers: what ends its thoughts ("</think>"), and whether its texts begin in one.

    `at_once` is so where the chat template itself opens the thought, as DeepSeek-R1's does.
    """

    end: str
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem as components see it.

    `id` is unique in a run ("gsm8k/17"); `question` is the bare question; `prompt` is what the student reads
    (with few-shot examples where the task has them). Where a run has several drafts of each problem, each goes its way
    as a problem of its own: `repeat` counts them from 0, and all but the first have it in their id ("gsm8k/17@3").
    """

    id: str
    task: str
    question: str
    prompt: Prompt
    repeat: int = 0

    @property
    def first_id(self) -> str:
        """The id of the first repeat: statistics count all repeats as one problem, by this."""
        return self.id.removesuffix(f"@{self.repeat}") if self.repeat else self.id

    @staticmethod
    def id_of(first_id: str, repeat: int) -> str:
        """The id of a repeat of the problem whose first has this id."""
        return f"{first_id}@{repeat}" if repeat else first_id


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

    `purpose` ("draft", "sample" or a refiner's name) and `sample` (0, 1, ...) say what the text is for; `seed` is
    derived from the run's seed, the problem, the purpose and the sample, so that a sampled text does not depend
    on what else is in the batch.

    With `choices` no text is asked for, but how likely each of them is to be what the model writes next.
    """

    problem: Problem
    prompt: Prompt
    sampling: Sampling
    purpose: str
    sample: int
    seed: int
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What an engine wrote: the text after the prompt, the number of tokens written and why it ended.

    `finish_reason` is "stop" (an end-of-text token or a stop string) or "length"; `seconds` is this text's
    share of the engine's time. `unwritten` says why there is no text for this request, though there may be for others
    ("prompt longer than the context (1,310 tokens of 1,024); use fewer examples"): None where there is one. What stands
    before the first "(" or ";" names the kind, by which such texts are counted.

    `thought` is what the engine says that the model thought before the text, where it tells them apart itself, as some
    servers do; `tokens` count it. None: what was written is all in `text`.

    `prompt_tokens` is how long the prompt is, None where the engine does not know; `cached_tokens` of them the engine
    did not read for this text, because it had read them for another. `flops` is what reading and writing took, None
    where it is not known: the run computes it from the engine's `model_parameters`.

    For a request with `choices` there is no text, and `logprobs` has the natural logarithm of each choice's
    probability to come next; of one whose tokens begin another's, without that one's. None stands for a choice that a
    server did not name among its likeliest tokens: its logarithm is at most `logprob_bound`.
    """

    text: str
    tokens: int
    finish_reason: str
    seconds: float = 0.0
    unwritten: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int = field(default=0, compare=False)
    flops: float | None = field(default=None, compare=False)
    logprobs: tuple[float | None, ...] | None = None
    logprob_bound: float | None = None
    thought: str | None = None

    @property
    def read_tokens(self) -> int | None:
        """Tokens of the prompt that were read for this text; None where that is not known."""
        return None if self.prompt_tokens is None else self.prompt_tokens - self.cached_tokens

    @classmethod
    def without_text(cls, why: str) -> Self:
        """What an engine yields for a request for which it can write nothing: the run goes on, and counts it."""
        return cls(text="", tokens=0, finish_reason=UNWRITTEN, unwritten=why)

    @classmethod
    def of_choices(
        cls,
        logprobs: Sequence[float | None],
        *,
        bound: float | None = None,
        seconds: float = 0.0,
        prompt_tokens: int | None = None,
        cached_tokens: int = 0,
    ) -> Self:
        """What an engine yields for a request with choices."""
        return cls(
            text="",
            tokens=0,
            finish_reason="stop",
            seconds=seconds,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            logprobs=tuple(logprobs),
            logprob_bound=bound,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine of a component's own, beside the student's: its name, and its arguments as --model-args has them.

    `model` is the hub name, folder or name on a server of its model, where the arguments name none.
    """

    engine: str
    arguments: tuple[tuple[str, str], ...] = ()
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A whole solution: text, its steps, the answer that the task's filter finds in it (None: none).

    `tokens` counts generated tokens only; `seconds` is the engine's time for them. `read_tokens` and `flops` are a
    Generation's, None where they are not known. `unwritten` is one's too: why there is no text. Such a draft stays,
    empty and wrong; such a refinement is left out; both are counted.

    `steps` are without white space at their ends. `cuts` are offsets in `text`, one more than there are steps: step i
    stands between `cuts[i]` and `cuts[i + 1]`, so that the pieces joined are the text again. None: each step is a line.

    `thought` is what a reasoning model wrote before the text, with the token that ended it: `thought + text` is all
    that was written (`written`), and where there is a thought `cuts` are offsets in that. Only `text` is graded. A text
    that is a thought that never ended, or was cut off at its limit, has no answer; the former has no steps either.
    """

    text: str
    steps: tuple[str, ...]
    answer: str | None
    finish_reason: str
    tokens: int
    seconds: float = field(default=0.0, compare=False)
    unwritten: str | None = None
    cuts: tuple[int, ...] | None = None
    read_tokens: int | None = field(default=None, compare=False)
    flops: float | None = field(default=None, compare=False)
    thought: str | None = None

    @property
    def written(self) -> str:
        """The thought and the text."""
        return (self.thought or "") + self.text

    def before(self, step: int) -> str:
        """What was written before a step, to the byte, its thought included; `len(steps)` stands for the end."""
        thought = self.thought or ""
        if not self.steps:
            return thought
        if self.cuts is None:
            return thought + self.text[: (0, *line_ends(self.text))[step]]
        return self.written[: self.cuts[step]]

    @classmethod
    def without_text(cls, why: str) -> Self:
        """What a refiner returns for a candidate that it cannot refine, so that this is counted."""
        left = cls(text="", steps=(), answer=None, finish_reason=UNWRITTEN, tokens=0, unwritten=why)
        return replace(left, read_tokens=0, flops=0.0)


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
    `unscored` says why the critic has no score for this one text, though it may for others ("longer than the context
    (1,310 tokens of 1,024); use another critic"); then all scores are 0 and no step is named. What stands before the
    first "(" or ";" names the kind, by which such texts are counted. `read_tokens` is how many tokens a model of the
    critic's own read to judge the candidate: 0 without one, None where it is not known. What the runtime's `generate`
    read and wrote for the critic is counted apart.

    `feedback` is the critique in words, for refiners that read it: untrusted text of a model, without control
    characters and bounded where a run hands it on. `parsed` is False where the critic answered and no verdict could be
    read in that; such a critique has no score, and says so as `unscored`. Of `verdicts` answers that it asked for
    `unread` had none that could be read: the score is of the others.
    """

    score: float
    step_scores: tuple[float, ...]
    first_bad_step: int | None = None
    unscored: str | None = None
    read_tokens: int | None = field(default=0, compare=False)
    feedback: str | None = None
    parsed: bool = True
    verdicts: int = 1
    unread: int = 0

    @classmethod
    def without_score(cls, candidate: Candidate, why: str, *, feedback: str | None = None, parsed: bool = True) -> Self:
        """What a critic returns for a candidate that it cannot judge: the run goes on, and counts it."""
        none = (0.0,) * len(candidate.solution.steps)
        return cls(score=0.0, step_scores=none, unscored=why, feedback=feedback, parsed=parsed)


def first_below(scores: Iterable[float], threshold: float) -> int | None:
    """The first step, from 0, whose score is below a threshold: the first bad one. None: there is none."""
    return next((step for step, score in enumerate(scores) if score < threshold), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCandidate:
    """A candidate with its critique: what refiners and selectors are given.

    For refiners `critique` is the *where* critic's, for selectors the *choose* critic's. `when` is the *when*
    critic's view of a candidate that was up for refinement, None for the others. `round` counts rounds of
    refinement from 1: a later round may come back to the same candidate, and should sample anew. `group` are all
    candidates that the problem has so far, the draft first, for refiners that declare `sees_group`; () for others.
    """

    candidate: Candidate
    critique: Critique
    when: Critique | None = None
    round: int = 1
    group: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGroup:
    """Those of a problem's solutions that have one answer.

    `members` are their indices, in order; `best_spelt` is the one to hand in: "29" and "29.00" are one answer to
    people, but a task's metric may take only one of the spellings.
    """

    members: tuple[int, ...]
    best_spelt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All that happened to one problem.

    `critiques[candidate id][role]` with the roles "when", "where" and "choose"; `refined` says whether the gate
    let the draft be refined; `selected[selector]` is a candidate id; `correct[candidate id][filter]` is the
    task's own metric on that candidate under each of the task's filters. `critic_tokens` and `critic_seconds`
    are what the critics cost, beyond the candidates themselves; so are `critic_read_tokens` and `critic_flops`, None
    where they are not known, as in traces of a record. `selecting[selector]` is what a selector's own choice cost, of
    those that have a model write. `rounds` has a candidate id for each of several rounds: what the first selector chose
    after it. A trace read back from a run record has no
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
    critic_read_tokens: int | None = field(default=None, compare=False)
    critic_flops: float | None = field(default=None, compare=False)
    selecting: Mapping[str, Cost] = field(default_factory=dict)
    rounds: tuple[str, ...] = ()

    def candidate(self, candidate_id: str) -> Candidate:
        """The candidate with this id; raises KeyError where there is none."""
        for candidate in self.candidates:
            if candidate.id == candidate_id:
                return candidate
        raise KeyError(candidate_id)

    @property
    def draft(self) -> Candidate:
        """The draft."""
        return self.candidate(DRAFT)

    @property
    def choice(self) -> Candidate:
        """The run's choice: that of its first selector."""
        return self.candidate(next(iter(self.selected.values())))

    def alone(self, refiner: str) -> Candidate:
        """What a refiner alone answers: its first refinement, or the draft where it wrote none."""
        return next((c for c in self.candidates if c.component == refiner), self.draft)
