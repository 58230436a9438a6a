"""Critics on solutions that somebody labelled: those of files, or a task's drafts with what it knows of their steps.

A score is stored by what it depends on, as in a run, so that an evaluation that was ended goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from refine_eval.costs import LeftOut
from refine_eval.data import DRAFT, AnswerGroup, Candidate, Critique, Message, Problem, Prompt, Sampling, Solution
from refine_eval.errors import TaskError
from refine_eval.formats import join_steps, split_steps, student_prompt
from refine_eval.plugin.combining import with_members
from refine_eval.plugin.components import Critic
from refine_eval.plugin.making import make_critics
from refine_eval.plugin.registry import Registry
from refine_eval.plugin.templates import system_text
from refine_eval.results.critic_records import Cost
from refine_eval.results.label_files import Unused
from refine_eval.results.ledger import total
from refine_eval.runs.assembly import make_student
from refine_eval.runs.drafting import drafting_of
from refine_eval.runs.pipeline import Pipeline, Strategy
from refine_eval.runs.portable import portable
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.session import opened, session
from refine_eval.runs.settings import LABELLED, RunSettings
from refine_eval.runs.usage import Usage, count_unscored
from refine_eval.statistics.judged import Labelled, Thresholds
from refine_eval.tasks.answers import Found, grouped, is_number, stated_answer
from refine_eval.terminal import Progress

_MAX_TOKENS = 512
_STOP = ("Question:",)
_OWN_THRESHOLD = 0.5
_WITHOUT_GOLD = "leave out the critics that see gold answers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """A critic's view of each solution, in order, and what it took. `own` are its own thresholds."""

    name: str
    options: Mapping[str, Any]
    identity: str
    needs_gold: bool
    own: Thresholds
    critiques: tuple[Critique, ...]
    unscored: tuple[LeftOut, ...]
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """A task's drafts with what is known of them, and those that could not be written."""

    solutions: tuple[Labelled, ...]
    unused: tuple[Unused, ...]
    student: str


def judge_files(
    settings: RunSettings, names: Sequence[str], solutions: Sequence[Labelled], registry: Registry, progress: Progress
) -> list[Views]:
    """Each critic's view of solutions from files. Critics that want texts get the student that `settings` name.

    Raises RefineEvalError, as does `judge_drafts`.
    """
    critics = _critics(settings, names, registry)
    student = make_student(settings, registry, progress)
    system, messages = system_text(settings.system_instruction), student.chat is not None
    problems = {s.question: _problem(s.question, system, messages) for s in solutions}
    candidates = [_candidate(at, problems[s.question], s) for at, s in enumerate(solutions)]
    limit = settings.max_gen_toks or _MAX_TOKENS
    tasks = _Labels(
        {(c.problem.id, c.id): s for c, s in zip(candidates, solutions, strict=True)},
        Sampling(max_tokens=limit, stop=() if messages else _STOP),
    )
    with opened(settings, student, tasks, registry, progress) as runtime:
        return [_judged_by(critic, candidates, runtime) for critic in critics]


def judge_drafts(
    settings: RunSettings, names: Sequence[str], registry: Registry, progress: Progress
) -> tuple[Drafts, list[Views]]:
    """The student's drafts of the task's test problems, those of a run with these settings, and each critic's view.

    A draft that stands there twice, of several of a problem, counts once. One that stops too early is wrong at its last
    step, as for the critic oracle-steps.
    """
    critics = _critics(settings, names, registry)
    student = make_student(settings, registry, progress)
    with session(settings, student, registry, progress) as (task, runtime):
        problems = task.questions("test", settings.limit)
        how, view = drafting_of(settings, task, progress.warn), runtime.for_component(student)
        written = view.generate(
            problems,
            [problem.prompt for problem in problems],
            purpose=DRAFT,
            sampling=view.sampling(problems[0], temperature=how.temperature, top_p=how.top_p),
            samples=how.drafts,
        )
        candidates, missing = list[Candidate](), list[str]()
        for problem, generations in zip(problems, written, strict=True):
            for text in dict.fromkeys(generation.text for generation in generations if generation.unwritten is None):
                generation = next(each for each in generations if each.text == text)
                candidates.append(_draft(len(candidates), problem, view.solution(problem, generation)))
            missing += [problem.id for generation in generations if generation.unwritten is not None]
        tells = task.benchmark is not None and task.benchmark.first_bad_step is not None
        solutions = tuple(
            Labelled(
                id=f"{c.problem.id}, draft {c.id}",
                problem=c.problem.id,
                question=c.problem.question,
                steps=c.solution.steps,
                good=_goodness(c, task.first_bad_step(c) if tells else None, tells),
                correct=task.is_correct(c),
            )
            for c in candidates
        )
        views = [_judged_by(critic, candidates, runtime) for critic in critics]
        unused = [Unused(rows=len(missing), reason="it could not be written", first=missing[0])] if missing else []
        return Drafts(solutions=solutions, unused=tuple(unused), student=runtime.student_identity()), views


