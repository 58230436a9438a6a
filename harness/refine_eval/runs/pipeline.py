"""The way of a problem: draft, critique, gate, refine, critique, select. Whole lists, one stage at a time.

Source of the stages: GLoRe (arXiv 2402.10963), section 3. Nothing here knows a plugin by name or sees a gold
answer; components that need gold get it through their runtime.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from refine_eval.costs import LeftOut
from refine_eval.data import DRAFT, Candidate, Critique, Problem, ScoredCandidate, Trace
from refine_eval.errors import ModelError
from refine_eval.plugin.boundary import blamed, close_quietly, identity_of, stays_open
from refine_eval.plugin.combining import CombiningCritic, with_members
from refine_eval.plugin.components import Component, Critic, Refiner, Selector
from refine_eval.plugin.contract import read_critiques, read_parameters, read_picks, read_refinements
from refine_eval.runs.drafting import GREEDY_DRAFT, Drafting
from refine_eval.runs.portable import portable_identity
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.scoring import copies_of, judged
from refine_eval.runs.store import content_key
from refine_eval.runs.usage import count_left_out, count_unscored


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """When, where and how to refine, and how to choose.

    `refine_below`: only drafts that the *when* critic scores below this are refined; None: all are. The first of
    `selectors` makes the run's choice (and, with `rounds` > 1, what the next round refines); the others get rows
    of their own in the table.

    `until_accepted`: a problem is refined until the *when* critic has accepted so many rounds' choices in a row, that
    is, has not scored them below `refine_below`; of more than one, an accepted choice is refined again (after the
    acceptance rule of arXiv 2507.15855). None: what is accepted in a round is not refined in it.
    """

    when: Critic
    where: Critic
    choose: Critic
    refiners: tuple[Refiner, ...]
    selectors: tuple[Selector, ...]
    refine_below: float | None = None
    rounds: int = 1
    until_accepted: int | None = None
    drafting: Drafting = GREEDY_DRAFT


class Pipeline:
    """Runs a strategy over problems. One object a run."""

    def __init__(self, strategy: Strategy, runtime: RunRuntime) -> None:
        self.strategy = strategy
        self.runtime = runtime
        self.seconds: dict[str, float] = defaultdict(float)
        """Wall time of each stage in this process."""
        self.identities: dict[str, str] = {}
        """What the components that were opened say of themselves, for the run record: without this machine's paths."""
        self._critiques: dict[str, dict[tuple[str, str], Critique]] = defaultdict(dict)
        self._unrefined: dict[str, list[str | None]] = defaultdict(list)
        self._undecided: dict[str, dict[str, str | None]] = defaultdict(dict)
        self._problems: set[str] = set()
        self._stay_open: dict[int, Component] = {}  # by id: a plugin's class may say that its objects are equal
        self._copies: dict[int, Critic] = {}

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The texts that could not be written, scored, refined or chosen from: who could not, and why."""
        critics = [entry for name, found in self._critiques.items() for entry in count_unscored(name, found.values())]
        refiners = [entry for name, found in self._unrefined.items() for entry in count_left_out(name, "refine", found)]
        selectors = [
            entry
            for name, found in self._undecided.items()
            for entry in count_left_out(name, "choose from the candidates of", found.values())
        ]
        return (*self.runtime.usage.left_out(), *critics, *refiners, *selectors)

    def run(self, problems: Sequence[Problem]) -> list[Trace]:
        """A trace for each problem, in order, with nothing graded yet."""
        strategy = self.strategy
        self._problems = {problem.id for problem in problems}
        candidates = {problem.id: [draft] for problem, draft in zip(problems, self._drafts(problems), strict=True)}
        current = {problem_id: found[0] for problem_id, found in candidates.items()}
        when: dict[tuple[str, str], Critique] = {}
        where: dict[tuple[str, str], Critique] = {}
        refined: set[str] = set()
        accepted: Counter[str] = Counter()  # rounds in a row
        chosen: list[dict[str, int]] = []
        for number in range(1, strategy.rounds + 1):
            batch = list(current.values())
            when |= _by_candidate(batch, self._critique(strategy.when, batch))
            for c in batch:
                accepted[c.problem.id] = 0 if self._is_rejected(when[_key(c)]) else accepted[c.problem.id] + 1
            open_ = [c for c in batch if self._is_refined(accepted[c.problem.id])]
            refined |= {c.problem.id for c in open_ if c.origin == DRAFT}
            where |= _by_candidate(open_, self._critique(strategy.where, open_))
            scored = [
                ScoredCandidate(candidate=c, critique=where[_key(c)], when=when[_key(c)], round=number) for c in open_
            ]
            for refiner in strategy.refiners:
                given = _with_groups(scored, candidates) if refiner.sees_group else scored
                for refinement in self._refine(refiner, given, number):
                    candidates[refinement.problem.id].append(refinement)
            if number < strategy.rounds:
                choose = self._choose_critiques(candidates)
                chosen.append(self._select(strategy.selectors[0], candidates, choose, when))
                current = {
                    problem_id: candidates[problem_id][pick]
                    for problem_id, pick in chosen[-1].items()
                    if strategy.until_accepted is None or accepted[problem_id] < strategy.until_accepted
                }
        choose = self._choose_critiques(candidates)
        selected: dict[str, dict[str, int]] = {
            selector.name: self._select(selector, candidates, choose, when) for selector in strategy.selectors
        }
        chosen.append(selected[strategy.selectors[0].name])
        usage, critics = self.runtime.usage, with_members((strategy.when, strategy.where, strategy.choose))
        reading = {problem.id: usage.critic_reading(problem.id, critics) for problem in problems}
        return [
            Trace(
                problem=problem,
                candidates=tuple(candidates[problem.id]),
                critiques={
                    candidate.id: {
                        role: found[_key(candidate)]
                        for role, found in (("when", when), ("where", where), ("choose", choose))
                        if _key(candidate) in found
                    }
                    for candidate in candidates[problem.id]
                },
                refined=problem.id in refined,
                selected={name: candidates[problem.id][picks[problem.id]].id for name, picks in selected.items()},
                correct={},
                critic_tokens=usage.critic_tokens(problem.id, critics),
                critic_seconds=usage.critic_seconds(problem.id),
                critic_read_tokens=reading[problem.id][0],
                critic_flops=reading[problem.id][1],
                selecting={s.name: cost for s in strategy.selectors if (cost := usage.selecting(problem.id, s))},
                rounds=tuple(candidates[problem.id][picks[problem.id]].id for picks in chosen if len(chosen) > 1),
            )
            for problem in problems
        ]

    def judge(self, critic: Critic, candidates: Sequence[Candidate]) -> list[Critique]:
        """Critiques of candidates from elsewhere, one each, in order; they are stored as those of a run."""
        self._problems = {candidate.problem.id for candidate in candidates}
        return self._critique(critic, candidates)

    def close(self) -> None:
        """Closes the components that stayed open."""
        while self._stay_open:
            self._close(self._stay_open.popitem()[1])

    def _is_rejected(self, critique: Critique) -> bool:
        return self.strategy.refine_below is None or critique.score < self.strategy.refine_below

    def _is_refined(self, accepted: int) -> bool:
        """Whether a problem whose choices were accepted in so many rounds in a row, this one included, is refined."""
        return accepted < (self.strategy.until_accepted or 1)

    def _drafts(self, problems: Sequence[Problem]) -> list[Candidate]:
        student = self.runtime.student
        view = self.runtime.for_component(student)
        if not problems:
            return []
        with self._timed(DRAFT):
            how = self.strategy.drafting
            written = view.generate(
                problems,
                [problem.prompt for problem in problems],
                purpose=DRAFT,
                sampling=view.sampling(problems[0], temperature=how.temperature, top_p=how.top_p),
            )
            return [
                Candidate(
                    id=DRAFT,
                    problem=problem,
                    solution=view.solution(problem, generations[0]),
                    origin=DRAFT,
                    component=student.name,
                    sample=0,
                )
                for problem, generations in zip(problems, written, strict=True)
            ]

    def _critique(self, critic: Critic, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate: from memory, from the store, or from the critic (and then stored)."""
        known = self._critiques[critic.name]
        new = [candidate for candidate in batch if _key(candidate) not in known]
        if new:
            if isinstance(critic, CombiningCritic):
                self._combine(critic, new)
            else:
                self._ask(critic, new)
            self._check_some_scored(critic, batch)
        return [known[_key(candidate)] for candidate in batch]

    def _ask(self, critic: Critic, new: Sequence[Candidate]) -> None:
        """Has the store or a critic score candidates that it has not scored in this process."""
        known = self._critiques[critic.name]
        copies = self._copies.setdefault(id(critic), copies_of(critic, self.runtime))
        with self._timed(f"critique by {critic.name}"), self._opened(copies) as identity:
            self.runtime.usage.add_model(f"critic {critic.name}", read_parameters(copies))
            # A critic that sees gold answers is not stored: its output depends on more than its input.
            use_store = critic.stored and not critic.needs_gold
            keys = [_critique_key(identity, c) for c in new] if use_store else []
            steps = {key: len(c.solution.steps) for key, c in zip(keys, new, strict=False)}
            stored = self.runtime.store.critiques(keys, steps)
            for key, candidate in zip(keys, new, strict=False):
                if key in stored:
                    critique, seconds = stored[key]
                    self._remember(critic, identity, candidate, critique, seconds)
            self._score([c for c in new if _key(c) not in known], copies, identity, use_store)

    def _combine(self, critic: CombiningCritic, candidates: Sequence[Candidate]) -> None:
        """Has a critic combine what its members say of candidates."""
        found = {member.name: self._critique(member, candidates) for member in critic.critics}
        critic.identities = {name: self.identities.get(f"{critic.kind} {name}", "") for name in found}
        with self._timed(f"critique by {critic.name}"), self._opened(critic):
            with blamed(critic, _on(candidates)):
                returned = critic.combine(list(candidates), found)
            for candidate, critique in zip(candidates, read_critiques(critic, candidates, returned), strict=True):
                self._remember(critic, "", candidate, critique, 0.0)

    def _score(self, candidates: Sequence[Candidate], critic: Critic, identity: str, use_store: bool) -> None:
        """Has a critic score candidates."""
        with self.runtime.progress.stage(f"critique ({critic.name})", len(candidates), "solutions") as tick:
            for batch, returned, seconds in judged(candidates, critic):
                critiques = read_critiques(critic, batch, returned)
                for candidate, critique in zip(batch, critiques, strict=True):
                    self._remember(critic, identity, candidate, critique, seconds)
                if use_store:
                    self.runtime.store.put_critiques(
                        (_critique_key(identity, candidate), critique, seconds)
                        for candidate, critique in zip(batch, critiques, strict=True)
                        if critique.unscored is None
                    )
                tick(len(batch))

    def _check_some_scored(self, critic: Critic, batch: Sequence[Candidate]) -> None:
        """ModelError where a critic cannot score any text of any problem: that is no odd text but a wrong set-up."""
        known = self._critiques[critic.name]
        scored = any(critique.unscored is None for critique in known.values())
        if not scored and self._problems == {candidate.problem.id for candidate in batch}:
            first = batch[0]
            raise ModelError(
                f"Critic {critic.name!r} can score none of {len(batch):,} texts, the first of problem "
                f"{first.problem.id}: {known[_key(first)].unscored}."
            )

    def _remember(
        self, critic: Critic, identity: str, candidate: Candidate, critique: Critique, seconds: float
    ) -> None:
        self._critiques[critic.name][_key(candidate)] = critique
        key = _critique_key(identity, candidate) if critique.read_tokens else b""
        self.runtime.usage.add_critique(critic, candidate.problem.id, key, critique, seconds)

    def _refine(self, refiner: Refiner, scored: Sequence[ScoredCandidate], number: int) -> Iterator[Candidate]:
        if not scored:
            return
        with self._timed(f"refine by {refiner.name}"), self._opened(refiner):
            with blamed(refiner, _on([j.candidate for j in scored])):
                returned = refiner.refine(list(scored))
            refinements = read_refinements(refiner, scored, returned)
        for item, solutions in zip(scored, refinements, strict=True):
            for sample, solution in enumerate(solutions):
                why = solution.unwritten
                # A text that could not be written is counted as such already.
                counted = self.runtime.usage.has_unwritten(refiner, item.candidate.problem.id)
                self._unrefined[refiner.name].append(None if why is None or counted else why)
                if why is not None:
                    continue
                yield Candidate(
                    id=sys.intern(f"{number}.{refiner.name}.{sample}"),  # one of few, for very many candidates
                    problem=item.candidate.problem,
                    solution=solution,
                    origin="refinement",
                    component=refiner.name,
                    sample=sample,
                    round=number,
                    parent=item.candidate.id,
                )

    def _choose_critiques(self, candidates: Mapping[str, Sequence[Candidate]]) -> dict[tuple[str, str], Critique]:
        everything = [candidate for found in candidates.values() for candidate in found]
        return _by_candidate(everything, self._critique(self.strategy.choose, everything))

    def _select(
        self,
        selector: Selector,
        candidates: Mapping[str, Sequence[Candidate]],
        choose: Mapping[tuple[str, str], Critique],
        when: Mapping[tuple[str, str], Critique],
    ) -> dict[str, int]:
        """The index of the chosen candidate for each problem id."""
        batch = [
            [ScoredCandidate(candidate=c, critique=choose[_key(c)], when=when.get(_key(c))) for c in found]
            for found in candidates.values()
        ]
        with self._opened(selector), blamed(selector, _on([found[0] for found in candidates.values()])):
            returned = selector.select([list(group) for group in batch])
        found = dict(zip(candidates, zip(batch, read_picks(selector, batch, returned), strict=True), strict=True))
        if undecided := {problem_id for problem_id, (_, pick) in found.items() if pick is None}:
            why = {problem_id: "it named none of them" if problem_id in undecided else None for problem_id in found}
            self._undecided[selector.name] |= why
        return {problem_id: _best(group) if pick is None else pick for problem_id, (group, pick) in found.items()}

    @contextmanager
    def _opened(self, component: Component) -> Iterator[str]:
        """Open for one stage only, so that stages can take turns on one accelerator, unless it is slow to open.

        The value is the component's identity.
        """
        if id(component) not in self._stay_open:
            with blamed(component, "in open()"):
                component.open(self.runtime.for_component(component))
        try:
            if stays_open(component):
                self._stay_open[id(component)] = component
            identity = identity_of(component)
            self.identities[f"{component.kind} {component.name}"] = _portable(component, identity)
            yield identity
        finally:
            if id(component) not in self._stay_open:
                self._close(component)

    def _close(self, component: Component) -> None:
        if trouble := close_quietly(component):
            self.runtime.progress.warn(f"Warning: {trouble}")

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


