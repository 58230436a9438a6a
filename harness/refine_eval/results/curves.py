"""What k samples of a problem are worth: the curves of a run, in its record, as text and as a plot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from refine_eval.data import DRAFT, Trace
from refine_eval.results.table import UPPER_BOUND
from refine_eval.results.typed import AMOUNT, COUNT, FLAG, LIST, NAME, OBJECT, SHARE, Fault, field
from refine_eval.statistics.curves import READING_SCORES, WAYS, CurvePoint, Way, curve, doublings
from refine_eval.statistics.samples import AnswerGroups, SampleSet, draft_samples, refiner_samples
from refine_eval.svg import BLUE, GREEN, GREY, ORANGE, Dot, Line, lines_plot
from refine_eval.terminal import aligned, one_line, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One way to use k of the samples that `source` drew ("draft", or a refiner), for k = 1, 2, 4, ... `samples`."""

    source: str
    samples: int
    way: Way
    needs_gold: bool
    points: tuple[CurvePoint, ...]

    @property
    def name(self) -> str:
        """What the curve is, marked where it sees gold: "maj@k", "pass@k *"."""
        name = f"{self.way}-k" if self.way == "best-of" else f"{self.way}@k"
        return name + (f" {UPPER_BOUND}" if self.needs_gold else "")


def curves(
    traces: Sequence[Trace],
    filter_name: str,
    groups: AnswerGroups,
    gold: Collection[str],
    choose_sees_gold: bool,
    ways: Sequence[Way] = WAYS,
) -> list[Curve]:
    """The curves of the drafts, where there are several of each problem, and of each refiner with several samples.

    `groups` tells which answers are equal; `gold` names the refiners that see gold answers.
    """
    refiners = dict.fromkeys(c.component for trace in traces for c in trace.candidates if c.origin != DRAFT)
    sources = {DRAFT: draft_samples(traces, filter_name, groups)}
    sources |= {name: refiner_samples(traces, name, filter_name, groups) for name in refiners}
    return [
        _curve(source, problems, way, source in gold or way == "pass" or (way in READING_SCORES and choose_sees_gold))
        for source, problems in sources.items()
        if problems
        for way in ways
    ]


def _curve(source: str, problems: Mapping[str, Sequence[SampleSet]], way: Way, needs_gold: bool) -> Curve:
    samples = min(len(each) for sets in problems.values() for each in sets)
    points = tuple(curve(problems, way, doublings(samples)))
    return Curve(source=source, samples=samples, way=way, needs_gold=needs_gold, points=points)


def curves_to_json(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """As metrics.json has them: `way` is said once a curve."""
    return [
        {
            **asdict(each),
            "points": [{k: v for k, v in asdict(point).items() if k != "way"} for point in each.points],
        }
        for each in found
    ]


def curves_from_json(value: Any) -> tuple[Curve, ...]:
    """The curves of metrics.json, where it has any; Fault for a value that cannot be right."""
    metrics = OBJECT.check(value, "metrics")
    given = field(metrics, "curves", LIST) if "curves" in metrics else []
    return tuple(_read(OBJECT.check(each, "curve")) for each in given)


def shared_texts_from_json(value: Any) -> tuple[str, ...]:
    """The critics of which metrics.json says that they scored a sample by the others."""
    metrics = OBJECT.check(value, "metrics")
    given = field(metrics, "shared_texts", LIST) if "shared_texts" in metrics else []
    return tuple(NAME.check(each, "shared_texts") for each in given)


def _read(row: Mapping[str, Any]) -> Curve:
    samples, given = field(row, "samples", COUNT), field(row, "way", NAME)
    way = next((known for known in WAYS if known == given), None)
    if way is None:
        raise Fault(f"a curve is of the unknown way {shown(given)}")
    points = [_point(way, OBJECT.check(each, "point")) for each in field(row, "points", LIST)]
    if samples < 2 or [point.k for point in points] != doublings(samples):
        raise Fault(f"a curve of {samples:,} samples has other points than such a curve has")
    return Curve(
        source=field(row, "source", NAME),
        samples=samples,
        way=way,
        needs_gold=field(row, "needs_gold", FLAG),
        points=tuple(points),
    )


def _point(way: Way, row: Mapping[str, Any]) -> CurvePoint:
    found = CurvePoint(
        way=way,
        k=field(row, "k", COUNT),
        accuracy=field(row, "accuracy", SHARE),
        low=field(row, "low", SHARE),
        high=field(row, "high", SHARE),
        tokens=field(row, "tokens", AMOUNT),
        error=field(row, "error", AMOUNT),
    )
    if not found.low - 1e-9 <= found.accuracy <= found.high + 1e-9:
        raise Fault(f"a curve's accuracy {found.accuracy:g} is not within its interval")
    return found


def _by_source(found: Sequence[Curve]) -> dict[str, list[Curve]]:
    """The curves of each source, in order."""
    sources: dict[str, list[Curve]] = {}
    for each in found:
        sources.setdefault(each.source, []).append(each)
    return sources


def curve_tables(found: Sequence[Curve]) -> list[tuple[str, list[list[str]]]]:
    """For each source a title and the cells of its table: a line a k, a column a way."""
    tables = []
    for source, own in _by_source(found).items():
        what = "drafts" if source == DRAFT else f"samples of {source}"
        title = one_line(f"k of {own[0].samples:,} {what}: accuracy in % with its 95 % interval")
        if error := max(point.error for each in own for point in each.points):
            title += f" (some from drawn subsets: standard error up to {100 * error:.2f})"
        lines = [["k", "tokens", *(each.name for each in own)]]
        for at, point in enumerate(own[0].points):
            lines.append([str(point.k), f"{point.tokens:.1f}", *(_cell(each.points[at]) for each in own)])
        tables.append((title, lines))
    return tables


def _cell(point: CurvePoint) -> str:
    return f"{100 * point.accuracy:.1f} ({100 * point.low:.1f}–{100 * point.high:.1f})"


def plain_curves(found: Sequence[Curve]) -> list[str]:
    """The tables as aligned lines of text."""
    text = []
    for title, lines in curve_tables(found):
        text += [title, *aligned(lines)]
    return text


_COLOURS: Mapping[Way, str] = {"pass": GREY, "best-of": BLUE, "maj": ORANGE, "weighted-maj": GREEN}


def curve_plots(found: Sequence[Curve]) -> list[str]:
    """For each source an SVG: accuracy against written tokens; empty where no tokens were counted."""
    plots = []
    for own in _by_source(found).values():
        counted = all(point.tokens > 0 for each in own for point in each.points)
        plots.append(lines_plot([_line(each) for each in own]) if counted else "")
    return plots


def _line(each: Curve) -> Line:
    dots = [Dot(x=p.tokens, value=p.accuracy, low=p.low, high=p.high, label="") for p in each.points]
    return Line(dots=dots, label=each.name, colour=_COLOURS[each.way])
