"""The critic `sorm`: a stepwise outcome reward model."""

from pathlib import Path

from refine_eval import TokenClassifierCritic


class SormCritic(TokenClassifierCritic):
    """Stepwise outcome reward model: can the right answer still be reached from here?

    GLoRe, section 3 (arXiv 2402.10963): a step's label is whether any of K continuations of the student from there
    ends right, an approximation of the optimal value V* instead of the student's own. Good at finding the first
    wrong step (where to refine).
    """

    name = "sorm"
    bundled = Path(__file__).parent / "models" / "sorm"
