"""The critics `rollout` and `oracle-rollout`: the SORM's labels made at test time, by continuing prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

from refine_eval import Candidate, Critic, Critique, Problem, Solution, continued, option


@dataclass(frozen=True, kw_only=True)
class OracleRolloutOptions:
    """Options of the critic `oracle-rollout`."""

    samples: int = option(8, "Continuations of a prefix.", min=1)
    temperature: float = option(0.7, "Sampling temperature.", above=0, max=100)
    search: Literal["bisect", "all"] = option(
        "bisect", "Continue as few prefixes as it takes to find the first bad step, or all of them."
    )


@dataclass(frozen=True, kw_only=True)
class RolloutOptions(OracleRolloutOptions):
    """Options of the critic `rollout`."""

    samples: int = option(8, "Samples that vote on the answer, and continuations of a prefix.", min=1)


class RolloutCritic(Critic):
    """The SORM's label at test time: from which steps on the student no longer comes to the majority's answer.

    The answer is that of most of the student's samples. With `--rollout-search all` a step's score is the share of
    continuations that come to it from there (Math-Shepherd's soft label, arXiv 2312.08935); with `bisect` it is 1 where
    any does, under GLoRe's first rule that all steps before a good one are good (arXiv 2402.10963, section 3), and a
    solution with that answer is good in all its steps. The last step's score, and the solution's, is whether the
    solution itself has the answer. The first bad step is the one after the last from which a continuation came to it.
    """

    name = "rollout"
    stored = False
    Options: ClassVar[type[Any]] = RolloutOptions
    options: OracleRolloutOptions

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate; equal prefixes of a problem's candidates are continued once."""
        self._wanted = self.wanted([candidate.problem for candidate in batch])
        can = [n for n, candidate in enumerate(batch) if self.can_judge(candidate)]
        found = dict(zip(can, self._judged([batch[n] for n in can]), strict=True))
        why = "none of its problem's samples has an answer"
        return [found.get(n) or Critique.without_score(candidate, why) for n, candidate in enumerate(batch)]

    def wanted(self, problems: Sequence[Problem]) -> dict[str, Solution | None]:
        """By problem a solution with the answer that is to be reached, None where there is none."""
        distinct = list({problem.id: problem for problem in problems}.values())
        drawn = self.runtime.sample_answers(distinct, self.options.samples, self.options.temperature)
        grouped = self.runtime.answer_groups(distinct, drawn)
        return {
            problem.id: samples[max(groups, key=lambda group: len(group.members)).best_spelt] if groups else None
            for problem, samples, groups in zip(distinct, drawn, grouped, strict=True)
        }

    def can_judge(self, candidate: Candidate) -> bool:
        """Whether there is an answer to be reached."""
        return self._wanted[candidate.problem.id] is not None

    def reached(self, solved: Sequence[tuple[Candidate, Solution]]) -> list[bool]:
        """Whether each solution, of a candidate's problem, has the answer that is to be reached."""
        pairs = [(self._wanted[candidate.problem.id], solution) for candidate, solution in solved]
        both = [[wanted, solution] for wanted, solution in pairs if wanted is not None]
        grouped = self.runtime.answer_groups([candidate.problem for candidate, _ in solved], both)
        return [any(set(group.members) == {0, 1} for group in groups) for groups in grouped]

    def _judged(self, batch: Sequence[Candidate]) -> list[Critique]:
        from refine_eval.training import naive_labels, rollout_labels

        if not batch:
            return []
        pieces = [_pieces(candidate.solution) for candidate in batch]
        own = self.reached([(candidate, candidate.solution) for candidate in batch])
        right = {(n, tuple(steps)): verdict for n, (steps, verdict) in enumerate(zip(pieces, own, strict=True))}
        odd: dict[int, str] = {}

        def write(prefixes: Sequence[tuple[int, Sequence[str]]], number: int) -> list[tuple[str, ...]]:
            """Continuation `number` of each prefix, as one further step: only whether it is right counts."""
            written = self._continued([(batch[n], len(prefix)) for n, prefix in prefixes], number)
            verdicts = self.reached([(batch[n], one) for (n, _), one in zip(prefixes, written, strict=True)])
            for (n, prefix), one, verdict in zip(prefixes, written, verdicts, strict=True):
                right[n, (*prefix, one.written)] = verdict
                if one.unwritten is not None:
                    odd.setdefault(n, one.unwritten)
            return [(one.written,) for one in written]

        def is_right(n: int, steps: Sequence[str]) -> bool:
            return right[n, tuple(steps)]

        if self.options.search == "bisect":
            hard, _ = rollout_labels(pieces, is_right, write, self.options.samples, consistent=False)
            labels = [[float(label) for label in row] for row in hard]
        else:
            labels, _ = naive_labels(pieces, is_right, write, self.options.samples, consistent=False)
        return [
            Critique.without_score(candidate, f"a continuation was not written ({odd[n]})")
            if n in odd
            else _critique(tuple(found))
            for n, (candidate, found) in enumerate(zip(batch, labels, strict=True))
        ]

    def _continued(self, prefixes: Sequence[tuple[Candidate, int]], number: int) -> list[Solution]:
        """Continuation `number` of the first so many steps of each candidate; of no steps the problem's own sample."""
        found: dict[int, Solution] = {}
        fresh = [n for n, (_, steps) in enumerate(prefixes) if not steps]
        drawn = self.runtime.sample_answers(
            [prefixes[n][0].problem for n in fresh], 1, self.options.temperature, first=number
        )
        found |= {n: solution for n, (solution,) in zip(fresh, drawn, strict=True)}
        others = [n for n, (_, steps) in enumerate(prefixes) if steps]
        if others:
            problems = [prefixes[n][0].problem for n in others]
            kept = [candidate.solution.before(steps) for candidate, steps in (prefixes[n] for n in others)]
            written = self.runtime.generate(
                problems,
                [continued(problem.prompt, text) for problem, text in zip(problems, kept, strict=True)],
                purpose="rollout",
                sampling=self.runtime.sampling(problems[0], temperature=self.options.temperature),
                first=number,
            )
            for n, problem, text, (one,) in zip(others, problems, kept, written, strict=True):
                found[n] = self.runtime.solution(problem, one, prefix=text)
        return [found[n] for n in range(len(prefixes))]


class OracleRolloutCritic(RolloutCritic):
    """The critic `rollout` with the gold answer in the place of the majority's: the SORM's labels, an upper bound."""

    name = "oracle-rollout"
    needs_gold = True
    Options = OracleRolloutOptions

    def wanted(self, problems: Sequence[Problem]) -> dict[str, Solution | None]:
        """None: the grader knows it."""
        return {}

    def can_judge(self, candidate: Candidate) -> bool:
        """The grader knows every problem's answer."""
        return True

    def reached(self, solved: Sequence[tuple[Candidate, Solution]]) -> list[bool]:
        """The grader's verdicts."""
        is_correct = self.runtime.grader.is_correct
        return [is_correct(replace(candidate, solution=solution)) for candidate, solution in solved]


def _pieces(solution: Solution) -> list[str]:
    """The text of each step, to the byte."""
    ends = [solution.before(step) for step in range(len(solution.steps) + 1)]
    return [after[len(before) :] for before, after in pairwise(ends)]


def _critique(scores: tuple[float, ...]) -> Critique:
    """All steps up to the last from which the answer was reached are good, by GLoRe's first rule."""
    good = max((index for index, score in enumerate(scores) if score > 0), default=-1) + 1
    first_bad = good if good < len(scores) else None
    return Critique(score=scores[-1] if scores else 0.0, step_scores=scores, first_bad_step=first_bad)
