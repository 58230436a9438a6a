"""The global refiner: writes the whole solution anew."""

from __future__ import annotations

from refine_eval import ScoredCandidate, global_prompt
from refine_eval_refiners.model_refiner import ModelRefiner, Task


class GlobalRefiner(ModelRefiner):
    """Writes a new solution from the question and the whole draft (GLoRe's global refiner).

    It is not told where the draft goes wrong, so it refines every solution that it is given.
    """

    name = "global"
    bundled = "global"

    def task(self, judged: ScoredCandidate) -> Task:
        """The question and the draft; nothing is kept."""
        candidate = judged.candidate
        return self.asked(global_prompt(candidate.problem.question, candidate.solution.steps))
