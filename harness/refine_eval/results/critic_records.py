"""What an evaluation of critics found, as `refine-eval critics eval -o` writes it and `critics table` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from refine_eval.costs import LeftOut
from refine_eval.errors import RunError
from refine_eval.files import read_file
from refine_eval.reading import Unreadable, from_json
from refine_eval.results.label_files import Unused
from refine_eval.results.typed import AMOUNT, COUNT, FLAG, LIST, NAME, OBJECT, SHARE, TEXT, Fault, Kind, field
from refine_eval.statistics.critic_quality import Bin
from refine_eval.statistics.intervals import Estimate
from refine_eval.statistics.judged import CriticFigures, Thresholds
from refine_eval.terminal import shown

FORMAT = 1
_MOST_BYTES = 20_000_000
_MCC: Kind[float] = Kind("a number from -1 to 1", lambda value: type(value) in (int, float) and -1 <= value <= 1)
ESTIMATES = ("accuracy", "auc", "steps", "first_error", "right_ones", "f1", "mcc", "brier", "last_minimum")
"""The figures of `CriticFigures` that have intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a critic takes for a solution, in the mean: tokens read and written, FLOPs, seconds; None: not known."""

    read_tokens: float | None
    tokens: float
    flops: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedCritic:
    """One critic. `thresholds`: one pair, with halves one for each; `subsets`: figures by source, if there are any."""

    name: str
    options: Mapping[str, Any]
    identity: str
    needs_gold: bool
    thresholds: tuple[Thresholds, ...]
    figures: CriticFigures
    subsets: Mapping[str, CriticFigures]
    unscored: tuple[LeftOut, ...]
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Critics on the same solutions. `data` says in words where those are from, `details` what names them exactly.

    `tuned` says on what thresholds were tuned, "" where they are the critics' own.
    """

    command: str
    data: str
    details: Mapping[str, Any]
    tuned: str
    unused: tuple[Unused, ...]
    critics: tuple[EvaluatedCritic, ...]


def evaluation_to_json(found: Evaluation) -> dict[str, Any]:
    """As it is written: figures that are not defined are null, and `undefined` says why; empty lists are left out."""
    return {
        "format": FORMAT,
        "command": found.command,
        "data": found.data,
        "details": dict(found.details),
        "tuned": found.tuned,
        **({"unused": [asdict(each) for each in found.unused]} if found.unused else {}),
        "critics": [
            {
                "name": each.name,
                "options": dict(each.options),
                "identity": each.identity,
                "needs_gold": each.needs_gold,
                "thresholds": [{"steps": pair.steps, "answers": pair.answers} for pair in each.thresholds],
                "figures": _figures_to_json(each.figures),
                "subsets": {source: _figures_to_json(figures) for source, figures in each.subsets.items()},
                **({"unscored": [asdict(entry) for entry in each.unscored]} if each.unscored else {}),
                "cost": asdict(each.cost),
            }
            for each in found.critics
        ],
    }


def _figures_to_json(found: CriticFigures) -> dict[str, Any]:
    return {
        each.name: _estimate_to_json(getattr(found, each.name)) if each.name in ESTIMATES else value
        for each in fields(CriticFigures)
        for value in [[asdict(one) for one in found.bins] if each.name == "bins" else getattr(found, each.name)]
    }


