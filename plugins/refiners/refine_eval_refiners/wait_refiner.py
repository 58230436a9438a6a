"""The refiner `wait`: the control that any self-correction has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from refine_eval import STEP_END, ScoredCandidate, check_options, continued, option
from refine_eval_refiners.model_refiner import Task, WritingRefiner, check_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitOptions:
    """Options of the wait refiner."""

    samples: int = option(1, "Continuations to write for each solution.", min=1)
    temperature: float = option(0.0, "Sampling temperature; 0 is greedy and allows one sample only.", min=0, max=100)

    def __post_init__(self) -> None:
        check_options(self)
        check_samples(self)


class WaitRefiner(WritingRefiner):
    """Appends the bare word "Wait" to the solution and has the student go on (arXiv 2507.02778).

    The control of every feedback: it says that something may be wrong, and nothing of what. The word stands on a line
    of its own; of messages all of it is a prefill, which the engine must be able to continue. The answer is that of the
    whole text, under the task's filter: one that takes the first answer it finds takes the draft's.
    """

    name = "wait"
    Options = WaitOptions
    options: WaitOptions

    def task(self, judged: ScoredCandidate) -> Task:
        """The student's own prompt, the whole solution and the word."""
        written = judged.candidate.solution.written
        end = "" if not written or written.endswith(STEP_END) else STEP_END
        kept = f"{written}{end}Wait"
        return Task(prompt=continued(judged.candidate.problem.prompt, kept), kept=kept)
