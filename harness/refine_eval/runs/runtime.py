"""What components use while they are open: engines by model, the store, seeds, sampling, the grader."""

from __future__ import annotations

import dataclasses
import time
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Protocol

from refine_eval.cuts import line_ends, steps_at
from refine_eval.data import (
    CUT_OFF,
    AnswerGroup,
    EngineSpec,
    Generation,
    Problem,
    Prompt,
    Request,
    Sampling,
    Solution,
    Thinking,
)
from refine_eval.errors import GenerationError, PluginError, UsageError
from refine_eval.formats import split_steps
from refine_eval.plugin.boundary import (
    advice_of,
    blamed,
    called,
    can_choose,
    close_quietly,
    identity_of,
    label_of,
    own_model_of,
    thinking_of,
)
from refine_eval.plugin.components import Component, Engine, Splitter
from refine_eval.plugin.contract import check_prompts, read_cache_keys, read_cuts, read_generations, read_parameters
from refine_eval.plugin.registry import Registry
from refine_eval.plugin.runtime import Grader
from refine_eval.runs.engines import engine_for
from refine_eval.runs.requests import derive_seed, request_key, safe_generation
from refine_eval.runs.store import Store
from refine_eval.runs.thoughts import Parted, parted
from refine_eval.runs.usage import STUDENT, Usage, flops
from refine_eval.terminal import Progress, shown

# A transaction takes so many generations or so long: what a kill can lose at most.
_STORE_EVERY, _STORE_EVERY_S = 64, 1.0


