"""How a run's thresholds were tuned, as its record keeps it: on which problems, by which objective, to which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from refine_eval.results.ledger import ROUND, Row
from refine_eval.results.typed import COUNT, LIST, NAME, OBJECT, SHARE, Fault, field
from refine_eval.terminal import one_line, shown

On = Literal["held-out", "halves", "same"]
"""Other problems than those of the run; each half of its problems for the other half; its very problems."""

REFINE_BELOW = "refine-below"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A threshold by its name on the command line ("refine-below", "gate-threshold"), and what it was tuned to.

    `values`: one, or with halves that of the first half, chosen on the second, and that of the second, chosen on the
    first; None refines all drafts. Each is the best of `tried` values by the `objective`.
    """

    name: str
    values: tuple[float | None, ...]
    tried: int
    objective: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was tuned, and on what: `problems` of `task` in the record `run`, whose ids have the hash `digest`.

    `seed` is that of the halves, None where there are none.
    """

    on: On
    task: str
    run: str
    problems: int
    digest: str
    seed: int | None
    thresholds: tuple[Tuned, ...]

    @property
    def note(self) -> str:
        """One line that stands below tables."""
        values = ", ".join(f"{each.name} {' and '.join(map(_value, each.values))}" for each in self.thresholds)
        of = f"{self.problems:,} problems"
        where = {
            "held-out": f"tuned on {of} of {self.task} (run {self.run})",
            "halves": f"each half of {of} with what was tuned on the other (seed {self.seed})",
            "same": f"tuned on these very {of}",
        }
        return one_line(f"{values}: {where[self.on]}")


def _value(value: float | None) -> str:
    return "all" if value is None else f"{value:g}"


def marked(table: Sequence[Row], tuning: Tuning | None) -> list[Row]:
    """The rows, marked where what they answer hangs on a threshold that was tuned on the very problems of the table."""
    if tuning is None or tuning.on != "same":
        return list(table)
    names = {each.name for each in tuning.thresholds}
    of_choices = [f"{row.name}-threshold" for row in table if row.kind == "selector"]
    later = any(row.kind == ROUND for row in table)  # begin from the first selector's choice
    # The gate and the place change what there is to choose from.
    of_all = not names <= set(of_choices[1:] if later else of_choices)
    return [replace(row, tuned=row.kind != "draft" and (of_all or f"{row.name}-threshold" in names)) for row in table]


def without_tuned(settings: Mapping[str, Any], tuning: Tuning | None) -> dict[str, Any]:
    """run.yaml's settings without the values that were tuned, and without the identities that hold them."""
    names = {each.name for each in tuning.thresholds} if tuning is not None else set()

    def bare(value: Any) -> Any:
        if isinstance(value, list):
            return [bare(each) for each in value]
        if not isinstance(value, Mapping):
            return value
        members = {name: bare(member) for name, member in (value.get("members") or {}).items()}
        if f"{value.get('name')}-threshold" in names:
            options = {key: inner for key, inner in (value.get("options") or {}).items() if key != "threshold"}
            return {"name": value["name"], "options": options, **({"members": members} if members else {})}
        if members == (value.get("members") or {}):
            return value
        return {key: inner for key, inner in value.items() if key != "identity"} | {"members": members}

    return {key: bare(value) for key, value in settings.items() if key != "refine_below" or REFINE_BELOW not in names}


def tuning_to_json(tuning: Tuning) -> dict[str, Any]:
    """As run.yaml has it."""
    said = asdict(tuning)
    said["thresholds"] = [{**each, "values": list(each["values"])} for each in said["thresholds"]]
    return {name: value for name, value in said.items() if value is not None}


def tuning_from_json(settings: Mapping[str, Any]) -> Tuning | None:
    """What run.yaml says of tuned thresholds: None for a run without. Fault where it cannot be right."""
    if "tuning" not in settings:
        return None
    said = field(settings, "tuning", OBJECT)
    on = field(said, "on", NAME)
    if on not in get_args(On):
        raise Fault(f"its thresholds were tuned on {shown(on)}")
    thresholds = [OBJECT.check(each, "thresholds") for each in field(said, "thresholds", LIST)]
    found = Tuning(
        on=on,  # type: ignore[arg-type]
        task=field(said, "task", NAME),
        run=field(said, "run", NAME),
        problems=field(said, "problems", COUNT),
        digest=field(said, "digest", NAME),
        seed=field(said, "seed", COUNT) if "seed" in said else None,
        thresholds=tuple(_tuned(each) for each in thresholds),
    )
    if not found.thresholds or {len(each.values) for each in found.thresholds} != {2 if on == "halves" else 1}:
        raise Fault("its tuned thresholds have not one value each, or two with halves")
    return found


def _tuned(row: Mapping[str, Any]) -> Tuned:
    return Tuned(
        name=field(row, "name", NAME),
        values=tuple(SHARE.or_none().check(value, "values") for value in field(row, "values", LIST)),
        tried=field(row, "tried", COUNT),
        objective=field(row, "objective", NAME),
    )