def _portable(component: Component, identity: str) -> str:
    return portable_identity(identity, asdict(component.options)) or ""


def _best(group: Sequence[ScoredCandidate]) -> int:
    """The index of the highest score; of equals the first."""
    return max(range(len(group)), key=lambda index: group[index].critique.score)


def _with_groups(
    scored: Sequence[ScoredCandidate], candidates: Mapping[str, Sequence[Candidate]]
) -> list[ScoredCandidate]:
    return [replace(each, group=tuple(candidates[each.candidate.problem.id])) for each in scored]


def _key(candidate: Candidate) -> tuple[str, str]:
    return candidate.problem.id, candidate.id


def _by_candidate(batch: Sequence[Candidate], critiques: Sequence[Critique]) -> dict[tuple[str, str], Critique]:
    return {_key(candidate): critique for candidate, critique in zip(batch, critiques, strict=True)}


def _critique_key(identity: str, candidate: Candidate) -> bytes:
    problem, solution = candidate.problem, candidate.solution
    parts: list[object] = ["critique", identity, problem.question, solution.text, solution.answer]
    # Keys of texts that are cut into lines and have no thought are what they always were.
    parts += [each for each in (solution.cuts, solution.thought) if each is not None]
    # A critic that samples has other samples for each repeat of a problem.
    if problem.repeat:
        parts.append(problem.repeat)
    return content_key(*parts)


def _on(batch: Sequence[Candidate]) -> str:
    """Where a component was when it failed."""
    return f"on a batch that begins with problem {batch[0].problem.id}" if batch else "on an empty batch"