def _critics(settings: RunSettings, names: Sequence[str], registry: Registry) -> list[Critic]:
    return list(make_critics(names, settings.options, registry).values())


def _judged_by(critic: Critic, candidates: Sequence[Candidate], runtime: RunRuntime) -> Views:
    runtime.usage = Usage()
    judging = Strategy(when=critic, where=critic, choose=critic, refiners=(), selectors=())
    pipeline = Pipeline(judging, runtime)
    try:
        critiques = pipeline.judge(critic, candidates)
    finally:
        pipeline.close()
    usage, problems, number = runtime.usage, dict.fromkeys(c.problem.id for c in candidates), len(candidates)
    judges = with_members([critic])
    reading = [usage.critic_reading(problem, judges) for problem in problems]
    read, flops = total(count for count, _ in reading), total(count for _, count in reading)
    threshold = _own_threshold(critic)
    return Views(
        name=critic.name,
        options=portable(asdict(critic.options)),
        identity=pipeline.identities[f"{critic.kind} {critic.name}"],
        needs_gold=critic.needs_gold,
        own=Thresholds(steps=threshold, answers=threshold, named=True),
        critiques=tuple(critiques),
        unscored=tuple(count_unscored(critic.name, critiques)),
        cost=Cost(
            read_tokens=None if read is None else read / number,
            tokens=sum(usage.critic_tokens(problem, judges) for problem in problems) / number,
            flops=None if flops is None else flops / number,
            seconds=sum(map(usage.critic_seconds, problems)) / number,
        ),
    )


def _own_threshold(critic: Critic) -> float:
    """The critic's option of that name, or a half."""
    found = getattr(critic.options, "threshold", None)
    return float(found) if isinstance(found, int | float) and 0 <= found <= 1 else _OWN_THRESHOLD


def _goodness(draft: Candidate, first_bad: int | None, tells: bool) -> tuple[bool | None, ...]:
    steps = len(draft.solution.steps)
    if not tells:
        return (None,) * steps
    bad = steps if first_bad is None else min(first_bad, steps - 1)
    return tuple(at < bad for at in range(steps))


def _draft(number: int, problem: Problem, solution: Solution) -> Candidate:
    return Candidate(
        id=str(number), problem=problem, solution=solution, origin=DRAFT, component="student", sample=number
    )


def _problem(question: str, system: str | None, messages: bool) -> Problem:
    """A problem of a question; its id, by which texts are sampled, is the same wherever the question stands."""
    name = hashlib.blake2b(question.encode(), digest_size=8).hexdigest()
    prompt: Prompt = student_prompt(question) if system is None else f"{system}\n\n{student_prompt(question)}"
    if messages:
        turns = [("system", system), ("user", question)]
        prompt = tuple(Message(role=role, content=text) for role, text in turns if text)  # type: ignore[arg-type]
    return Problem(id=f"{LABELLED}/{name}", task=LABELLED, question=question, prompt=prompt)


def _candidate(number: int, problem: Problem, found: Labelled) -> Candidate:
    """The solution with exactly the steps that were labelled, though one may have several lines."""
    text, cuts = join_steps(found.steps), None
    if split_steps(text) != found.steps:
        pieces = [f"{step}\n\n" for step in found.steps]
        text, cuts = "".join(pieces), (0, *accumulate(map(len, pieces)))
    return _draft(
        number,
        problem,
        Solution(
            text=text,
            steps=found.steps,
            answer=stated_answer(text),
            finish_reason="stop",
            tokens=0,
            cuts=cuts,
        ),
    )


class _Labels:
    """What a run knows of a task, made of labels: they are the gold answers of critics that see those.

    Answers are what texts state, equal as numbers or as texts.
    """

    def __init__(self, solutions: Mapping[tuple[str, str], Labelled], sampling: Sampling) -> None:
        self._solutions = solutions
        self._sampling = sampling

    def answers(self, problem: Problem, texts: Sequence[str]) -> list[str | None]:
        return list(map(stated_answer, texts))

    def answer_groups(self, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> list[list[AnswerGroup]]:
        return [self._groups(list(map(stated_answer, some))) for some in texts]

    @staticmethod
    def _groups(answers: Sequence[str | None]) -> list[AnswerGroup]:
        found = [None if a is None else Found(value=a, spelling=a, plain=is_number(a)) for a in answers]
        return grouped(found, [answers.index(answer) for answer in answers])

    def sampling(self, problem: Problem) -> Sampling:
        return self._sampling

    def is_correct(self, candidate: Candidate) -> bool:
        found = self._solutions[candidate.problem.id, candidate.id]
        if found.correct is None:
            raise TaskError(f"Nothing says whether the final answer of {found.id} is right: {_WITHOUT_GOLD}")
        return found.correct

    def first_bad_step(self, candidate: Candidate) -> int | None:
        found = self._solutions[candidate.problem.id, candidate.id]
        if not found.has_labels:
            raise TaskError(f"Nothing says which steps of {found.id} are right: {_WITHOUT_GOLD}")
        return found.first_bad
