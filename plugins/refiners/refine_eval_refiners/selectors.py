"""Which of a problem's candidates to keep. Index 0 is the draft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refine_eval import AnswerGroup, Runtime, ScoredCandidate, Selector, check_options, option


def _best(candidates: Sequence[ScoredCandidate]) -> int:
    """The index of the highest score; of equals the first."""
    return max(range(len(candidates)), key=lambda index: candidates[index].critique.score)


def _voted(
    runtime: Runtime, batch: Sequence[Sequence[ScoredCandidate]], weight: Callable[[ScoredCandidate], float]
) -> list[int]:
    """For each problem the answer that gathers most weight; of equals the one that appears first.

    Candidates without an answer have no vote; where nobody has one, the draft stays.
    """
    if not batch:
        return []
    problems = [candidates[0].candidate.problem for candidates in batch]
    solutions = [[judged.candidate.solution for judged in candidates] for candidates in batch]

    def winner(candidates: Sequence[ScoredCandidate], groups: Sequence[AnswerGroup]) -> int:
        if not groups:
            return 0
        return max(groups, key=lambda group: sum(weight(candidates[index]) for index in group.members)).best_spelt

    return list(map(winner, batch, runtime.answer_groups(problems, solutions)))


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
    """Takes the majority answer among the candidates; of equals the answer that appears first.

    Of the candidates that have it, one whose spelling the task's metric is most likely to take is handed in.
    """

    name = "vote"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """The best-spelt candidate that has the winning answer."""
        return _voted(self.runtime, batch, lambda _: 1.0)


class WeightedVoteSelector(Selector):
    """Takes the answer whose candidates' scores have the highest sum."""

    name = "weighted-vote"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        """The best-spelt candidate that has the winning answer."""
        return _voted(self.runtime, batch, lambda judged: judged.critique.score)


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
