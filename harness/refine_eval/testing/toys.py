"""Toy problems, a toy student and a toy runtime: what a component's tests need, without a model.

The problems are worded like the bundled task's, so that the bundled critics, whose vocabulary is small, can read
them. The toy student solves them with slips of arithmetic that depend on the seed, the problem, the prompt and the
number of the sample, and on nothing else: not on what is in the batch, nor on its order.
"""

from __future__ import annotations

import hashlib
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from refine_eval.data import (
    AnswerGroup,
    Candidate,
    Critique,
    EngineSpec,
    Generation,
    Problem,
    Prompt,
    Sampling,
    ScoredCandidate,
    Solution,
)
from refine_eval.errors import PluginError, UsageError
from refine_eval.formats import BAD, prompt_text, split_steps, student_prompt
from refine_eval.plugin.runtime import Grader
from refine_eval.training_rows import LabelledSample, QuestionSamples, Sample, TrainingData

_TOYS = (
    (
        "Tom has 23 apples. He buys 5 more. He now has 3 times as many. How many apples now?",
        ("23+5=28", "28*3=84", "#### 84"),
    ),
    (
        "Mia has 42 stamps. She loses 37. She finds 50 more. How many stamps now?",
        ("42-37=5", "5+50=55", "#### 55"),
    ),
    (
        "Leo has 63 eggs. He keeps one of 3 equal parts. He gets 18 more. He drops 29. How many eggs now?",
        ("63/3=21", "21+18=39", "39-29=10", "#### 10"),
    ),
    (
        "Rosa has 17 books. She gives away 9. She buys 3 more. She now has 6 times as many. She sells 6. "
        "How many books now?",
        ("17-9=8", "8+3=11", "11*6=66", "66-6=60", "#### 60"),
    ),
    (
        "Ben has 16 eggs. He loses 11. He now has 3 times as many. How many eggs now?",
        ("16-11=5", "5*3=15", "#### 15"),
    ),
)
"""Question and gold steps."""

_GOLD = {f"toy/{index}": steps for index, (_, steps) in enumerate(_TOYS)}
_EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
_ANSWER = re.compile(r"####\s*(\S+)\s*")
_APPLY: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


def toy_problems() -> list[Problem]:
    """Five word problems of two to four equations."""
    return [
        Problem(id=f"toy/{index}", task="toy", question=question, prompt=student_prompt(question))
        for index, (question, _) in enumerate(_TOYS)
    ]


def toy_solution(text: str, tokens: int = 0) -> Solution:
    """A text as a solution; its answer is what follows "####" in its last such line, None where there is none."""
    steps = split_steps(text)
    found = [match[1] for match in map(_ANSWER.fullmatch, steps) if match]
    return Solution(text=text, steps=steps, answer=found[-1] if found else None, finish_reason="stop", tokens=tokens)


def toy_candidates(count: int = 12, seed: int = 0) -> list[Candidate]:
    """Solutions of the toy problems by the toy student: first a draft for each, then refinements of these."""
    problems, runtime = toy_problems(), ToyRuntime(seed=seed)
    candidates = []
    for index in range(count):
        problem, sample = problems[index % len(problems)], index // len(problems)
        solution = runtime.sample_answers([problem], 1, 0.7, first=sample)[0][0]
        draft = Candidate(id="draft", problem=problem, solution=solution, origin="draft", component="toy", sample=0)
        candidates.append(
            replace(draft, id=f"1.toy.{sample - 1}", origin="refinement", sample=sample - 1, round=1, parent="draft")
            if sample
            else draft
        )
    return candidates


def toy_judged(count: int = 12, seed: int = 0) -> list[ScoredCandidate]:
    """Toy candidates with critiques: scores without meaning, and the true first bad step (None where all is right)."""
    grader = _ToyGrader()
    judged = []
    for candidate in toy_candidates(count, seed):
        scores = [
            _hash(seed, "score", candidate.problem.id, candidate.id, i) % 101 / 100
            for i in range(1 + len(candidate.solution.steps))
        ]
        critique = Critique(
            score=scores[0], step_scores=tuple(scores[1:]), first_bad_step=grader.first_bad_step(candidate)
        )
        judged.append(
            ScoredCandidate(candidate=candidate, critique=critique, when=None if candidate.round else critique)
        )
    return judged


