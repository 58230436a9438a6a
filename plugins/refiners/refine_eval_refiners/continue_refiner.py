"""The refiner `continue`: local refinement without training, by the student itself."""

from __future__ import annotations

from dataclasses import dataclass

from refine_eval import ScoredCandidate, check_options, continued, option
from refine_eval_refiners.model_refiner import Task, WritingRefiner, check_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinueOptions:
    """Options of the continue refiner."""

    samples: int = option(1, "Continuations to write for each solution.", min=1)
    temperature: float = option(
        0.7, "Sampling temperature; 0 is greedy, which after a greedy draft gives that draft again.", min=0, max=100
    )

    def __post_init__(self) -> None:
        check_options(self)
        check_samples(self)


class ContinueRefiner(WritingRefiner):
    """Has the student go on from before the first bad step: local refinement without training (arXiv 2607.21453).

    What stands before the step that the *where* critic names is kept to the byte: after a plain prompt as its end, of
    messages as a prefill, which the engine must be able to continue. A solution in which that critic finds no bad step
    is not refined. It samples by default: a student that wrote its draft greedily goes on greedily with the same step.
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
