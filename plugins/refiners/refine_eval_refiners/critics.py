"""Critics that need no training: arithmetic, self-consistency, chance, and two that see the gold answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from refine_eval import AnswerGroup, Candidate, Critic, Critique, Solution, check_options, option


def _marked(solution: Solution, first_bad: int | None, score: float) -> Critique:
    """A critique whose step scores are 1 before the first bad step and 0 from it on."""
    good = len(solution.steps) if first_bad is None else first_bad
    return Critique(
        score=score,
        step_scores=tuple(1.0 if index < good else 0.0 for index in range(len(solution.steps))),
        first_bad_step=first_bad,
    )


class CalculatorCritic(Critic):
    """Checks every equation written in a solution; the first that does not hold is the first bad step.

    The score is 1 where there are equations and all hold, 0 where one does not hold or the solution is empty, and
    0.5 where arithmetic has nothing to say: no equation that can be read, no final answer, or more than 20,000
    characters. It sees slips in arithmetic only; a wrong plan that is computed without a slip scores 1.
    """

    name = "calculator"
    stored = False

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate, from its text alone."""
        return [self._check(candidate.solution) for candidate in batch]

    def _check(self, solution: Solution) -> Critique:
        from refine_eval_refiners.equations import MAX_SOLUTION_CHARACTERS, find_equations

        if sum(map(len, solution.steps)) > MAX_SOLUTION_CHARACTERS:
            return _marked(solution, None, 0.5)
        checked = False
        for index, step in enumerate(solution.steps):
            equations = find_equations(step)
            if not all(equation.holds for equation in equations):
                return _marked(solution, index, 0.0)
            checked = checked or bool(equations)
        if not solution.steps:
            return _marked(solution, None, 0.0)
        return _marked(solution, None, 1.0 if checked and solution.answer is not None else 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementOptions:
    """Options of the agreement critic."""

    samples: int = option(5, "Samples of the student for each problem.", min=1)
    temperature: float = option(0.7, "Sampling temperature.", above=0, max=100)

    def __post_init__(self) -> None:
        check_options(self)


class AgreementCritic(Critic):
    """Self-consistency: the share of the student's samples that reach the same answer as the candidate.

    A candidate without an answer scores 0. All steps get the score of the whole, and no step is called bad: the
    critic sees answers only. Its samples are those of the refiner `resample` where the temperatures are equal; one that
    could not be written has no vote.
    """

    name = "agreement"
    stored = False
    Options = AgreementOptions
    options: AgreementOptions

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate; the samples of a problem are drawn once a batch."""
        problems = {candidate.problem.id: candidate.problem for candidate in batch}
        drawn = self.runtime.sample_answers(list(problems.values()), self.options.samples, self.options.temperature)
        samples = {
            problem_id: [solution for solution in solutions if solution.unwritten is None]
            for problem_id, solutions in zip(problems, drawn, strict=True)
        }
        # The candidate first, its problem's samples after it.
        solutions = [[candidate.solution, *samples[candidate.problem.id]] for candidate in batch]
        grouped = self.runtime.answer_groups([candidate.problem for candidate in batch], solutions)
        drawn_for = [len(samples[candidate.problem.id]) for candidate in batch]
        return list(map(self._share, batch, grouped, drawn_for))

    def _share(self, candidate: Candidate, groups: Sequence[AnswerGroup], samples: int) -> Critique:
        if not samples:
            return Critique.without_score(candidate, "no sample of its problem could be written")
        agreeing = next((len(group.members) - 1 for group in groups if 0 in group.members), 0)
        score = agreeing / samples
        return Critique(score=score, step_scores=(score,) * len(candidate.solution.steps))


class RandomCritic(Critic):
    """Scores by chance and names a step by chance: what a place or a verdict is worth that knows nothing.

    Each step is as likely to be named as any other, whether the solution is right or wrong. The draw depends on the
    run's seed, the problem and the text.
    """

    name = "random"
    stored = False

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate, drawn for it alone."""
        return [self._draw(candidate) for candidate in batch]

    def _draw(self, candidate: Candidate) -> Critique:
        solution = candidate.solution
        draw = random.Random(f"{self.runtime.seed}\0{candidate.problem.id}\0{solution.written}")
        first_bad = draw.randrange(len(solution.steps)) if solution.steps else None
        return _marked(solution, first_bad, draw.random())


class OracleCritic(Critic):
    """Scores 1 or 0 by the gold answer: the upper bound of any critic of whole solutions."""

    name = "oracle"
    needs_gold = True
    stored = False

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """The grader's verdict, for the solution and for each of its steps."""
        is_correct = self.runtime.grader.is_correct
        return [
            Critique(score=score, step_scores=(score,) * len(candidate.solution.steps))
            for candidate, score in ((candidate, float(is_correct(candidate))) for candidate in batch)
        ]


class OracleStepsCritic(Critic):
    """Names the exact first wrong step by the gold solution: the upper bound of any critic of steps.

    A solution that stops too early, all of its steps right, is marked at its last step, so that a refiner goes on
    from there. Works on tasks whose steps a program can check; others raise an error that says so.
    """

    name = "oracle-steps"
    needs_gold = True
    stored = False

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """1 before the first wrong step and 0 from it on; the score is that of the whole."""
        return [self._check(candidate) for candidate in batch]

    def _check(self, candidate: Candidate) -> Critique:
        first_bad = self.runtime.grader.first_bad_step(candidate)
        if first_bad is not None:
            first_bad = max(0, min(first_bad, len(candidate.solution.steps) - 1))
        return _marked(candidate.solution, first_bad, 1.0 if first_bad is None else 0.0)
