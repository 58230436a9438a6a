"""The findings page's plots, as SVG without anything to install."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from refine_eval.statistics.critic_quality import Bin

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 360, 60, 150, 20, 50
_LETTER = 6.5
"""Mean width of a letter, in pixels, on the safe side."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """An answer in the plot: generated tokens a problem, accuracy with its interval, and whether it sees gold."""

    label: str
    tokens: float
    value: float
    low: float
    high: float
    needs_gold: bool


def calibration_plot(bins: Sequence[Bin]) -> str:
    """Mean score of each tenth against the share that is right, with Wilson intervals; on the line they agree."""
    frame = _Frame(right=1.0, low=0.0, high=1.0)
    line = f'<path d="M{frame.at(0, 0)} L{frame.at(1, 1)}" stroke="#999" stroke-dasharray="4 4"/>'
    dots = "".join(
        frame.dot(found.score, found.right, found.right_low, found.right_high, f"{found.drafts:,}", "#1d4ed8")
        for found in bins
    )
    return frame.svg(line + dots, "the ORM's score of the draft", "share of drafts that are right", ("0", "1"))


def tokens_plot(points: Sequence[Point]) -> str:
    """Accuracy against generated tokens a problem; upper bounds, which see the gold answers, in grey."""
    frame = _Frame(
        right=1.05 * max(point.tokens for point in points) or 1.0,
        low=math.floor(100 * min(point.low for point in points)) / 100,
        high=math.ceil(100 * max(point.high for point in points)) / 100,
    )
    dots = "".join(
        frame.dot(p.tokens, p.value, p.low, p.high, p.label, "#888" if p.needs_gold else "#1d4ed8") for p in points
    )
    return frame.svg(dots, "generated tokens a problem", "right answers", ("0", f"{frame.right:.0f}"))


class _Frame:
    """Axes from 0 to `right` and from `low` to `high`; labels that would lie on each other are moved down."""

    def __init__(self, *, right: float, low: float, high: float) -> None:
        self.right, self.low, self.high = right, low, high if high > low else low + 1
        self._labels: list[tuple[float, float, float]] = []

    def _x(self, value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self.right

    def _y(self, value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (self.high - value) / (self.high - self.low)

    def at(self, x: float, y: float) -> str:
        """A place as SVG writes it."""
        return f"{self._x(x):.1f},{self._y(y):.1f}"

    def dot(self, x: float, y: float, low: float, high: float, text: str, colour: str) -> str:
        """A dot with its interval and its label."""
        at, height = self._x(x), self._y(y)
        end, text_y = at + _LETTER * (len(text) + 1), height
        while any(
            at < other_end and other < end and abs(text_y - taken) < 13 for other, other_end, taken in self._labels
        ):
            text_y += 1
        self._labels.append((at, end, text_y))
        return (
            f'<path d="M{self.at(x, low)} L{self.at(x, high)}" stroke="{colour}"/>'
            f'<circle cx="{at:.1f}" cy="{height:.1f}" r="4" fill="{colour}"/>'
            f'<text x="{at + 8:.1f}" y="{text_y + 4:.1f}">{text}</text>'
        )

    def svg(self, inside: str, below: str, beside: str, ends: tuple[str, str]) -> str:
        """The whole picture."""
        ground, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        axes = f'<path d="M{_LEFT},{_TOP} V{ground} H{end}" fill="none" stroke="black"/>'
        upright = "".join(
            f'<text x="{_LEFT - 8}" y="{self._y(value) + 4:.1f}" text-anchor="end">{100 * value:.4g} %</text>'
            for value in (self.low, (self.low + self.high) / 2, self.high)
        )
        along = (
            f'<text x="{_LEFT}" y="{ground + 18}">{ends[0]}</text><text x="{end}" y="{ground + 18}">{ends[1]}</text>'
        )
        words = (
            f'<text x="{(_LEFT + end) / 2:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">{below}</text>'
            f'<text x="{_LEFT + 8}" y="{_TOP}">{beside}</text>'
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>{axes}{upright}{along}{words}{inside}'
            "</svg>\n"
        )
