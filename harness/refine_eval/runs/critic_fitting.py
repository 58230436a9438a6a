"""Weights of several critics, fitted on solutions of which somebody knows whether they are right."""

from __future__ import annotations

from collections.abc import Sequence

from refine_eval.data import Critique
from refine_eval.errors import RunError, UsageError
from refine_eval.plugin.combining import CombiningCritic
from refine_eval.plugin.making import make_critics
from refine_eval.plugin.registry import Registry
from refine_eval.results.critic_weights import CriticWeights, FittedMember, problem_hashes
from refine_eval.results.label_files import LabelFile
from refine_eval.runs.critic_evaluation import of_drafts, of_files
from refine_eval.runs.judging import judge_drafts, judge_files
from refine_eval.runs.portable import portable_command
from refine_eval.runs.settings import RunSettings
from refine_eval.statistics.judged import Labelled
from refine_eval.statistics.logistic import Logistic, fit_logistic
from refine_eval.terminal import Progress

_Case = tuple[Labelled, Sequence[Critique]]
"""A solution, and what each critic says of it."""


def fit_critics(
    settings: RunSettings, names: Sequence[str], registry: Registry, progress: Progress, labels: LabelFile | None
) -> CriticWeights:
    """Weights of the critics, by their scores of the solutions of `labels` or, without them, of a task's drafts.

    A solution that a critic leaves unscored does not count. UsageError for critics that see gold answers or combine
    others, RunError where answers are all right, all wrong, or not known; else raises RefineEvalError.
    """
    for critic in make_critics(names, settings.options, registry).values():
        if isinstance(critic, CombiningCritic):
            raise UsageError(f"Critic {critic.name!r} combines critics itself: fit weights for its members.")
        if critic.needs_gold:
            raise UsageError(
                f"Critic {critic.name!r} sees the gold answers, which weights are fitted to: leave it out."
            )
    if labels is not None:
        solutions, views = labels.solutions, judge_files(settings, names, labels.solutions, registry, progress)
        data, details = of_files(labels)
    else:
        drafts, views = judge_drafts(settings, names, registry, progress)
        solutions = drafts.solutions
        data, details = of_drafts(settings, solutions, drafts.student)
    cases = [
        (solution, critiques)
        for solution, *critiques in zip(solutions, *(view.critiques for view in views), strict=True)
        if all(critique.unscored is None for critique in critiques)
    ]
    return CriticWeights(
        command=portable_command(settings.command),
        data=data,
        details=details,
        solutions=len(cases),
        problems=len({solution.problem for solution, _ in cases}),
        members=tuple(FittedMember(name=v.name, options=v.options, identity=v.identity) for v in views),
        answers=_of_answers(cases, data),
        steps=_of_steps(cases),
        seen=frozenset(each for solution in solutions for each in problem_hashes(solution.problem, solution.question)),
    )


def _of_answers(cases: Sequence[_Case], data: str) -> Logistic:
    known = [(solution.correct, critiques) for solution, critiques in cases if solution.correct is not None]
    if len({right for right, _ in known}) < 2:
        raise RunError(
            f"Weights cannot be fitted on {data}: it takes right and wrong final answers, and of {len(cases):,} scored "
            f"solutions {sum(bool(right) for right, _ in known):,} are known to be right and "
            f"{sum(not right for right, _ in known):,} wrong."
        )
    return fit_logistic([[c.score for c in critiques] for _, critiques in known], [bool(right) for right, _ in known])


def _of_steps(cases: Sequence[_Case]) -> Logistic | None:
    """None where steps of one kind alone are labelled, or none is."""
    known = [
        ([critique.step_scores[at] for critique in critiques], good)
        for solution, critiques in cases
        for at, good in enumerate(solution.good)
        if good is not None
    ]
    if len({good for _, good in known}) < 2:
        return None
    return fit_logistic([scores for scores, _ in known], [good for _, good in known])
