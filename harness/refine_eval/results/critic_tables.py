"""What critics are worth, as people read it: a line for each figure and a column for each critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from refine_eval.results.critic_records import EvaluatedCritic, Evaluation
from refine_eval.results.markdown import code_block, inline
from refine_eval.results.table import FOOTNOTES, UNKNOWN, UPPER_BOUND, notes
from refine_eval.statistics.intervals import Estimate
from refine_eval.terminal import one_line

_MOST_REASONS = 5

Cell = Callable[[EvaluatedCritic], str]


def _percent(figure: str) -> Cell:
    return lambda critic: _estimate(getattr(critic.figures, figure), 100, 1)


def _plain(figure: str) -> Cell:
    return lambda critic: _estimate(getattr(critic.figures, figure), 1, 3)


def _estimate(found: Estimate | None, scale: int, digits: int) -> str:
    if found is None:
        return UNKNOWN
    value, low, high = (f"{scale * part:.{digits}f}".replace("-", "−") for part in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _thresholds(critic: EvaluatedCritic) -> str:
    return " | ".join(f"{pair.steps:.3g}, {pair.answers:.3g}" for pair in critic.thresholds)


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


_LINES: Sequence[tuple[str, str, Cell]] = (
    ("solutions (problems)", "", lambda critic: f"{critic.figures.solutions:,} ({critic.figures.problems:,})"),
    ("final answers: accuracy %", "accuracy", _percent("accuracy")),
    ("final answers: AUC %", "auc", _percent("auc")),
    ("final answers: Brier", "brier", _plain("brier")),
    ("final answers: ECE %", "ece", lambda critic: _number(_times(critic.figures.ece, 100), ".1f")),
    ("steps: accuracy %", "steps", _percent("steps")),
    ("wrong ones: first error found %", "first_error", _percent("first_error")),
    ("right ones: no error named %", "right_ones", _percent("right_ones")),
    ("F1 of these two %", "f1", _percent("f1")),
    ("MCC", "mcc", _plain("mcc")),
    ("lowest score on the last step %", "last_minimum", _percent("last_minimum")),
    ("thresholds: steps, answers", "", _thresholds),
    ("tokens read", "", lambda critic: _number(critic.cost.read_tokens, ",.1f")),
    ("tokens written", "", lambda critic: _number(critic.cost.tokens, ",.1f")),
    ("FLOPs", "", lambda critic: _number(critic.cost.flops, ".2e")),
    ("seconds", "", lambda critic: _number(critic.cost.seconds, ".2g")),
)


def _times(value: float | None, scale: int) -> float | None:
    return None if value is None else scale * value


def table(found: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of cells."""
    heads = [each.name + (f" {UPPER_BOUND}" if each.needs_gold else "") for each in found.critics]
    return ["", *heads], [[label, *map(cell, found.critics)] for label, _, cell in _LINES]


def title(found: Evaluation) -> str:
    """What the table is over: data, how many solutions are right and wrong, and how thresholds came to be."""
    first = found.critics[0].figures
    steps = f", {first.wrong:,} with a wrong step and {first.right:,} without" if first.wrong + first.right else ""
    return one_line(f"{found.data}: {first.solutions:,} solutions{steps}; {_how_tuned(found)}")


def _how_tuned(found: Evaluation) -> str:
    if not found.tuned:
        return "thresholds: each critic's own"
    return f"thresholds tuned on {'the other half' if found.tuned == 'halves' else found.tuned}"


def below(found: Evaluation) -> list[str]:
    """What stands under the table: what is not defined and why, what was left out, upper bounds."""
    names = {figure: label.removesuffix(" %") for label, figure, _ in _LINES if figure}
    undefined: dict[tuple[str, str], list[str]] = {}
    for critic in found.critics:
        for figure, why in critic.figures.undefined.items():
            undefined.setdefault((critic.name, why), []).append(names[figure])
    lines = []
    for of in dict.fromkeys((why, tuple(figures)) for (_, why), figures in undefined.items()):
        critics = [name for (name, why), figures in undefined.items() if (why, tuple(figures)) == of]
        who = "" if len(critics) == len(found.critics) else f"{', '.join(critics)}: "
        lines.append(f"{who}not defined, as {of[0]}: {'; '.join(of[1])}")
    if silent := [critic.name for critic in found.critics if _names_none(critic)]:
        lines.append(f"{', '.join(silent)}: no step is ever named, and MCC is of the score of the whole")
    if found.unused:
        count, shown = sum(each.rows for each in found.unused), found.unused[:_MOST_REASONS]
        reasons = "; ".join(f"{each.rows:,}: {each.reason} (first: {each.first})" for each in shown)
        more = f"; and {len(found.unused) - _MOST_REASONS:,} more reasons" if len(found.unused) > _MOST_REASONS else ""
        lines.append(f"rows left out: {count:,} ({reasons}{more})")
    lines += notes([entry for critic in found.critics for entry in critic.unscored])
    lines.append("95 % intervals over problems; tokens, FLOPs and seconds are a solution's, in the mean")
    return list(
        map(
            one_line,
            [*lines, *([FOOTNOTES[UPPER_BOUND]] if any(critic.needs_gold for critic in found.critics) else [])],
        )
    )


def _names_none(critic: EvaluatedCritic) -> bool:
    wrong, right = critic.figures.first_error, critic.figures.right_ones
    return wrong is not None and right is not None and (wrong.value, right.value) == (0, 1)


def markdown(found: Evaluation, command: str) -> str:
    """The page of an evaluation. Seconds are left out: they are a machine's."""
    heads, lines = table(found)
    lines = [line for line in lines if line[0] != "seconds"]
    rows = [[inline(cell) or " " for cell in line] for line in (heads, *lines)]
    rule = "| --- |" + " ---: |" * (len(heads) - 1)
    first, *rest = (f"| {' | '.join(row)} |" for row in rows)
    listed = "\n".join(f"- {inline(line)}" for line in below(found))
    return (
        "# Critics\n\n"
        f"Made by `{command}` from the record beside it; the record is made by\n\n{code_block(found.command)}\n"
        f"{inline(title(found))}.\n\n" + "\n".join([first, rule, *rest]) + f"\n\n{listed}\n"
    )
