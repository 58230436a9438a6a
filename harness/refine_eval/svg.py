"""Plots as SVG, with nothing to install: accuracy against tokens, scores against truth, losses by step."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

BLUE, GREY, ORANGE, GREEN = "#1d4ed8", "#888", "#c2410c", "#15803d"

_LETTER = 6.5
"""Mean width of a letter, in pixels, on the safe side."""

_LABEL_HEIGHT = 13


@dataclass(frozen=True, kw_only=True)
class Area:
    """Where values lie in a picture: x from 0 to `end`, y from `low` to `high`, within the margins."""

    end: float
    low: float
    high: float
    width: int = 640
    height: int = 360
    left: int = 60
    right: int = 150
    top: int = 20
    bottom: int = 50

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return self.left + (self.width - self.left - self.right) * value / self.end

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.top + (self.height - self.top - self.bottom) * (self.high - value) / ((self.high - self.low) or 1)

    def at(self, x: float, y: float) -> str:
        """A place as SVG writes it."""
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def picture(self, inside: str) -> str:
        """The whole picture, on white."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{inside}</svg>\n'
        )


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A share with its interval and its label."""

    x: float
    value: float
    low: float
    high: float
    label: str
    colour: str = BLUE


@dataclass(frozen=True, kw_only=True)
class Line:
    """Dots that belong together; the label stands at the last one."""

    dots: Sequence[Dot]
    label: str
    colour: str = BLUE


def shares(area: Area, dots: Sequence[Dot], *, below: str, beside: str, ends: tuple[str, str], behind: str = "") -> str:
    """Dots in a frame whose upright axis is of percents; labels that would lie on each other are moved down."""
    ground, end = area.height - area.bottom, area.width - area.right
    axes = f'<path d="M{area.left},{area.top} V{ground} H{end}" fill="none" stroke="black"/>'
    upright = "".join(
        f'<text x="{area.left - 8}" y="{area.y(value) + 4:.1f}" text-anchor="end">{100 * value:.4g} %</text>'
        for value in (area.low, (area.low + area.high) / 2, area.high)
    )
    along = (
        f'<text x="{area.left}" y="{ground + 18}">{ends[0]}</text><text x="{end}" y="{ground + 18}">{ends[1]}</text>'
    )
    words = (
        f'<text x="{(area.left + end) / 2:.0f}" y="{area.height - 12}" text-anchor="middle">{plain_text(below)}</text>'
        f'<text x="{area.left + 8}" y="{area.top}">{plain_text(beside)}</text>'
    )
    return area.picture(axes + upright + along + words + behind + _dots(area, dots))


def _dots(area: Area, dots: Sequence[Dot]) -> str:
    labels: list[tuple[float, float, float]] = []
    parts = []
    for dot in dots:
        x, y = area.x(dot.x), area.y(dot.value)
        end, label_y = x + _LETTER * (len(dot.label) + 1), y
        while any(
            x < other_end and other < end and abs(label_y - taken) < _LABEL_HEIGHT for other, other_end, taken in labels
        ):
            label_y += 1
        labels.append((x, end, label_y))
        parts.append(
            f'<path d="M{area.at(dot.x, dot.low)} L{area.at(dot.x, dot.high)}" stroke="{dot.colour}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{dot.colour}"/>'
            f'<text x="{x + 8:.1f}" y="{label_y + 4:.1f}">{plain_text(dot.label)}</text>'
        )
    return "".join(parts)


def tokens_plot(dots: Sequence[Dot]) -> str:
    """Accuracy against generated tokens a problem."""
    area = Area(
        end=1.05 * max(dot.x for dot in dots) or 1.0,
        low=math.floor(100 * min(dot.low for dot in dots)) / 100,
        high=math.ceil(100 * max(dot.high for dot in dots)) / 100,
    )
    ends = ("0", f"{area.end:.0f}")
    return shares(area, dots, below="generated tokens a problem", beside="right answers", ends=ends)


def lines_plot(lines: Sequence[Line]) -> str:
    """Accuracy against generated tokens a problem, above 0 and on a logarithmic scale, as lines."""
    dots = [dot for line in lines for dot in line.dots]
    least, most = min(dot.x for dot in dots), max(dot.x for dot in dots)
    area = Area(
        end=math.log(most / least) or 1.0,
        low=math.floor(100 * min(dot.low for dot in dots)) / 100,
        high=math.ceil(100 * max(dot.high for dot in dots)) / 100,
    )
    placed = [
        [replace(dot, x=math.log(dot.x / least), colour=line.colour, label="") for dot in line.dots] for line in lines
    ]
    drawn = "".join(
        f'<polyline points="{" ".join(area.at(dot.x, dot.value) for dot in some)}" fill="none" '
        f'stroke="{line.colour}" stroke-width="1.5"/>'
        for line, some in zip(lines, placed, strict=True)
    )
    last = [replace(some[-1], label=line.label) for line, some in zip(lines, placed, strict=True)]
    return shares(
        area,
        [dot for some in placed for dot in some[:-1]] + last,
        below="generated tokens a problem (logarithmic)",
        beside="right answers",
        ends=(f"{least:.0f}", f"{most:.0f}"),
        behind=drawn,
    )


def log_plot(line: Sequence[tuple[int, float]], dots: Sequence[tuple[int, float]], words: str) -> str:
    """Positive values by step on a logarithmic scale: some as a line, some as dots; `words` stand below."""
    line, dots = ([(step, value) for step, value in points if value > 0] for points in (line, dots))
    points = [*line, *dots]
    if not points:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320"/>\n'
    last = max(step for step, _ in points)
    area = Area(
        end=last,
        low=math.log10(min(value for _, value in points)),
        high=math.log10(max(value for _, value in points)),
        height=320,
        right=20,
        bottom=40,
    )
    span = (area.high - area.low) or 1
    marks = [area.high - part * span for part in (0, 0.5, 1)]
    labels = "".join(f'<text x="8" y="{area.y(mark) + 4:.0f}">{10**mark:.3g}</text>' for mark in marks)
    drawn = " ".join(area.at(step, math.log10(value)) for step, value in line)
    circles = "".join(
        f'<circle cx="{area.x(step):.1f}" cy="{area.y(math.log10(value)):.1f}" r="4" fill="{ORANGE}"/>'
        for step, value in dots
    )
    return area.picture(
        f'{labels}<polyline points="{drawn}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>{circles}'
        f'<text x="60" y="{area.height - 12}">steps 0 to {last}: {plain_text(words)}</text>'
    )


def plain_text(text: str) -> str:
    """A text inside a picture."""
    return html.escape(text, quote=False)