def toy_groups(count: int = 12, seed: int = 0) -> list[list[ScoredCandidate]]:
    """The toy candidates of each problem, as selectors are given them: the draft first."""
    groups: dict[str, list[ScoredCandidate]] = {}
    for judged in toy_judged(count, seed):
        groups.setdefault(judged.candidate.problem.id, []).append(judged)
    return list(groups.values())


def toy_training_data(*, soft: bool = False) -> TrainingData:
    """What `refine-eval collect` and `label` would write of the toy student: six samples a problem, each step labelled.

    Some samples are right and some wrong; a wrong one has the gold steps as what verified its last good prefix.
    `soft` labels are shares of rollouts.
    """
    grader = _ToyGrader()
    good_label, bad_label = (0.75, 0.0) if soft else (1, 0)
    samples: dict[str, list[Sample]] = {problem.id: [] for problem in toy_problems()}
    labels = []
    for candidate in toy_candidates(6 * len(_TOYS)):
        problem, solution, correct = candidate.problem, candidate.solution, grader.is_correct(candidate)
        samples[problem.id].append(Sample(text=solution.text, correct=correct, tokens=solution.tokens))
        steps, first_bad = len(solution.steps), grader.first_bad_step(candidate)
        good = steps if correct or first_bad is None else min(first_bad, steps)
        labels.append(
            LabelledSample(
                id=problem.id,
                question=problem.question,
                steps=solution.steps,
                correct=correct,
                labels=(good_label,) * good + (bad_label,) * (steps - good),
                verified={} if correct else {good: _gold(candidate)[good:]},
            )
        )
    rows = (QuestionSamples(id=p.id, question=p.question, samples=tuple(samples[p.id])) for p in toy_problems())
    return TrainingData(samples=tuple(rows), labels=tuple(labels))


def toy_tokenizer() -> Any:
    """A tokenizer with a token for every byte and one for [BAD]: it can write every text. Imports transformers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", BAD]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[1], additional_special_tokens=[BAD]
    )


class ToyRuntime:
    """A `refine_eval.Runtime` on the toy student. `gold=True` gives access to the toy grader.

    `prompts` collects what was asked of `generate`, in order, so that a refiner's test can look at its prompts.
    """

    def __init__(self, *, seed: int = 0, gold: bool = False) -> None:
        self.seed = seed
        self.device = "cpu"
        self.dtype = "float32"
        self.batch_size: int | None = None
        self.prompts: list[Prompt] = []
        self._gold = gold

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
        """`samples` texts by the toy student for each prompt; without a temperature they are all the same."""
        self.prompts.extend(prompts)
        greedy = sampling is None or sampling.temperature == 0
        return [
            [
                self._written(problem, prompt, (model,) if greedy else (model, purpose, sample, sampling))
                for sample in range(first, first + samples)
            ]
            for problem, prompt in zip(problems, prompts, strict=True)
        ]

    def can_choose(self, model: str | EngineSpec | None = None) -> bool:
        """It has `choose`."""
        return True

    def choose(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        choices: Sequence[str],
        *,
        purpose: str,
        model: str | EngineSpec | None = None,
    ) -> list[Generation]:
        """Probabilities without meaning, which add up to 1."""
        self.prompts.extend(prompts)
        found = []
        for problem, prompt in zip(problems, prompts, strict=True):
            weights = [1 + _hash(self.seed, "choose", problem.id, prompt, model, choice) % 100 for choice in choices]
            logprobs = [math.log(weight / sum(weights)) for weight in weights]
            found.append(Generation.of_choices(logprobs, prompt_tokens=1 + len(prompt_text(prompt))))
        return found

    def sampling(self, problem: Problem, *, temperature: float = 0.0, top_p: float = 1.0) -> Sampling:
        """At most 128 tokens; ends at "Question:"."""
        return Sampling(max_tokens=128, temperature=temperature, top_p=top_p, stop=("Question:",))

    def solution(self, problem: Problem, generation: Generation, prefix: str = "") -> Solution:
        """The text after its prefix, with the answer that follows "####"; as in a run, none where it is unwritten."""
        if generation.unwritten is not None:
            return Solution.without_text(generation.unwritten)
        return toy_solution(prefix + generation.text, generation.tokens)

    def sample_answers(
        self, problems: Sequence[Problem], samples: int, temperature: float, first: int = 0
    ) -> list[list[Solution]]:
        """The toy student's samples number `first` to `first + samples - 1` of each problem."""
        written = self.generate(
            problems,
            [problem.prompt for problem in problems],
            purpose="sample",
            sampling=Sampling(max_tokens=128, temperature=temperature),
            samples=samples,
            first=first,
        )
        return [
            [self.solution(problem, generation) for generation in generations]
            for problem, generations in zip(problems, written, strict=True)
        ]

    def answer_groups(
        self, problems: Sequence[Problem], solutions: Sequence[Sequence[Solution]]
    ) -> list[list[AnswerGroup]]:
        """Solutions whose answers are the same text; the first of each group is spelt best."""
        return [_toy_groups([solution.answer for solution in some]) for some in solutions]

    def student_identity(self) -> str:
        """The toy student and the seed."""
        return f"toy student seed={self.seed}"

    def student_model(self) -> tuple[str, str | None]:
        """UsageError: the toy student is no model."""
        raise UsageError(
            "The toy student has no model that could be read; name one by the component's own option, in "
            "`plugins check` --option model=NAME."
        )

    @property
    def grader(self) -> Grader:
        """The toy grader; PluginError where the runtime was made without `gold=True`."""
        if not self._gold:
            raise PluginError("A component asked for the gold answers without declaring needs_gold = True.")
        return _ToyGrader()

    def _written(self, problem: Problem, prompt: Prompt, drawn_from: tuple[object, ...]) -> Generation:
        """What the toy student writes after a prompt that ends in "Answer:" and the steps already there."""
        kept = split_steps(prompt_text(prompt).rpartition("Answer:\n")[2])
        noise = _hash(self.seed, problem.id, prompt, *drawn_from)
        steps = _solved(_GOLD.get(problem.id, ()), kept, noise)
        text = "\n".join(steps)
        return Generation(text=text, tokens=len(text) + 1, finish_reason="stop")


