"""Which of a problem's candidates to keep. Index 0 is the draft."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refine_eval import ScoredCandidate, Selector, check_options, option


def _best(candidates: Sequence[ScoredCandidate]) -> int:
    """The index of the highest score; of equals the first."""
    return max(range(len(candidates)), key=lambda index: candidates[index].critique.score)


def _most_weight(candidates: Sequence[ScoredCandidate], weight: Callable[[ScoredCandidate], float]) -> int:
    """The first candidate with the answer that gathers most weight; of equal answers the one that appears first.

    Candidates without an answer have no vote; where nobody has one, the draft stays.
    """
    first: dict[str, int] = {}
    weights: dict[str, float] = defaultdict(float)
    for index, judged in enumerate(candidates):
        answer = judged.candidate.solution.answer
        if answer is not None:
            first.setdefault(answer, index)
            weights[answer] += weight(judged)
    return first[max(first, key=lambda answer: weights[answer])] if first else 0


class DraftSelector(Selector):
    """Always keeps the draft: the baseline without any refinement."""

    name = "draft"
    decides_on_draft_alone = True

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """0 for every problem."""
        return [0 for _ in batch]


class RerankSelector(Selector):
    """Takes the candidate that the choose critic scores highest; the draft wins ties (GLoRe's reranker)."""

    name = "rerank"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """The first of the best-scored candidates of each problem."""
        return [_best(candidates) for candidates in batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """Options of the gate selector."""

    threshold: float = option(0.5, "Keep the draft where the when critic scores it this or higher.", min=0, max=1)

    def __post_init__(self) -> None:
        check_options(self)


class GateSelector(Selector):
    """Keeps a draft that the when critic trusts, else takes the best-scored refinement.

    This is the *when* of GLoRe without a choice at the end: refinements are never compared with the draft. A
    draft that no *when* critic has seen is judged by the *choose* critic; one without refinements is kept.
    """

    name = "gate"
    always_reported = True
    decides_on_draft_alone = True
    Options = GateOptions
    options: GateOptions

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """0 where the draft passes the gate, else the best of the others."""
        return [self._pick(candidates) for candidates in batch]

    def _pick(self, candidates: Sequence[ScoredCandidate]) -> int:
        draft, refinements = candidates[0], candidates[1:]
        if not refinements or (draft.when or draft.critique).score >= self.options.threshold:
            return 0
        return 1 + _best(refinements)


class VoteSelector(Selector):
    """Takes the majority answer among the candidates; of equals the answer that appears first."""

    name = "vote"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """The first candidate that has the winning answer."""
        return [_most_weight(candidates, lambda _: 1.0) for candidates in batch]


class WeightedVoteSelector(Selector):
    """Takes the answer whose candidates' scores have the highest sum."""

    name = "weighted-vote"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """The first candidate that has the winning answer."""
        return [_most_weight(candidates, lambda judged: judged.critique.score) for candidates in batch]


class OracleSelector(Selector):
    """Takes the first right candidate, told by the gold answer: the upper bound of any choice."""

    name = "oracle"
    needs_gold = True
    always_reported = True

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """The first candidate that the grader accepts, else the draft."""
        is_correct = self.runtime.grader.is_correct
        return [
            next((index for index, judged in enumerate(candidates) if is_correct(judged.candidate)), 0)
            for candidates in batch
        ]
