"""What work costs: the model of `plan` and of `recipe run --dry-run`, and what `plan` makes of a dry run's texts.

The model is linear: further work costs what the measured cost on average (`at_mean_cost`), and takes its tokens at a
rate (`seconds_for`). `recipes.estimates` says what the work of a recipe's stages is.

`plan` measures a few problems: tokens by stage, and GPU hours at a given throughput; the interval is that of the mean
(1.96 standard errors). Tokens are those that models read and wrote in the dry run, critics' own among them. Where an
engine does not say what it read, prompts count whole, their characters at the rate of tokens a character that the
written texts have. Trained tokens are steps x rows of a step x the mean length of question and solution.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from refine_eval.costs import RequestedText
from refine_eval.plugin.fields import check_settings, option


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How fast the GPUs are that a suite is planned for, and how much is run to see what it costs."""

    throughput: float = option(help="Tokens a second that a GPU writes.", above=0)
    prompt_throughput: float | None = option(
        None, "Tokens per second that a GPU reads, of prompts and for critics.", above=0, shown="reading takes no time"
    )
    train_throughput: float | None = option(
        None, "Tokens per second that a GPU trains on.", above=0, shown="training takes no time"
    )
    gpus: int = option(1, "GPUs that share the work.", min=1)
    sample: int = option(16, "Problems of the dry run, per run.", min=2)

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit."""
        check_settings(self)


def at_mean_cost(cost: float | None, measured: float, wanted: float | None) -> float | None:
    """What `wanted` units of work cost where `measured` ones cost `cost`; None where that is unknown."""
    return None if cost is None or wanted is None else cost * (wanted / measured)


def seconds_for(tokens: float | None, rate: float | None) -> float | None:
    """Seconds for so many tokens at a rate of tokens per second; None where either is unknown."""
    return None if tokens is None or rate is None else tokens / rate


def known_sum(values: Iterable[float | None]) -> float | None:
    """The sum of the values that are known; None where there are only others, or only others and zeros."""
    found = list(values)
    return sum(value for value in found if value is not None) or (None if None in found else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """A stage's predicted cost in tokens; `margin` is half the 95 % interval of `written`.

    `texts` are those written, or the solutions that a critic read, or the rows that a model is trained on.
    """

    stage: str
    texts: float
    read: float = 0.0
    written: float = 0.0
    margin: float = 0.0
    trained: float = 0.0

    def gpu_hours(self, how: PlanSettings) -> float:
        """GPU hours at the throughputs that are given; what has none takes no time."""
        rates = (self.written, how.throughput), (self.read, how.prompt_throughput), (self.trained, how.train_throughput)
        return (known_sum(seconds_for(*each) for each in rates) or 0.0) / 3600


def predicted(asked: Mapping[str, Iterable[RequestedText]], measured: int, wanted: int) -> list[StageCost]:
    """The cost of each stage for `wanted` problems, from the texts of `measured` ones."""
    by_stage = {stage: list(texts) for stage, texts in asked.items()}
    everything = [text for texts in by_stage.values() for text in texts]
    rate = tokens_a_character(everything)

    def in_all(of_measured: float) -> float:
        return at_mean_cost(of_measured, measured, wanted) or 0.0

    costs = []
    for stage, texts in by_stage.items():
        tokens: Counter[str] = Counter()
        for text in texts:
            tokens[text.problem_id] += text.tokens
        by_problem = [*tokens.values(), *[0] * (measured - len(tokens))]
        # Of the problems wanted, those that were measured are known; one alone says nothing of others.
        unknown = max(0.0, 1 - measured / wanted)
        spread = statistics.stdev(by_problem) if measured > 1 else float("inf")
        error = spread * (unknown / measured) ** 0.5 if unknown else 0.0
        costs.append(
            StageCost(
                stage=stage,
                texts=in_all(len(texts)),
                read=in_all(sum(text.prompt_characters * rate if text.read is None else text.read for text in texts)),
                written=in_all(sum(by_problem)),
                margin=1.96 * error * wanted,
            )
        )
    return costs


def tokens_a_character(texts: Sequence[RequestedText]) -> float:
    """Of written texts; 0 where nothing was written."""
    return sum(text.tokens for text in texts) / max(1, sum(text.characters for text in texts))


def trained(what: str, rows: int, samples: Iterable[RequestedText]) -> StageCost:
    """The cost of training on so many rows of the samples' mean length, the question's included."""
    some = list(samples)
    characters = sum(text.prompt_characters + text.characters for text in some) / max(1, len(some))
    return StageCost(stage=f"train {what}", texts=rows, trained=rows * characters * tokens_a_character(some))


def total(costs: Iterable[StageCost]) -> StageCost:
    """All stages together; margins add up as those of independent stages do."""
    found: Sequence[StageCost] = list(costs)
    return StageCost(
        stage="",
        texts=sum(cost.texts for cost in found),
        read=sum(cost.read for cost in found),
        written=sum(cost.written for cost in found),
        margin=sum(cost.margin**2 for cost in found) ** 0.5,
        trained=sum(cost.trained for cost in found),
    )