class Tasks(Grader, Protocol):
    """What the run knows of its tasks; the lm-eval bridge implements it."""

    def answers(self, problem: Problem, texts: Sequence[str]) -> list[str | None]:
        """The answers that the task's filter finds in texts, normalised as the task's metric does."""
        ...

    def answer_groups(self, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> list[list[AnswerGroup]]:
        """For each problem its texts by their answers, equal as the task compares them."""
        ...

    def sampling(self, problem: Problem) -> Sampling:
        """The task's own length limit and stop strings, greedy."""
        ...


class RunRuntime:
    """Shared by a run's components; each gets a view of its own from `for_component`."""

    def __init__(
        self,
        *,
        student: Engine,
        registry: Registry,
        store: Store,
        tasks: Tasks,
        progress: Progress,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int | None = None,
        splitter: Splitter | None = None,
        think_end_token: str | None = None,
        judge_thoughts: bool = False,
    ) -> None:
        """`splitter` cuts texts into steps; None: they are lines. `think_end_token` None: as the engine tells."""
        self.student = student
        self.registry = registry
        self.store = store
        self.tasks = tasks
        self.progress = progress
        self.seed = seed
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.splitter = splitter
        self.judge_thoughts = judge_thoughts
        self._think_end_token = think_end_token
        self._splitter_is_open = False
        self.engines: dict[str | EngineSpec | None, Engine] = {}
        """Those that are open; None is the student."""
        self.generated = 0
        """How many texts this process had an engine write; the others came from the store."""
        self.models: dict[str, str] = {}
        """What the model of a component's own is, by kind and name."""
        self.usage = Usage()
        self._unwritten: dict[bytes, Generation] = {}
        self._problems: set[str] = set()
        self._purposes_served: set[str] = set()

    def for_component(self, component: Component) -> ComponentRuntime:
        """The runtime as this component may see it."""
        return ComponentRuntime(self, component)

    def engine(self, model: str | EngineSpec | None, wanted_by: Component) -> Engine:
        """The opened engine for a model; None is the student."""
        if model not in self.engines:
            engine = self.student if model is None else engine_for(model, self.student, self.registry, wanted_by)
            with blamed(engine, "in open()"):
                engine.open(self.for_component(engine))
            self.engines[model] = engine
            self._pass_on_advice(engine)
        return self.engines[model]

    def _pass_on_advice(self, engine: Engine) -> None:
        if engine is self.student and (advice := advice_of(engine)):
            self.progress.note(advice, once=True)

    def generate(
        self, requests: Sequence[Request], model: str | EngineSpec | None, wanted_by: Component
    ) -> list[Generation]:
        """One generation per request, in order; only what is not stored is written, and stored as it comes.

        A request for which nothing can be written is asked once in this process, and never stored: another day, or
        another limit, may bring a text. GenerationError where that is so of every problem: then the set-up is wrong.
        """
        if not requests:
            return []
        engine = self.engine(model, wanted_by)
        check_prompts(engine, requests)
        if requests[0].choices and not can_choose(engine):
            raise UsageError(
                f"Engine {engine.name!r} does not say how likely next tokens are, which {requests[0].purpose!r} asks "
                "for; take one that does (transformers, vllm, server), or have it written as text."
            )
        identity = identity_of(engine)
        parameters, asked = read_parameters(engine), STUDENT if model is None else f"{wanted_by.kind} {wanted_by.name}"
        self.usage.add_model(asked, parameters)
        if model is not None:
            self.models[asked] = identity
        keys = [
            request_key(identity, own, request)
            for own, request in zip(read_cache_keys(engine, requests), requests, strict=True)
        ]
        by_key = dict(zip(keys, requests, strict=True))  # equal requests (greedy, same prompt) are written once
        known = ChainMap(self.usage.written_by(asked), self._unwritten)
        found = {key: known[key] for key in by_key if key in known}
        stored = self.store.generations([key for key in by_key if key not in found])
        # Those that were stored before there was an entrance pass it now.
        found |= {key: safe_generation(text, by_key[key].sampling) for key, text in stored.items()}
        missing = {key: request for key, request in by_key.items() if key not in found}
        if missing:
            found |= self._write(engine, missing)
        found = {
            key: known.get(key) or dataclasses.replace(text, flops=flops(parameters, text.read_tokens, text.tokens))
            for key, text in found.items()
        }
        for request, key in zip(requests, keys, strict=True):
            self.usage.add(wanted_by, request, key, found[key], asked)
        generations = [found[key] for key in keys]
        self._check_some_written(engine, requests, generations)
        return generations

    def _check_some_written(self, engine: Engine, requests: Sequence[Request], found: Sequence[Generation]) -> None:
        first, problems = requests[0], {request.problem.id for request in requests}
        self._problems |= problems
        if any(generation.unwritten is None for generation in found):
            self._purposes_served.add(first.purpose)
        elif first.purpose not in self._purposes_served and problems == self._problems:
            raise GenerationError(
                f"Engine {engine.name!r} can write none of {len(found):,} texts (stage {first.purpose!r}), the first "
                f"for problem {first.problem.id}: {found[0].unwritten}."
            )

    def _write(self, engine: Engine, missing: Mapping[bytes, Request]) -> dict[bytes, Generation]:
        keys, requests = list(missing), list(missing.values())
        written: dict[bytes, Generation] = {}
        unsaved: list[tuple[bytes, Generation]] = []
        saved = time.monotonic()
        with self.progress.stage(f"{requests[0].purpose} ({label_of(engine)})", len(requests), "texts") as tick:
            try:
                for index, generation in read_generations(engine, requests):
                    written[keys[index]] = safe_generation(generation, requests[index].sampling)
                    if generation.unwritten is None:
                        unsaved.append((keys[index], written[keys[index]]))
                    else:
                        self._unwritten[keys[index]] = written[keys[index]]
                    if len(unsaved) >= _STORE_EVERY or time.monotonic() - saved >= _STORE_EVERY_S:
                        self.store.put_generations(unsaved)
                        unsaved, saved = [], time.monotonic()
                    tick(1)
            finally:  # also on Ctrl-C
                self.store.put_generations(unsaved)
                self.generated += self.usage.add_written(written.values())
                self._pass_on_advice(engine)
        if lost := [request.problem.id for key, request in missing.items() if key not in written]:
            raise GenerationError(
                f"{called(engine)} wrote {len(written)} of {len(requests)} texts; the first missing one is for "
                f"problem {lost[0]}."
            )
        return written

    def student_identity(self) -> str:
        """What the student is, whether or not it has written anything yet."""
        return identity_of(self.engine(None, self.student))

    @property
    def thinking(self) -> Thinking | None:
        """How the student thinks: as the user says, else as its engine does once it is open."""
        if self._think_end_token is not None:
            return Thinking(end=self._think_end_token, at_once=True)
        return thinking_of(self.engines[None]) if None in self.engines else None

    def cuts(self, texts: Sequence[str]) -> list[tuple[int, ...]] | None:
        """Where the splitter cuts each text, as `Solution.cuts` has it; None: the steps are lines."""
        splitter = self.splitter
        if splitter is None:
            return None
        if not self._splitter_is_open:
            with blamed(splitter, "in open()"):
                splitter.open(self.for_component(splitter))
            self._splitter_is_open = True
        with blamed(splitter, f"on the text {shown(texts[0])}" if texts else "on no text"):
            returned = splitter.split(list(texts))
        return read_cuts(splitter, texts, returned)

    def close(self) -> None:
        """Closes all engines, and the splitter."""
        if self._splitter_is_open and self.splitter is not None and (trouble := close_quietly(self.splitter)):
            self.progress.warn(f"Warning: {trouble}")
        self._splitter_is_open = False
        while self.engines:
            if trouble := close_quietly(self.engines.popitem()[1]):
                self.progress.warn(f"Warning: {trouble}")


class ComponentRuntime:
    """One component's view of the run; implements `refine_eval.plugin.components.Runtime`."""

    def __init__(self, run: RunRuntime, component: Component) -> None:
        self._run = run
        self._component = component
        self._by_student = True
        self.seed = run.seed
        self.device = run.device
        self.dtype = run.dtype
        self.batch_size = run.batch_size

    def generate(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        *,
        purpose: str,
        sampling: Sampling | None = None,
        samples: int = 1,
        model: str | EngineSpec | None = None,
        first: int = 0,
    ) -> list[list[Generation]]:
        requests = [
            Request(
                problem=problem,
                prompt=prompt,
                sampling=sampling or self._run.tasks.sampling(problem),
                purpose=purpose,
                sample=sample,
                seed=derive_seed(self.seed, problem.id, purpose, sample),
            )
            for problem, prompt in zip(problems, prompts, strict=True)
            for sample in range(first, first + samples)
        ]
        self._by_student = model is None
        flat = self._run.generate(requests, model, self._component)
        return [flat[i * samples : (i + 1) * samples] for i in range(len(problems))]

    def can_choose(self, model: str | EngineSpec | None = None) -> bool:
        return can_choose(self._run.engine(model, self._component))

    def choose(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        choices: Sequence[str],
        *,
        purpose: str,
        model: str | EngineSpec | None = None,
    ) -> list[Generation]:
        requests = [
            Request(
                problem=problem,
                prompt=prompt,
                sampling=Sampling(max_tokens=1),
                purpose=purpose,
                sample=0,
                seed=0,
                choices=tuple(choices),
            )
            for problem, prompt in zip(problems, prompts, strict=True)
        ]
        if not choices or not all(isinstance(choice, str) and choice for choice in choices):
            raise PluginError(f"{called(self._component)} must name texts as choices, not {shown(list(choices))}.")
        return self._run.generate(requests, model, self._component)

    def sampling(self, problem: Problem, *, temperature: float = 0.0, top_p: float = 1.0) -> Sampling:
        return dataclasses.replace(self._run.tasks.sampling(problem), temperature=temperature, top_p=top_p)

    def solution(self, problem: Problem, generation: Generation, prefix: str = "") -> Solution:
        if generation.unwritten is not None:
            return Solution.without_text(generation.unwritten)
        found = self.parted(generation, prefix)
        steps, cuts = self._steps(found)
        # A text without its end has no answer for votes; it is graded as lm-eval grades it all the same.
        whole = found.ended and generation.finish_reason != CUT_OFF
        return Solution(
            text=found.text,
            steps=steps,
            answer=self._run.tasks.answers(problem, [found.text])[0] if whole else None,
            finish_reason=generation.finish_reason,
            tokens=generation.tokens,
            seconds=generation.seconds,
            cuts=cuts,
            thought=found.thought,
            read_tokens=generation.read_tokens,
            flops=generation.flops,
        )

    def parted(self, generation: Generation, prefix: str = "") -> Parted:
        """The thought and the text of what was written."""
        if generation.thought is None:
            return parted(prefix + generation.text, self._run.thinking, starts=self._by_student and not prefix)
        return Parted(generation.thought, prefix + generation.text, bool(prefix or generation.text))

    def _steps(self, found: Parted) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
        """The steps of a text and its cuts, or those of thought and text where thoughts are judged."""
        if not found.ended and not self._run.judge_thoughts:
            return (), ()
        thought = found.thought or ""
        before, judged = ("", thought + found.text) if self._run.judge_thoughts else (thought, found.text)
        cuts = self._run.cuts([judged])
        if cuts is None:
            by_lines = not thought or bool(before)
            return split_steps(judged), None if by_lines else (0, *line_ends(judged))
        return steps_at(judged, cuts[0]), tuple(len(before) + cut for cut in cuts[0])

    def sample_answers(
        self, problems: Sequence[Problem], samples: int, temperature: float, first: int = 0
    ) -> list[list[Solution]]:
        if not problems:
            return []
        generated = self.generate(
            problems,
            [problem.prompt for problem in problems],
            purpose="sample",
            sampling=self.sampling(problems[0], temperature=temperature),
            samples=samples,
            first=first,
        )
        return [
            [self.solution(problem, generation) for generation in generations]
            for problem, generations in zip(problems, generated, strict=True)
        ]

    def answer_groups(
        self, problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]]
    ) -> list[list[AnswerGroup]]:
        voting = [[n for n, solution in enumerate(some) if solution.answer is not None] for some in solutions]
        texts = [[some[n].text for n in voters] for some, voters in zip(solutions, voting, strict=True)]
        return [
            [
                AnswerGroup(
                    members=tuple(voters[member] for member in group.members), best_spelt=voters[group.best_spelt]
                )
                for group in groups
            ]
            for groups, voters in zip(self._run.tasks.answer_groups(problems, texts), voting, strict=True)
        ]

    def student_identity(self) -> str:
        return f"{self._run.student_identity()} seed={self.seed}"

    def student_model(self) -> tuple[str, str | None]:
        return own_model_of(self._run.student, self._component)

    @property
    def grader(self) -> Grader:
        if not self._component.needs_gold:
            who = called(self._component)
            raise PluginError(f"{who} asked for the gold answers without declaring needs_gold = True.")
        return self._run.tasks
