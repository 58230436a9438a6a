"""Sets of samples of one problem, as a run's traces have them: what curves are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refine_eval.data import DRAFT, AnswerGroup, Candidate, Problem, Solution, Trace

AnswerGroups = Callable[[Sequence[Problem], Sequence[Sequence[Solution]]], Sequence[Sequence[AnswerGroup]]]
"""For each problem the groups of its solutions that have equal answers, such as a runtime's `answer_groups`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """N samples of one problem, in the order in which they were drawn.

    `scores[i]` is the score of sample i in [0, 1], `answers[i]` the number of its answer, None for a sample without a
    vote, and `answer_right[number]` whether what a vote for that answer hands in is right. `tokens` are a sample's
    written tokens on average, `critic_tokens` its share of what was written for critics besides.
    """

    right: tuple[bool, ...]
    scores: tuple[float, ...]
    answers: tuple[int | None, ...]
    answer_right: tuple[bool, ...]
    tokens: float = 0.0
    critic_tokens: float = 0.0

    @classmethod
    def of(
        cls,
        right: Sequence[bool],
        scores: Sequence[float],
        groups: Sequence[AnswerGroup],
        tokens: float = 0.0,
        critic_tokens: float = 0.0,
    ) -> SampleSet:
        """From the answer groups that votes have; an answer is right where its best spelling is."""
        answers: list[int | None] = [None] * len(right)
        for number, group in enumerate(groups):
            for member in group.members:
                answers[member] = number
        return cls(
            right=tuple(right),
            scores=tuple(scores),
            answers=tuple(answers),
            answer_right=tuple(right[group.best_spelt] for group in groups),
            tokens=tokens,
            critic_tokens=critic_tokens,
        )

    def __len__(self) -> int:
        return len(self.right)


def refiner_samples(
    traces: Sequence[Trace], refiner: str, filter_name: str, groups: AnswerGroups | None = None
) -> dict[str, list[SampleSet]]:
    """Problem id -> what a refiner wrote in the first round; empty where some problem has none, or all have one.

    A problem has a set for each of its drafts.

    A text that could not be written is a wrong sample without an answer. `groups`: answers are equal as their texts are
    where it is None, which is all that a record tells.
    """
    drawn = [[c for c in trace.candidates if c.component == refiner and c.round == 1] for trace in traces]
    n = max((c.sample + 1 for candidates in drawn for c in candidates), default=0)
    if n < 2 or not all(drawn):
        return {}
    return _sample_sets(traces, [_in_order(candidates, n) for candidates in drawn], filter_name, groups)


def draft_samples(
    traces: Sequence[Trace], filter_name: str, groups: AnswerGroups | None = None
) -> dict[str, list[SampleSet]]:
    """Problem id -> its drafts; empty where there is one of each. `groups` as in `refiner_samples`."""
    drafts: dict[str, list[Trace]] = {}
    for trace in traces:
        drafts.setdefault(trace.problem.first_id, []).append(trace)
    if not drafts or min(map(len, drafts.values())) < 2:
        return {}
    grouped = (groups or equal_as_text)(
        [some[0].problem for some in drafts.values()],
        [[trace.draft.solution for trace in some] for some in drafts.values()],
    )
    return {
        problem: [
            SampleSet.of(
                [trace.correct[DRAFT][filter_name] for trace in some],
                [_score(trace, trace.draft) for trace in some],
                equal,
                tokens=sum(trace.draft.solution.tokens for trace in some) / len(some),
                critic_tokens=sum(trace.critic_tokens for trace in some) / len(some),
            )
        ]
        for (problem, some), equal in zip(drafts.items(), grouped, strict=True)
    }


def _in_order(candidates: Sequence[Candidate], n: int) -> list[Candidate | None]:
    by_sample = {candidate.sample: candidate for candidate in candidates}
    return [by_sample.get(sample) for sample in range(n)]


def _sample_sets(
    traces: Sequence[Trace],
    drawn: Sequence[Sequence[Candidate | None]],
    filter_name: str,
    groups: AnswerGroups | None,
) -> dict[str, list[SampleSet]]:
    nothing = Solution.without_text("not written")
    solutions = [[nothing if c is None else c.solution for c in candidates] for candidates in drawn]
    grouped = (groups or equal_as_text)([trace.problem for trace in traces], solutions)
    found: dict[str, list[SampleSet]] = {}
    for trace, candidates, equal in zip(traces, drawn, grouped, strict=True):
        found.setdefault(trace.problem.first_id, []).append(
            SampleSet.of(
                [c is not None and trace.correct[c.id][filter_name] for c in candidates],
                [_score(trace, c) for c in candidates],
                equal,
                tokens=sum(c.solution.tokens for c in candidates if c is not None) / len(candidates),
                critic_tokens=trace.critic_tokens / len(candidates),
            )
        )
    return found


def _score(trace: Trace, candidate: Candidate | None) -> float:
    critique = None if candidate is None else trace.critiques.get(candidate.id, {}).get("choose")
    return 0.0 if critique is None else critique.score


def equal_as_text(problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]]) -> list[list[AnswerGroup]]:
    """Groups of solutions whose answers are spelt alike; of each the first is handed in."""
    found = []
    for some in solutions:
        members: dict[str, list[int]] = {}
        for index, solution in enumerate(some):
            if solution.answer is not None:
                members.setdefault(solution.answer, []).append(index)
        found.append([AnswerGroup(members=tuple(each), best_spelt=each[0]) for each in members.values()])
    return found
