"""What decides the samples and labels of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refine_eval.errors import UsageError
from refine_eval.plugin.fields import check_settings, option


@dataclass(frozen=True, kw_only=True)
class CollectSettings:
    """Which questions, and how many samples of each, or the gold solutions instead."""

    split: Literal["train", "validation", "test"] = option("train")
    limit: int | None = option(None, "Only the first N questions.", min=1, flags=("--limit", "-L"))
    samples: int = option(8, "Samples per question.", min=1)
    gold: bool = option(False, "The task's own solutions of its training questions instead of samples.")
    temperature: float = option(0.7, "Of the samples.", above=0, max=100)

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit, and for gold solutions that are not to be trained on."""
        check_settings(self)
        if self.gold and self.split == "test":
            raise UsageError("Gold solutions of test questions are not to be trained on; name --split train.")


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Which samples are labelled, and how; the defaults are the paper's (GLoRe, section 3), by the cheap way.

    `naive`: K rollouts from every prefix of every sample; needed for `soft` labels (the share of successes, as in
    Math-Shepherd) and for labels without rule 1. `monotone` and `consistent` are rules 1 and 2; rule 1 says nothing of
    soft labels, which stay as they are, so they are never monotone. `solved`: where no sample of a question is right,
    its rollouts mostly fail from the first step on, which says more of the question than of the steps.
    """

    rollouts: int = option(8, "Continuations per prefix.", min=1)
    temperature: float = option(0.7, "Temperature of the rollouts.", above=0, max=100)
    naive: bool = option(False, "Exhaustive: all rollouts of every prefix of every sample.")
    soft: bool = option(False, "Labels are shares of successes (Math-Shepherd); needs --naive.")
    monotone: bool = option(True, "Without rule 1; needs --naive.", flags=("--no-monotone",))
    consistent: bool = option(
        True, "Without rule 2: rollouts count that ignore the prefix.", flags=("--no-consistent",)
    )
    per_question: int | None = option(None, "At most N wrong and N right samples per question.", min=1)
    solved: bool = option(False, "Only questions with a right sample: others may be beyond the student.")
    limit: int | None = option(None, "Only the first N questions of the samples.", min=1, flags=("--limit", "-L"))

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit, and for labels that only the plain way can make."""
        check_settings(self)
        if (self.soft or not self.monotone) and not self.naive:
            flag = "--soft" if self.soft else "--no-monotone"
            raise UsageError(f"{flag} needs all rollouts of every prefix: add --naive.")
        if self.soft:
            object.__setattr__(self, "monotone", False)
