"""The refiner `continue`: local refinement without training, by the student itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refine_eval import ScoredCandidate, Solution, check_options, continued, option
from refine_eval_refiners.model_refiner import Task, WritingRefiner, check_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueOptions:
    """Options of the continue refiner."""

    samples: int = option(1, "Continuations to write for each solution.", min=1)
    temperature: float = option(
        0.7, "Sampling temperature; 0 is greedy, which after a greedy draft gives that draft again.", min=0, max=100
    )
    tries: int = option(
        8, "Sample a continuation so often, at most, until it begins with another step than the bad one.", min=1
    )

    def __post_init__(self) -> None:
        check_options(self)
        check_samples(self)


class ContinueRefiner(WritingRefiner):
    """Has the student go on from before the first bad step: local refinement without training (arXiv 2607.21453).

    What stands before the step that the *where* critic names is kept to the byte: after a plain prompt as its end, of
    messages as a prefill, which the engine must be able to continue. A solution in which that critic finds no bad step
    is not refined. A continuation that begins with the bad step again is put back and another one sampled, and the
    refinement costs what all of them did; after so many `tries` the last one is taken as it is.
    """

    name = "continue"
    Options = ContinueOptions
    options: ContinueOptions

    def task(self, judged: ScoredCandidate) -> Task | None:
        """The student's own prompt and what is kept of the solution."""
        first_bad = judged.critique.first_bad_step
        if first_bad is None:
            return None
        kept = judged.candidate.solution.before(first_bad)
        return Task(prompt=continued(judged.candidate.problem.prompt, kept), kept=kept)

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        """`samples` continuations of each candidate in which a bad step was named, first those that begin otherwise."""
        tasks = {index: task for index, judged in enumerate(batch) if (task := self.task(judged)) is not None}
        refined: list[list[Solution]] = [[] for _ in batch]
        put_back: list[list[Solution]] = [[] for _ in batch]
        tries = self.options.tries if self.options.temperature else 1
        for attempt in range(tries):
            missing = {index: n for index in tasks if (n := self.options.samples - len(refined[index]))}
            written = self.write(batch, {index: tasks[index] for index in missing}, missing, attempt, tries)
            for index, solutions in written.items():
                for solution in solutions:
                    again = attempt < tries - 1 and _repeats(solution, batch[index])
                    (put_back if again else refined)[index].append(solution)
        return [
            [_with_cost(found[0], spent), *found[1:]] if found else []
            for found, spent in zip(refined, put_back, strict=True)
        ]


def _repeats(solution: Solution, judged: ScoredCandidate) -> bool:
    """Whether a continuation begins with the step that was named as bad."""
    at, steps = judged.critique.first_bad_step or 0, judged.candidate.solution.steps
    return solution.unwritten is None and solution.steps[at : at + 1] == steps[at : at + 1]


def _with_cost(solution: Solution, others: Sequence[Solution]) -> Solution:
    """A solution that costs what others did, too; what is not known of one is not known of the sum."""
    for other in others if solution.unwritten is None else ():
        read = None if solution.read_tokens is None or other.read_tokens is None else other.read_tokens
        flops = None if solution.flops is None or other.flops is None else other.flops
        solution = replace(
            solution,
            tokens=solution.tokens + other.tokens,
            seconds=solution.seconds + other.seconds,
            read_tokens=None if read is None else (solution.read_tokens or 0) + read,
            flops=None if flops is None else (solution.flops or 0.0) + flops,
        )
    return solution
