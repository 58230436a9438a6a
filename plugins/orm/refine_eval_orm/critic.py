"""The critic `orm`: an outcome reward model."""

from pathlib import Path

from refine_eval import TokenClassifierCritic


class OrmCritic(TokenClassifierCritic):
    """Outcome reward model: will the student, going on from here, end right?

    GLoRe, section 3 (arXiv 2402.10963): every step end of a sample carries the label of the sample's final answer.
    Good at judging finished solutions (when to refine, which candidate to keep); too pessimistic about steps
    in the middle, because it learns where its student is weak rather than which step is wrong.
    """

    name = "orm"
    bundled = Path(__file__).parent / "models" / "orm"
