"""The local refiner: goes on from the last good step."""

from __future__ import annotations

from refine_eval import ScoredCandidate, join_steps, local_prompt, marked_prompt
from refine_eval_refiners.model_refiner import ModelRefiner, Task


class LocalRefiner(ModelRefiner):
    """Rewrites a solution from its first bad step on, keeping the steps before it (GLoRe's local refiner).

    The model reads the draft with a [BAD] marker where the *where* critic puts the first wrong step. What stands
    before the marker is kept by construction, to the byte where steps are not lines. A solution in which that critic
    finds no bad step is not refined.
    """

    name = "local"
    bundled = "local"

    def task(self, judged: ScoredCandidate) -> Task | None:
        """The marked draft; the steps before the marker are kept."""
        first_bad = judged.critique.first_bad_step
        if first_bad is None:
            return None
        question, solution = judged.candidate.problem.question, judged.candidate.solution
        if solution.cuts is None:
            kept = join_steps(solution.steps[:first_bad])
            return self.asked(local_prompt(question, solution.steps, first_bad), kept)
        kept = solution.before(first_bad)
        return self.asked(marked_prompt(question, kept, solution.written[len(kept) :]), kept)
