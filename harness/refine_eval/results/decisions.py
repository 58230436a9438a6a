"""Where answers are won and lost between draft and final answer: when, where, how and choice, adding up exactly.

Every draft of every seed ends in one of eight ways, of which four lose or win nothing and two make the gain:

    wrong drafts:  let through (when) | no candidate is right (where, how) | a right one is missed (choice) | won
    right drafts:  kept (when)        | no candidate is wrong (how)        | held (choice)                  | lost

so right answers after less right answers before are won less lost, and what is not won is told by the decision that
could have won it last. Shares have intervals over problems and seeds (`intervals`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from refine_eval.data import DRAFT, Trace
from refine_eval.results.published import Outcomes
from refine_eval.results.records import OUTCOMES, RunRecord
from refine_eval.results.tuning import Tuning
from refine_eval.statistics.comparison import Comparison
from refine_eval.statistics.critic_quality import (
    Bin,
    right_cases,
)
from refine_eval.statistics.intervals import Cases, Estimate

PLACES = ("exact", "too early", "too late", "none named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """How many drafts, over all seeds, end in which way; see the module's table."""

    let_through: int
    unrepaired: int
    missed: int
    won: int
    kept: int
    unbroken: int
    held: int
    lost: int

    @property
    def wrong(self) -> int:
        """Wrong drafts."""
        return self.let_through + self.unrepaired + self.missed + self.won

    @property
    def right(self) -> int:
        """Right drafts."""
        return self.kept + self.unbroken + self.held + self.lost

    @property
    def right_after(self) -> int:
        """Right final answers."""
        return self.right + self.won - self.lost


def count_ends(runs: Iterable[tuple[Sequence[Trace], str]]) -> Flow:
    """How the drafts of runs, or of seeds of one, end, each under its run's filter."""
    ends = Counter(end(trace, main) for traces, main in runs for trace in traces)
    return Flow(**{name: ends[name] for name in Flow.__dataclass_fields__})


def end(trace: Trace, main: str) -> str:
    """In which way a draft ends under the filter `main`: a name of Flow's."""
    grades = [grades[main] for grades in trace.correct.values()]
    final = trace.correct[trace.choice.id][main]
    if trace.correct[DRAFT][main]:
        if not final:
            return "lost"
        return ("unbroken" if all(grades) else "held") if trace.refined else "kept"
    if final:
        return "won"
    if any(grades):
        return "missed"
    return "unrepaired" if trace.refined else "let_through"


@dataclass(frozen=True, slots=True, kw_only=True)
class RocPoint:
    """What a gate below `threshold` would send on: shares of the wrong and of the right drafts."""

    threshold: float
    wrong_sent: float
    right_sent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """*When*: which drafts were sent on to be refined.

    `auc` is the chance that a right draft outscores a wrong one, None without both. An oracle gate sends on exactly the
    wrong drafts: it would have saved the `lost` of the flow, and won some of the `let_through`, how many is unknown.
    """

    critic: str
    refine_below: float | None
    wrong_sent: int
    right_sent: int
    auc: Estimate | None
    roc: tuple[RocPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Drafts whose first wrong step was met in this way, and how many of them some refinement repaired."""

    drafts: int
    repaired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """*Where*: the step that the critic named against the first wrong one, of the drafts sent on, by `PLACES`.

    `false_alarms` of `sound` drafts have a step named though none is wrong. `oracle_loss`: by refiner, what the same
    refiner answers rightly more often in the run whose places are exact.
    """

    critic: str
    places: Mapping[str, Place]
    sound: int
    false_alarms: int
    oracle_loss: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """*How*: what a refiner alone makes of the drafts sent on.

    Rates are of wrong drafts repaired and of right ones broken; those by `verdict` (whether the critic held the draft
    to be wrong) tell a refiner that repairs from one that is told what to repair.
    """

    repair: Estimate | None
    breaks: Estimate | None
    repair_by_verdict: Mapping[bool, Estimate | None]
    break_by_verdict: Mapping[bool, Estimate | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """All refiners. `overlap`: by the refiners that alone repair it, the number of wrong drafts sent on.

    `held_wrong` and `held_right` are the critic's discrimination: wrong drafts that it holds to be wrong, right ones
    that it does not.
    """

    critic: str
    refiners: Mapping[str, Refined]
    overlap: Mapping[tuple[str, ...], int]
    held_wrong: Estimate | None
    held_right: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """*Choice*: regret against the oracle on the same candidates, and the critic's scores of all candidates.

    `ece` is the mean distance between score and share of right ones over ten bins, `ranking` the chance that a right
    candidate outscores a wrong one of the same problem, None where no problem has both.
    """

    selector: str
    critic: str
    regret: Estimate | None
    brier: Estimate | None
    ece: float | None
    bins: tuple[Bin, ...]
    ranking: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All decisions of a run, or of several seeds of one, whose `tunings` say how thresholds were tuned."""

    runs: tuple[str, ...]
    task: str
    filter: str
    problems: int
    flow: Flow
    gain: Comparison
    when: Gate
    where: Where | None
    how: How
    choice: Choice
    sees_gold: bool
    tuned: bool
    tunings: tuple[Tuning, ...]


@dataclass(frozen=True, slots=True)
class Seed:
    """A record with its outcomes."""

    record: RunRecord
    outcomes: Outcomes

    @property
    def traces(self) -> Sequence[Trace]:
        """Its traces."""
        return self.outcomes.traces

    @property
    def has_texts(self) -> bool:
        """Whether its traces are a run's own, with texts and not stand-ins."""
        return self.record.folder is not None and not (self.record.folder / OUTCOMES).exists()

    def right(self, answer: str) -> Cases:
        """Which problems "draft", "choice" or a refiner alone answers rightly."""
        return right_cases(self.traces, self.record.filter, answer)
