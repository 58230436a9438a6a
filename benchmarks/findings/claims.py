"""The paper's claims as statements that run records can decide, and what each size says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from findings.records import Seed, Tested
from refine_eval.statistics.critic_quality import broken, only, repaired
from refine_eval.statistics.intervals import MIN_CASES, Cases, Estimate, paired_difference, rate

NOT_TESTED = "not tested"
LABEL_ROLLOUTS, LABEL_WAY = 8, "cheap"
"""The row of results/label-quality.json by which labels are judged: the paper's K, and the way of training."""

Pair = tuple[Cases, Cases]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, the paper's figure for it in words, and what measures it in one seed (None: it cannot there).

    A measure that gives a pair of cases is a difference, which holds where it is above zero; one that gives cases is a
    share, which is compared with `figure`, or, without one, holds where it is above zero.
    """

    statement: str
    paper: str
    measure: Callable[[Seed], Pair | Cases | None]
    figure: float | None = None


@dataclass(frozen=True)
class Finding:
    """What a size says of a claim: "holds", "unclear", "does not hold"; for figures "higher", "lower", "like it"."""

    verdict: str
    estimate: Estimate
    is_difference: bool


def judge(claim: Claim, tested: Tested) -> Finding | None:
    """The finding over the seeds that have what the claim needs; None: not tested."""
    found = [cases for cases in map(claim.measure, tested.seeds) if cases is not None]
    pairs = [cases for cases in found if isinstance(cases, tuple)]
    estimate = paired_difference(pairs) if pairs else rate([cases for cases in found if not isinstance(cases, tuple)])
    if estimate is None:
        return None
    return Finding(verdict(estimate, claim.figure), estimate, bool(pairs))


def verdict(estimate: Estimate, figure: float | None) -> str:
    """By the interval alone: against zero, or against the paper's figure."""
    if figure is None:
        return {1: "holds", 0: "unclear", -1: "does not hold"}[estimate.direction()]
    if estimate.problems < MIN_CASES:
        return "unclear"
    return {1: "higher", 0: "like it", -1: "lower"}[estimate.direction(figure)]


def label_finding(quality: Mapping[str, Any] | None, tested: Tested, figure: float) -> Finding | None:
    """How many labels by rollout are right, at the size whose student the file is about."""
    if quality is None or not tested.seeds:
        return None
    if tested.seeds[0].glore.record.settings["model"]["identity"] != quality["student"]:
        return None
    for row in quality["rows"]:
        if (row["K"], row["way"]) == (LABEL_ROLLOUTS, LABEL_WAY):
            estimate = Estimate(
                value=row["agreement"],
                low=row["agreement low"],
                high=row["agreement high"],
                p_value=1.0,
                seeds=1,
                problems=quality["samples"],
                cases=quality["steps"],
            )
            return Finding(verdict(estimate, figure), estimate, False)
    return None


def pair(one: Cases | None, other: Cases | None) -> Pair | None:
    """Both, or None where either is missing."""
    return None if one is None or other is None else (one, other)


def has(seed: Seed, *refiners: str) -> bool:
    """Whether the main record is of a run with these refiners."""
    return set(refiners) <= set(seed.glore.refiners)


def repairs(seed: Seed, answer: str) -> Cases:
    """Which wrong drafts are right with this answer."""
    return repaired(seed.glore.right("draft"), seed.glore.right(answer))


def breaks(seed: Seed, answer: str) -> Cases:
    """Which right drafts are wrong with this answer."""
    return broken(seed.glore.right("draft"), seed.glore.right(answer))


def choice_against(seed: Seed, record: str, answer: str) -> Pair | None:
    """The choice against another record's answer."""
    run = seed.runs.get(record)
    return None if run is None else (seed.glore.right("choice"), run.right(answer))


