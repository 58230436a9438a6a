"""What became of each draft on its way to the answer: counted, and as a picture whose streams are problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from refine_eval.svg import plain_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """A way of `decisions.Flow` in words: right or wrong at both ends, and the decision between them."""

    key: str
    words: str
    before: bool
    between: str
    after: bool


FATES = tuple(
    Fate(key=key, words=words, before=before, between=between, after=after)
    for key, words, before, between, after in (
        ("won", "won: repaired", False, "a refinement is right", True),
        ("missed", "lost at choice: a right refinement was passed over", False, "a refinement is right", False),
        ("unrepaired", "lost at where or how: no refinement is right", False, "no refinement is right", False),
        ("let_through", "lost at when: wrong draft not refined", False, "not refined", False),
        ("lost", "lost at choice: right draft given up", True, "a refinement is wrong", False),
        ("held", "held: right, though a refinement is wrong", True, "a refinement is wrong", True),
        ("unbroken", "unbroken: refined, and no refinement is wrong", True, "no refinement is wrong", True),
        ("kept", "kept: right draft not refined", True, "not refined", True),
    )
)
"""Every problem has exactly one; those of drafts that were wrong come first."""


_WIDTH, _HEIGHT, _TOP, _GAP, _BAR = 680, 260, 28, 14, 12
_COLUMNS = (70, 330, 590)
"""Pixels from the left of the bars for drafts, decisions and answers."""

_COLOURS = {True: "#2a9d5c", False: "#d1495b"}

Node = tuple[Any, ...]


def picture(found: Mapping[str, int]) -> str:
    """The counts as streams from draft over decision to answer, each as thick as it has problems, as SVG.

    Streams carry `data-fate`, for a page to show their problems.
    """
    total = sum(found.values()) or 1
    streams = [(each, found[each.key]) for each in sorted(FATES, key=lambda each: not each.before) if found[each.key]]
    sides: tuple[dict[Node, int], ...] = ({}, {}, {})
    for each, n in streams:
        for side, node in zip(sides, _nodes(each), strict=True):
            side[node] = side.get(node, 0) + n
    for side in (sides[0], sides[2]):
        for is_right in (True, False):
            side.setdefault((is_right,), 0)
    scale = (_HEIGHT - _TOP - _GAP * max(map(len, sides))) / total
    places = [_places(side, scale) for side in sides]
    used: dict[tuple[int, str, Node], float] = {}
    parts = [_heads()]
    for each, n in streams:
        nodes = _nodes(each)
        for at in (0, 1):
            colour = _COLOURS[each.before if at == 0 else each.after]
            left = _take(used, (at, "out", nodes[at]), places[at], n * scale)
            right = _take(used, (at + 1, "in", nodes[at + 1]), places[at + 1], n * scale)
            parts.append(_stream(each, n, at, (left, right), n * scale, colour))
    for at, (side, place) in enumerate(zip(sides, places, strict=True)):
        parts += [_bar(at, node, n, place[node], n * scale) for node, n in side.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="flow" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" aria-label="From draft to answer">{"".join(parts)}</svg>\n'
    )


def _nodes(each: Fate) -> tuple[Node, Node, Node]:
    return (each.before,), (each.before, each.between), (each.after,)


def _places(side: Mapping[Node, int], scale: float) -> dict[Node, float]:
    """Pixels from the top of each bar: what is right above, what is wrong below."""
    places, y = {}, float(_TOP)
    for node in sorted(side, key=lambda node: not node[0]):
        places[node] = y
        y += side[node] * scale + _GAP
    return places


def _take(
    used: dict[tuple[int, str, Node], float], key: tuple[int, str, Node], place: Mapping[Node, float], height: float
) -> float:
    """Where on a bar the next stream begins."""
    start = used.get(key, place[key[2]])
    used[key] = start + height
    return start


def _stream(each: Fate, n: int, at: int, ends: tuple[float, float], height: float, colour: str) -> str:
    x0, x1 = _COLUMNS[at] + _BAR, _COLUMNS[at + 1]
    (y0, y1), middle = ends, (x0 + x1) / 2
    path = (
        f"M{x0},{y0:.1f} C{middle},{y0:.1f} {middle},{y1:.1f} {x1},{y1:.1f} V{y1 + height:.1f} "
        f"C{middle},{y1 + height:.1f} {middle},{y0 + height:.1f} {x0},{y0 + height:.1f} Z"
    )
    title = plain_text(f"{each.words}: {n:,}")
    return f'<path d="{path}" fill="{colour}" fill-opacity=".45" data-fate="{each.key}"><title>{title}</title></path>'


def _bar(at: int, node: Node, n: int, y: float, height: float) -> str:
    right, *between = node
    words = between[0] if between else "right" if right else "wrong"
    anchor, x = (("end", _COLUMNS[at] - 6), ("start", _COLUMNS[at] + _BAR + 6), ("start", _COLUMNS[at] + _BAR + 6))[at]
    return (
        f'<rect x="{_COLUMNS[at]}" y="{y:.1f}" width="{_BAR}" height="{max(height, 1):.1f}" fill="{_COLOURS[right]}"/>'
        f'<text x="{x}" y="{y + max(height, 1) / 2 + 4:.1f}" text-anchor="{anchor}" fill="currentColor">'
        f"{plain_text(words)} {n:,}</text>"
    )


def _heads() -> str:
    heads = zip(("draft", "decision", "answer"), _COLUMNS, strict=True)
    return "".join(
        f'<text x="{x + _BAR / 2:.0f}" y="14" text-anchor="middle" fill="currentColor">{words}</text>'
        for words, x in heads
    )
