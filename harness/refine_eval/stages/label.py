"""`refine-eval label`: step labels for the SORM by rollout, from the samples that `collect` drew.

The rules are switches of `LabelSettings`, so that an ablation is one option. Rule 3, balance, is left to training: it
depends on which samples are trained on (see `refine_eval.stages.rules.balance`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from refine_eval.data import LabelledSample, Problem, QuestionSamples
from refine_eval.formats import join_steps, split_steps
from refine_eval.runs.runtime import RunRuntime
from refine_eval.stages.rollouts import Verified, naive_labels, rollout_labels
from refine_eval.stages.rules import monotone
from refine_eval.tasks.task import LmEvalTask

STAGE = "rollout"


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How labels are made; the defaults are the paper's (GLoRe, section 3), by the cheap way.

    `naive`: K rollouts from every prefix of every sample; needed for `soft` labels (the share of successes, as in
    Math-Shepherd) and for labels without rule 1. `monotone` and `consistent` are rules 1 and 2; rule 1 says nothing of
    soft labels, which stay as they are.
    """

    rollouts: int = 8
    temperature: float = 0.7
    naive: bool = False
    soft: bool = False
    monotone: bool = True
    consistent: bool = True


class Labeller:
    """Labels samples with the student's rollouts; counts what it asked for."""

    def __init__(self, runtime: RunRuntime, task: LmEvalTask, settings: LabelSettings) -> None:
        self.task, self.settings = task, settings
        self._view = runtime.for_component(runtime.student)
        self.rollouts = 0
        """Continuations asked for, stored ones included."""
        self.tokens = 0
        """Tokens in them."""

    def label(self, samples: Sequence[tuple[Problem, str, bool]]) -> Iterator[LabelledSample]:
        """`samples` are (problem, text, whether it is right); those without a step are left out."""
        kept = [(problem, split_steps(text), right) for problem, text, right in samples if split_steps(text)]
        if not kept:
            return
        settings, steps = self.settings, [steps for _, steps, _ in kept]

        def is_right(n: int, solution: Sequence[str]) -> bool:
            return self.task.grade(kept[n][0].id, join_steps(solution))[self.task.filter]

        def write(prefixes: Sequence[tuple[int, Sequence[str]]], number: int) -> list[tuple[str, ...]]:
            return self._write([(kept[n][0], prefix) for n, prefix in prefixes], number)

        verified: Verified
        if settings.naive:
            shares, verified = naive_labels(steps, is_right, write, settings.rollouts, consistent=settings.consistent)
            hard = [[int(share > 0) for share in row] for row in shares]
            if settings.monotone:
                hard = [monotone(row) for row in hard]
            labels: list[list[float]] = shares if settings.soft else [[*map(float, row)] for row in hard]
        else:
            hard, verified = rollout_labels(steps, is_right, write, settings.rollouts, consistent=settings.consistent)
            labels = [[*map(float, row)] for row in hard]
        rests: list[dict[int, tuple[str, ...]]] = [{} for _ in kept]
        for (n, length), rest in verified.items():
            rests[n][length] = rest
        for (problem, own, right), found, rest_by_length in zip(kept, labels, rests, strict=True):
            yield LabelledSample(
                id=problem.id,
                question=problem.question,
                steps=own,
                correct=right,
                labels=tuple(found),
                verified=rest_by_length,
            )

    def _write(self, prefixes: Sequence[tuple[Problem, Sequence[str]]], number: int) -> list[tuple[str, ...]]:
        """Rollout `number` of each prefix; equal prefixes of one problem have the same."""
        problems = [problem for problem, _ in prefixes]
        written = self._view.generate(
            problems,
            [problem.prompt + join_steps(steps) for problem, steps in prefixes],
            stage=STAGE,
            sampling=self._view.sampling(problems[0], temperature=self.settings.temperature),
            first=number,
        )
        self.rollouts += len(written)
        self.tokens += sum(generation.tokens for (generation,) in written)
        return [split_steps(generation.text) for (generation,) in written]


def chosen_samples(
    rows: Sequence[QuestionSamples], problems: Mapping[str, Problem], per_question: int | None
) -> list[tuple[Problem, str, bool]]:
    """The distinct samples of each question, at most `per_question` wrong and as many right ones, in order."""
    chosen = []
    for row in rows:
        for right in (False, True):
            texts = dict.fromkeys(sample.text for sample in row.samples if sample.correct is right)
            chosen += [(problems[row.id], text, right) for text in list(texts)[:per_question]]
    return chosen
