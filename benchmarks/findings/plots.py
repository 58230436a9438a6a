"""The findings page's plots."""

from __future__ import annotations

from collections.abc import Sequence

from refine_eval.statistics.critic_quality import Bin
from refine_eval.svg import Area, Dot, shares


def calibration_plot(bins: Sequence[Bin]) -> str:
    """Mean score of each tenth against the share that is right, with Wilson intervals; on the line they agree."""
    area = Area(end=1.0, low=0.0, high=1.0)
    return shares(
        area,
        [Dot(x=b.score, value=b.right, low=b.right_low, high=b.right_high, label=f"{b.drafts:,}") for b in bins],
        below="the ORM's score of the draft",
        beside="share of drafts that are right",
        ends=("0", "1"),
        behind=f'<path d="M{area.at(0, 0)} L{area.at(1, 1)}" stroke="#999" stroke-dasharray="4 4"/>',
    )
