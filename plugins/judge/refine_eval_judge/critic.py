"""The critic `judge`: a prompted language model, read by the probabilities of its verdict or by what it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from statistics import fmean
from typing import Literal

from refine_eval import (
    CUT_OFF,
    Candidate,
    Critic,
    Critique,
    EngineSpec,
    Generation,
    Message,
    Prompt,
    PromptTemplate,
    Runtime,
    Sampling,
    UsageError,
    check_options,
    first_below,
    option,
    system_text,
)
from refine_eval_judge.presets import NAMES, PRESETS
from refine_eval_judge.reading import (
    SCORES,
    YES_NO,
    chances,
    expected,
    first_error_in,
    own_words,
    score_in,
    verdict_in,
    without_verdict,
)

_BY_CHOICES = ("verdict", "steps", "score")
"""Forms whose verdict is the next token."""

_CUES = {"verdict": "\nAnswer:", "steps": "\nCorrect?", "score": "\nScore:"}
"""What plain prompts end with, in place of the turn of a chat."""


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Options of the critic `judge`."""

    model: str = option(
        "", "Hub name or folder of the judge, or its name on the student's server (default: the student)."
    )
    engine: str = option(
        "",
        "Engine that runs the judge (default: the student's, or transformers where that takes no model).",
        recent=True,
    )
    engine_args: dict[str, str] = option(
        {}, "Arguments of that engine, as --model-args has them: base_url=http://...,model=NAME.", recent=True
    )
    prompt: str = option("verdict", "verdict, steps, score, first-error or feedback, or a file with a Jinja template.")
    form: Literal["auto", "verdict", "steps", "score", "first-error", "feedback"] = option(
        "auto", "What the judge is to say; auto: what the prompt of that name asks for, of a file a verdict."
    )
    read: Literal["auto", "choices", "text"] = option(
        "auto", "By the probabilities of the verdict, or by the text; auto: the former where the engine tells them."
    )
    chat: Literal["auto", "on", "off"] = option(
        "auto", "Whether it reads a chat's messages; auto: as the student does."
    )
    system: str = option("", "What it is told first: a text, or a file that holds it.", recent=True)
    verdicts: int = option(1, "Sampled verdicts to average, where they are read from text; 1: a greedy one.", min=1)
    temperature: float = option(0.7, "Sampling temperature of several verdicts, and of others.", above=0, max=100)
    max_tokens: int = option(512, "Longest text of a judge that writes, in tokens.", min=1)
    others: int = option(0, "Samples of the student that the prompt may show beside the candidate.", min=0)
    threshold: float = option(0.5, "A step that scores below is held to be wrong.", min=0, max=1)

    def __post_init__(self) -> None:
        check_options(self)