CLAIMS: Sequence[Claim] = (
    Claim(
        statement="The SORM judges steps better than the ORM (step accuracy)",
        paper="73 % → 81 % (second-hand); up to 8 points (second-hand)",
        measure=lambda seed: pair(seed.steps("sorm"), seed.steps("orm")),
    ),
    Claim(
        statement="The SORM finds the first wrong step better than the ORM",
        paper="no figure known",
        measure=lambda seed: pair(seed.first_errors("sorm"), seed.first_errors("orm")),
    ),
    Claim(
        statement="*Ours:* the same on steps, with each critic at its own best threshold",
        paper="–",
        measure=lambda seed: pair(seed.at_best(Seed.steps, "sorm"), seed.at_best(Seed.steps, "orm")),
    ),
    Claim(
        statement="*Ours:* the same on first errors, with each critic at its own best threshold",
        paper="–",
        measure=lambda seed: pair(seed.at_best(Seed.first_errors, "sorm"), seed.at_best(Seed.first_errors, "orm")),
    ),
    Claim(
        statement="The ORM judges final answers better than the SORM",
        paper="up to 5 points (second-hand)",
        measure=lambda seed: pair(seed.finals("orm"), seed.finals("sorm")),
    ),
    Claim(
        statement="*Ours:* the same on final answers, with each critic at its own best threshold",
        paper="–",
        measure=lambda seed: pair(seed.at_best(Seed.finals, "orm"), seed.at_best(Seed.finals, "sorm")),
    ),
    Claim(
        statement="The ORM's choice among draft, global and local refinement improves on the draft",
        paper="53 % → 65 %",
        measure=lambda seed: choice_against(seed, "glore", "draft") if has(seed, "global", "local") else None,
    ),
    Claim(
        statement="That choice beats the same ORM's choice among samples (best of three)",
        paper="65 % against about 58 % (second-hand)",
        measure=lambda seed: choice_against(seed, "best-of-3", "choice"),
    ),
    Claim(
        statement="Wrong drafts that the global refiner alone repairs",
        paper="28.1 % (second-hand)",
        figure=0.281,
        measure=lambda seed: repairs(seed, "global") if has(seed, "global") else None,
    ),
    Claim(
        statement="Wrong drafts that the local refiner with the SORM alone repairs",
        paper="28.3 % (second-hand)",
        figure=0.283,
        measure=lambda seed: (
            repairs(seed, "local") if has(seed, "local") and seed.glore.critic("where") == "sorm" else None
        ),
    ),
    Claim(
        statement="Wrong drafts that both with the reranker repair",
        paper="41 % (second-hand)",
        figure=0.41,
        measure=lambda seed: repairs(seed, "choice") if has(seed, "global", "local") else None,
    ),
    Claim(
        statement="The global refiner repairs drafts that the local one does not (of the wrong drafts)",
        paper="the two repair partly different problems",
        measure=lambda seed: (
            only(repairs(seed, "global"), repairs(seed, "local")) if has(seed, "global", "local") else None
        ),
    ),
    Claim(
        statement="The local refiner repairs drafts that the global one does not (of the wrong drafts)",
        paper="the two repair partly different problems",
        measure=lambda seed: (
            only(repairs(seed, "local"), repairs(seed, "global")) if has(seed, "global", "local") else None
        ),
    ),
    Claim(
        statement="The global refiner alone breaks right drafts (of the right drafts)",
        paper="sometimes",
        measure=lambda seed: breaks(seed, "global") if has(seed, "global") else None,
    ),
    Claim(
        statement="The local refiner alone breaks right drafts (of the right drafts)",
        paper="sometimes",
        measure=lambda seed: breaks(seed, "local") if has(seed, "local") else None,
    ),
    Claim(
        statement="*Ours:* a calculator's choice among the same three beats the draft",
        paper="–",
        measure=lambda seed: (
            pair(seed.runs["calculator"].right("choice"), seed.glore.right("draft"))
            if "calculator" in seed.runs
            else None
        ),
    ),
    Claim(
        statement="*Ours:* the choice beats the control, the student trained further instead",
        paper="–",
        measure=lambda seed: choice_against(seed, "control", "draft"),
    ),
)

LABEL_STATEMENT, LABEL_PAPER, LABEL_FIGURE = "Labels by rollout that are right", "94 % (second-hand)", 0.94
