"""The refiner `rewrite`: a model rewrites the solution as a prompt asks it to, with or without feedback."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from refine_eval import PromptTemplate, Runtime, ScoredCandidate, TaskError, check_options, option
from refine_eval_refiners.model_refiner import Task, WritingRefiner, check_samples
from refine_eval_refiners.prompts import REWRITES, Asking, AskingOptions

NAMES = ("question", "task", "draft", "steps", "first_bad", "feedback")
"""What prompts are given: the bare question; what the student was asked, with its instructions; the solution and its
steps; the first bad one, from 1, and feedback on it, each None where there is none."""


class Remark(NamedTuple):
    """What a prompt says of a solution: its first bad step, from 0, and feedback in words."""

    first_bad: int | None = None
    feedback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteOptions(AskingOptions):
    """Options of the rewrite refiner."""

    model: str = option("", "Hub name or folder of the model that rewrites; left empty: the student.")
    prompt: str = option("self-refine", "Prompt: self-refine, critic, reflexion, or a file with a Jinja template.")
    feedback: Literal["critic", "none", "random", "oracle"] = option(
        "critic",
        "What the prompt says of the solution: what the where critic says, nothing, that a random step is wrong, or "
        "what the gold answer tells.",
    )
    samples: int = option(1, "Refinements to write for each solution.", min=1)
    temperature: float = option(0.0, "Sampling temperature; 0 is greedy and allows one sample only.", min=0, max=100)

    def __post_init__(self) -> None:
        check_options(self)
        check_samples(self)


class RewriteRefiner(WritingRefiner):
    """Has a model rewrite the whole solution as a prompt asks it to, with feedback or without.

    The prompt is a message to models that read messages, else a plain text. Feedback is the text of the *where* critic;
    where it has none, that the step which it names is the first wrong one. Of a critic that says neither, and with
    `none`, the prompt has no feedback; `random` calls a step wrong that was drawn by lot, in the same words; `oracle`
    does so with the exact one where the task knows it, says else that the answer is wrong, and does not rewrite what is
    right.
    """

    name = "rewrite"
    Options = RewriteOptions
    options: RewriteOptions

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.needs_gold = self.options.feedback == "oracle"

    @property
    def model(self) -> str | None:
        """The model named, or the student."""
        return self.options.model or None

    def open(self, runtime: Runtime) -> None:
        """Reads the prompt; UsageError where it cannot be used."""
        super().open(runtime)
        template = PromptTemplate(self.options.prompt, REWRITES, NAMES, "--rewrite-prompt")
        self._asking = Asking(template, self.options, "--rewrite-system")

    def identity(self) -> str:
        """With the texts of the prompt, which may be files'."""
        return f"{super().identity()} {self._asking.hash}"

    def task(self, judged: ScoredCandidate) -> Task | None:
        """The prompt with question, solution and remark; nothing is kept."""
        remark = self._remark(judged)
        if remark is None:
            return None
        problem, solution = judged.candidate.problem, judged.candidate.solution
        prompt = self._asking.prompt(
            problem,
            draft=solution.text,
            steps=solution.steps,
            first_bad=None if remark.first_bad is None else remark.first_bad + 1,
            feedback=remark.feedback,
        )
        return Task(prompt=prompt, kept="")

    def _remark(self, judged: ScoredCandidate) -> Remark | None:
        """What the prompt says of the solution; None: it is right, and known to be."""
        if self.options.feedback == "none":
            return Remark()
        if self.options.feedback == "critic":
            found = judged.critique
            return Remark(found.first_bad_step, found.feedback) if found.feedback else _wrong_at(found.first_bad_step)
        return self._random(judged) if self.options.feedback == "random" else self._gold(judged)

    def _random(self, judged: ScoredCandidate) -> Remark:
        candidate, steps = judged.candidate, len(judged.candidate.solution.steps)
        draw = random.Random(
            f"{self.runtime.seed}\0{candidate.problem.id}\0{judged.round}\0{candidate.solution.written}"
        )
        return _wrong_at(draw.randrange(steps) if steps else None)

    def _gold(self, judged: ScoredCandidate) -> Remark | None:
        if self.runtime.grader.is_correct(judged.candidate):
            return None
        try:
            first_bad = self.runtime.grader.first_bad_step(judged.candidate)
        except TaskError:  # the task knows no steps
            first_bad = None
        steps = len(judged.candidate.solution.steps)
        known = first_bad is not None and first_bad < steps
        return _wrong_at(first_bad) if known else Remark(feedback="The final answer is wrong.")


def _wrong_at(step: int | None) -> Remark:
    return Remark() if step is None else Remark(step, f"Step {step + 1} is the first wrong one.")
