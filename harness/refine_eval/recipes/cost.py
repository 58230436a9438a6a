"""What a suite will cost, from a dry run on a few problems: tokens by stage, and GPU hours at a given throughput.

The model is linear: a stage costs each further problem what it cost the dry run's on average, and the interval is that
of this mean (1.96 standard errors). Written tokens are counted; read ones are prompt characters at the rate of tokens
a character that the written texts have, and count each prompt whole: engines that cache prefixes read fewer.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from refine_eval.data import RequestedText


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """A stage's predicted cost: `read` and `written` tokens; `margin` is half the 95 % interval of `written`."""

    stage: str
    texts: float
    read: float
    written: float
    margin: float

    def gpu_hours(self, throughput: float, prompt_throughput: float | None) -> float:
        """Hours of one GPU that writes `throughput` tokens a second, and reads `prompt_throughput` (None: for free)."""
        reading = self.read / prompt_throughput if prompt_throughput else 0.0
        return (self.written / throughput + reading) / 3600


def predicted(asked: Mapping[str, Iterable[RequestedText]], measured: int, wanted: int) -> list[StageCost]:
    """The cost of each stage for `wanted` problems, from the texts of `measured` ones."""
    by_stage = {stage: list(texts) for stage, texts in asked.items()}
    everything = [text for texts in by_stage.values() for text in texts]
    rate = sum(text.tokens for text in everything) / max(1, sum(text.characters for text in everything))
    scale = wanted / measured
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
                texts=len(texts) * scale,
                read=sum(text.prompt_characters for text in texts) * rate * scale,
                written=sum(by_problem) * scale,
                margin=1.96 * error * wanted,
            )
        )
    return costs


def total(costs: Iterable[StageCost]) -> StageCost:
    """All stages together; margins add up as those of independent stages do."""
    found: Sequence[StageCost] = list(costs)
    return StageCost(
        stage="",
        texts=sum(cost.texts for cost in found),
        read=sum(cost.read for cost in found),
        written=sum(cost.written for cost in found),
        margin=sum(cost.margin**2 for cost in found) ** 0.5,
    )