def _estimate_to_json(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {name: getattr(found, name) for name in ("value", "low", "high", "problems", "cases")}


def read_evaluation(path: Path) -> Evaluation:
    """A file of `critics eval -o`; RunError where it is missing, damaged, or of a later version."""
    try:
        row = OBJECT.check(from_json(read_file(path, _MOST_BYTES)), "it")
        if field(row, "format", COUNT) != FORMAT:
            raise Fault(f"its format is {row['format']}, and this version reads {FORMAT}")
        if not field(row, "critics", LIST):
            raise Fault("it has no critics")
        return Evaluation(
            command=field(row, "command", TEXT),
            data=field(row, "data", TEXT),
            details=field(row, "details", OBJECT),
            tuned=field(row, "tuned", TEXT),
            unused=tuple(_unused(OBJECT.check(each, "unused")) for each in _list(row, "unused")),
            critics=tuple(_critic(OBJECT.check(each, "critics")) for each in field(row, "critics", LIST)),
        )
    except (OSError, Unreadable, Fault) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RunError(
            f"{path} cannot be read as an evaluation of critics ({why}): write it with refine-eval critics eval -o."
        ) from error


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    """A list that is left out where there is nothing in it."""
    return field(row, name, LIST) if name in row else []


def _unused(row: Mapping[str, Any]) -> Unused:
    return Unused(rows=field(row, "rows", COUNT), reason=field(row, "reason", TEXT), first=field(row, "first", TEXT))


def _critic(row: Mapping[str, Any]) -> EvaluatedCritic:
    thresholds = [OBJECT.check(each, "thresholds") for each in field(row, "thresholds", LIST)]
    cost, subsets = field(row, "cost", OBJECT), field(row, "subsets", OBJECT)
    return EvaluatedCritic(
        name=field(row, "name", NAME),
        options=field(row, "options", OBJECT),
        identity=field(row, "identity", TEXT),
        needs_gold=field(row, "needs_gold", FLAG),
        thresholds=tuple(
            Thresholds(steps=field(each, "steps", SHARE), answers=field(each, "answers", SHARE)) for each in thresholds
        ),
        figures=_figures(field(row, "figures", OBJECT)),
        subsets={source: _figures(OBJECT.check(each, source)) for source, each in subsets.items()},
        unscored=tuple(_left_out(OBJECT.check(each, "unscored")) for each in _list(row, "unscored")),
        cost=Cost(
            read_tokens=field(cost, "read_tokens", AMOUNT.or_none()),
            tokens=field(cost, "tokens", AMOUNT),
            flops=field(cost, "flops", AMOUNT.or_none()),
            seconds=field(cost, "seconds", AMOUNT),
        ),
    )


def _figures(row: Mapping[str, Any]) -> CriticFigures:
    undefined = field(row, "undefined", OBJECT)
    if unknown := sorted(undefined.keys() - {*ESTIMATES, "ece"}):
        raise Fault(f"it has no figure {shown(unknown[0])}")
    counts: dict[str, Any] = {name: field(row, name, COUNT) for name in ("solutions", "problems", "wrong", "right")}
    estimates: dict[str, Any] = {name: _estimate(field(row, name, OBJECT.or_none()), name) for name in ESTIMATES}
    return CriticFigures(
        **counts,
        **estimates,
        ece=field(row, "ece", SHARE.or_none()),
        bins=tuple(_bin(OBJECT.check(each, "bins")) for each in field(row, "bins", LIST)),
        undefined={name: TEXT.check(why, "undefined") for name, why in undefined.items()},
    )


def _estimate(row: Mapping[str, Any] | None, name: str) -> Estimate | None:
    if row is None:
        return None
    kind = _MCC if name == "mcc" else SHARE
    value, low, high = (field(row, each, kind) for each in ("value", "low", "high"))
    return Estimate(
        value=value,
        low=low,
        high=high,
        p_value=1.0,
        seeds=1,
        problems=field(row, "problems", COUNT),
        cases=field(row, "cases", COUNT),
    )


def _bin(row: Mapping[str, Any]) -> Bin:
    shares = ("low", "high", "score", "right", "right_low", "right_high")
    return Bin(**{name: field(row, name, SHARE) for name in shares}, drafts=field(row, "drafts", COUNT))


def _left_out(row: Mapping[str, Any]) -> LeftOut:
    texts = {name: field(row, name, TEXT) for name in ("component", "verb", "reason")}
    return LeftOut(**texts, texts=field(row, "texts", COUNT), of=field(row, "of", COUNT))
