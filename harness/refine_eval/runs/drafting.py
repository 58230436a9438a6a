"""How many drafts there are of each problem, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from refine_eval.errors import UsageError
from refine_eval.runs.settings import RunSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """`drafts` of each problem, at a temperature (0: greedy) and with the likeliest tokens of so much probability."""

    drafts: int = 1
    temperature: float = 0.0
    top_p: float = 1.0

    def described(self) -> dict[str, Any]:
        """What run.yaml says of it: nothing of one greedy draft."""
        return {} if self == GREEDY_DRAFT else {"drafting": asdict(self)}


GREEDY_DRAFT = Drafting()


class Repeating(Protocol):
    """A task, as far as it says how often its problems are to be answered."""

    @property
    def repeats(self) -> int: ...

    @property
    def drawing(self) -> tuple[float, float]: ...
    @property
    def texts_read(self) -> int: ...


def drafting_of(settings: RunSettings, task: Repeating, warn: Callable[[str], None]) -> Drafting:
    """What the settings say, else what the task says.

    UsageError for fewer drafts than the task's filters read at once, and for a top-p that greedy drafts would ignore.
    """
    drafts = task.repeats if settings.drafts is None else settings.drafts
    if drafts < task.texts_read:
        raise UsageError(
            f"A filter of task {settings.task!r} reads {task.texts_read:,} texts of each problem: pass --drafts "
            f"{task.texts_read} or more."
        )
    temperature, top_p = task.drawing
    if settings.draft_temperature is not None:
        temperature = settings.draft_temperature
    if settings.draft_top_p is not None:
        top_p = settings.draft_top_p
    if temperature == 0 and top_p != 1:
        raise UsageError("--draft-top-p says nothing of greedy drafts: pass a --draft-temperature above 0 beside it.")
    if temperature == 0 and drafts > 1:
        asked = "--drafts" if settings.drafts is not None else f"task {settings.task!r} (repeats)"
        warn(
            f"Warning: {asked} asks for {drafts:,} drafts of each problem, and greedy drafts are all the same: pass a "
            "--draft-temperature, such as 0.7, or --drafts 1."
        )
    return Drafting(drafts=drafts, temperature=temperature, top_p=top_p)