class _ToyGrader:
    """Knows the toy problems' solutions."""

    def is_correct(self, candidate: Candidate) -> bool:
        """Whether the candidate's answer is the gold one."""
        return f"#### {candidate.solution.answer}" == _gold(candidate)[-1]

    def first_bad_step(self, candidate: Candidate) -> int | None:
        """The first step that differs from the gold solution's in its place; `len(steps)` where one is missing."""
        gold, steps = _gold(candidate), candidate.solution.steps
        for index, step in enumerate(steps):
            if index >= len(gold) or step != gold[index]:
                return index
        return len(steps) if len(steps) < len(gold) else None


def _toy_groups(answers: Sequence[str | None]) -> list[AnswerGroup]:
    groups = [[i for i, answer in enumerate(answers) if answer == one] for one in dict.fromkeys(answers) if one]
    return [AnswerGroup(members=tuple(members), best_spelt=members[0]) for members in groups]


def _gold(candidate: Candidate) -> tuple[str, ...]:
    return _GOLD[candidate.problem.id]


def _solved(gold: Sequence[str], kept: Sequence[str], noise: int) -> list[str]:
    """The steps after the kept ones: each carries on from the result before it, some with a slip.

    Results stay in 1..99, which is what the bundled task's models know.
    """
    last = _EQUATION.fullmatch(kept[-1]) if kept else None
    value = int(last[4]) if last else None
    steps: list[str] = []
    for index, step in enumerate(gold[:-1]):
        if index < len(kept):
            continue
        match = _EQUATION.fullmatch(step)
        assert match
        left, sign, right = int(match[1]) if value is None else value, match[2], int(match[3])
        slip = (0, 0, 0, 1, 10)[noise // 5**index % 5]
        value = min(max(_APPLY[sign](left, right) + slip, 1), 99)
        steps.append(f"{left}{sign}{right}={value}")
    if value is None:
        value = noise % 99 + 1
    return [*steps, f"#### {value}"]


def _hash(*parts: object) -> int:
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
