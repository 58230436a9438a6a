"""What texts cost, and which of them are missing or were cut off: the counts of a run's record."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What models wrote and read for something, how long they took and what they computed; None where not known."""

    tokens: int
    seconds: float = field(default=0.0, compare=False)
    read_tokens: int | None = field(default=None, compare=False)
    flops: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """What a model of a run ("student", "refiner local", "critic orm") read and wrote, each text once.

    `parameters` are `Component.model_parameters`, None where not known. `cached_tokens` of the `prompt_tokens` had been
    read for another text. Of `unknown` texts it is not known how many tokens were read: `prompt_tokens` lack them.
    """

    name: str
    parameters: int | None
    texts: int
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff:
    """How many of the texts that were written in a stage ("draft", "sample", a refiner's name) hit the length limit."""

    stage: str
    texts: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """How many of the texts that a component was to "score", "write" or "refine" it could not, for one reason."""

    component: str
    verb: str
    texts: int
    of: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedText:
    """How long a text that was asked of an engine is, and its prompt: what predictions of cost need to know of it.

    `read` is how many tokens of the prompt were read for it, None where that is not known. What a critic's own model
    reads of a candidate is one too, without a text.
    """

    problem_id: str
    prompt_characters: int = 0
    characters: int = 0
    tokens: int = 0
    read: int | None = None