class JudgeCritic(Critic):
    """A prompted language model as critic: a verdict, one for each step, a score, the first error, or words.

    A verdict's score is how much likelier the model finds Yes than No, from one reading of the prompt; where the engine
    does not say, or the form is a text, the text is read tolerantly. A text without a verdict leaves the candidate
    unscored, and is counted.
    """

    name = "judge"
    Options = JudgeOptions
    options: JudgeOptions
    stored = False  # what it asks of the model is

    def open(self, runtime: Runtime) -> None:
        """Reads the prompt; UsageError where it cannot be used, or the form cannot be read as asked for."""
        super().open(runtime)
        options = self.options
        self._model = self._judge()
        self._template = PromptTemplate(options.prompt, PRESETS, NAMES, "--judge-prompt")
        self._system = system_text(options.system, "--judge-system")
        self._form = options.form
        if self._form == "auto":
            self._form = options.prompt if options.prompt in PRESETS else "verdict"  # type: ignore[assignment]
        self._by_choices = options.read != "text" and self._form in _BY_CHOICES and options.verdicts == 1
        if options.read == "choices" and not self._by_choices:
            raise UsageError(
                f"--judge-read choices reads one verdict of the forms {', '.join(_BY_CHOICES)}: leave it out for "
                f"{'--judge-verdicts' if options.verdicts > 1 else self._form}."
            )
        if self._by_choices and options.read == "auto":
            self._by_choices = runtime.can_choose(self._model)

    def _judge(self) -> str | EngineSpec | None:
        options = self.options
        if not options.engine:
            if options.engine_args:
                raise UsageError(
                    "--judge-engine-args are for an engine of the judge's own: name it with --judge-engine."
                )
            return options.model or None
        arguments = tuple(sorted(options.engine_args.items()))
        return EngineSpec(engine=options.engine, arguments=arguments, model=options.model or None)

    def identity(self) -> str:
        """Options, source, prompt, system text and the student."""
        system = f" system={sha256(self._system.encode()).hexdigest()[:32]}" if self._system else ""
        return f"{super().identity()} prompt={self._template.hash}{system} {self.runtime.student_identity()}"

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique per candidate."""
        if not batch:
            return []
        problems = [candidate.problem for candidate in batch]
        others: list[list[str]] = [[] for _ in batch]
        if self.options.others:
            drawn = self.runtime.sample_answers(problems, self.options.others, self.options.temperature)
            others = [[solution.text for solution in some if solution.unwritten is None] for some in drawn]
        judge = self._judge_steps if self._form == "steps" else self._judge_whole
        return judge(batch, others)

    # The whole solution.

    def _judge_whole(self, batch: Sequence[Candidate], others: Sequence[Sequence[str]]) -> list[Critique]:
        prompts = [self._prompt(c, [self._rendered(c, some)]) for c, some in zip(batch, others, strict=True)]
        if self._by_choices:
            choices, read = (SCORES, expected) if self._form == "score" else (YES_NO, lambda found: found[0])
            found = self._chosen(batch, prompts, choices)
            return [self._whole(candidate, each, read) for candidate, each in zip(batch, found, strict=True)]
        written = self._written(batch, prompts)
        return [self._read(candidate, texts) for candidate, texts in zip(batch, written, strict=True)]

    def _whole(self, candidate: Candidate, found: Generation, read: Callable[[Sequence[float]], float]) -> Critique:
        if found.unwritten is not None:
            return Critique.without_score(candidate, found.unwritten)
        known = chances(found)
        if known is None:
            return Critique.without_score(candidate, _TRUNCATED, parsed=False)
        return _of_whole(candidate, read(known))

    def _read(self, candidate: Candidate, texts: Sequence[Generation]) -> Critique:
        """The mean of the verdicts that could be read."""
        if unwritten := next((text.unwritten for text in texts if text.unwritten is not None), None):
            return Critique.without_score(candidate, unwritten)
        writes = self._form in ("first-error", "feedback")
        feedback = without_verdict(texts[0].text) if writes else None
        steps, said = len(candidate.solution.steps), [own_words(text.text, candidate.solution.text) for text in texts]
        if self._form == "first-error":
            named = [at for text in said if (at := first_error_in(text, steps)) is not None]
            if named:
                good = tuple(fmean(at < 0 or step < at for at in named) for step in range(steps))
                bad = first_below(good, self.options.threshold)
                right = fmean(at < 0 for at in named)
                critique = Critique(score=right, step_scores=good, first_bad_step=bad, feedback=feedback)
                return _counted(critique, len(named), len(texts))
        else:
            read = score_in if self._form == "score" else verdict_in
            scores = [score for text in said if (score := read(text)) is not None]
            if scores:
                return _counted(_of_whole(candidate, fmean(scores), feedback), len(scores), len(texts))
        why = _no_verdict(texts, self.options.max_tokens)
        return _counted(Critique.without_score(candidate, why, feedback=feedback, parsed=False), 0, len(texts))

    # Step by step.

    def _judge_steps(self, batch: Sequence[Candidate], others: Sequence[Sequence[str]]) -> list[Critique]:
        places: list[Candidate] = []
        prompts: list[Prompt] = []
        for candidate, some in zip(batch, others, strict=True):
            turns = [self._rendered(candidate, some, step) for step in range(len(candidate.solution.steps))]
            for end in range(1, len(turns) + 1):
                places.append(candidate)
                # Each is the beginning of the next, so that engines read them as one.
                prompts.append(self._prompt(candidate, turns[:end]))
        if self._by_choices:
            chosen = self._chosen(places, prompts, YES_NO)
            told = iter([self._chosen_step(found) for found in chosen])
        else:
            written = self._written(places, prompts)
            told = iter([self._read_step(c, texts) for c, texts in zip(places, written, strict=True)])
        return [self._of_steps(c, [next(told) for _ in c.solution.steps]) for c in batch]

    @staticmethod
    def _chosen_step(found: Generation) -> _StepVerdict:
        known = chances(found) if found.unwritten is None else None
        return _StepVerdict(known[0] if known else None, found.unwritten, _TRUNCATED, known is not None, 1)

    def _read_step(self, candidate: Candidate, texts: Sequence[Generation]) -> _StepVerdict:
        unwritten = next((text.unwritten for text in texts if text.unwritten is not None), None)
        said = [own_words(text.text, candidate.solution.text) for text in texts]
        scores = [score for text in said if (score := verdict_in(text)) is not None]
        no_verdict = _no_verdict(texts, self.options.max_tokens)
        return _StepVerdict(fmean(scores) if scores else None, unwritten, no_verdict, len(scores), len(texts))

    def _of_steps(self, candidate: Candidate, told: Sequence[_StepVerdict]) -> Critique:
        """The solution is as good as its worst step; without steps it is none, and scores 0."""
        if unwritten := next((step.unwritten for step in told if step.unwritten is not None), None):
            return Critique.without_score(candidate, unwritten)
        scores = tuple(step.score for step in told if step.score is not None)
        if len(scores) < len(told):
            no_verdict = next(step.no_verdict for step in told if step.score is None)
            critique = Critique.without_score(candidate, no_verdict, parsed=False)
        else:
            bad = first_below(scores, self.options.threshold)
            critique = Critique(score=min(scores, default=0.0), step_scores=scores, first_bad_step=bad)
        return _counted(critique, sum(step.read for step in told), sum(step.verdicts for step in told))

    # What the model reads and says.

    def _rendered(self, candidate: Candidate, others: Sequence[str], step: int | None = None) -> str:
        solution = candidate.solution
        return self._template.render(
            question=candidate.problem.question,
            candidate=solution.text,
            steps=list(solution.steps),
            answer=solution.answer or "",
            others=list(others),
            index=0 if step is None else step + 1,
            step="" if step is None else solution.steps[step],
        )

    def _prompt(self, candidate: Candidate, turns: Sequence[str]) -> Prompt:
        """The turns with a Yes after each but the last."""
        if self._is_chat(candidate):
            said = [Message(role="system", content=self._system)] if self._system else []
            said.append(Message(role="user", content=turns[0]))
            for turn in turns[1:]:
                said += [Message(role="assistant", content="Yes"), Message(role="user", content=turn)]
            return tuple(said)
        cue = _CUES.get(self._form, "\n")
        system = f"{self._system}\n\n" if self._system else ""
        return system + f"{cue} Yes\n\n".join(turns) + cue

    def _is_chat(self, candidate: Candidate) -> bool:
        chat = self.options.chat
        return chat == "on" or (chat == "auto" and not isinstance(candidate.problem.prompt, str))

    def _chosen(
        self, batch: Sequence[Candidate], prompts: Sequence[Prompt], choices: Sequence[str]
    ) -> list[Generation]:
        """How likely the choices are; after a plain prompt they begin with a space."""
        if not prompts:
            return []
        space = "" if self._is_chat(batch[0]) else " "
        return self.runtime.choose(
            [candidate.problem for candidate in batch],
            prompts,
            [space + choice for choice in choices],
            purpose=self.name,
            model=self._model,
        )

    def _written(self, batch: Sequence[Candidate], prompts: Sequence[Prompt]) -> list[list[Generation]]:
        options = self.options
        return self.runtime.generate(
            [candidate.problem for candidate in batch],
            prompts,
            purpose=self.name,
            sampling=Sampling(
                max_tokens=options.max_tokens, temperature=options.temperature if options.verdicts > 1 else 0.0
            ),
            samples=options.verdicts,
            model=self._model,
        )


_TRUNCATED = "its verdict is not among the likeliest tokens that the engine tells; pass --judge-read text"


@dataclass(frozen=True, slots=True)
class _StepVerdict:
    """What was said of a step: the mean of the verdicts that could be read, and how many of how many those are."""

    score: float | None
    unwritten: str | None
    no_verdict: str
    read: int
    verdicts: int


def _counted(critique: Critique, read: int, verdicts: int) -> Critique:
    return replace(critique, verdicts=max(verdicts, 1), unread=verdicts - read)


def _of_whole(candidate: Candidate, score: float, feedback: str | None = None) -> Critique:
    """A verdict on the whole, which all its steps get."""
    return Critique(score=score, step_scores=(score,) * len(candidate.solution.steps), feedback=feedback)


def _no_verdict(texts: Sequence[Generation], limit: int) -> str:
    if all(text.finish_reason == CUT_OFF for text in texts):
        return f"no verdict before the length limit ({limit:,} tokens); raise --judge-max-tokens"
    return f"no verdict in what the judge wrote ({texts[0].text[:60]!r})"
