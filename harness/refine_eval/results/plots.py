"""What a run's figures look like: accuracy against tokens, and critics' scores against truth."""

from __future__ import annotations

from collections.abc import Sequence

from refine_eval.results.ledger import Row
from refine_eval.results.table import label
from refine_eval.statistics.critic_quality import Bin
from refine_eval.svg import BLUE, GREY, Area, Dot, shares, tokens_plot
from refine_eval.terminal import one_line


def frontier_plot(rows: Sequence[Row], main: str) -> str:
    """Each row's accuracy under the filter `main` against its tokens a problem; what is no method is grey."""
    return tokens_plot(
        [
            Dot(
                x=row.tokens,
                value=row.accuracy(main),
                low=row.low,
                high=row.high,
                label=f"{one_line(label(row))} {100 * row.accuracy(main):.1f} %",
                colour=BLUE if row.is_method else GREY,
            )
            for row in rows
        ]
    )


def calibration_plot(bins: Sequence[Bin], critic: str) -> str:
    """Mean score of each tenth against the share that is right, with Wilson intervals; on the line they agree."""
    area = Area(end=1.0, low=0.0, high=1.0)
    return shares(
        area,
        [Dot(x=b.score, value=b.right, low=b.right_low, high=b.right_high, label=f"{b.drafts:,}") for b in bins],
        below=f"{one_line(critic)}'s score of the draft",
        beside="share of drafts that are right",
        ends=("0", "1"),
        behind=f'<path d="M{area.at(0, 0)} L{area.at(1, 1)}" stroke="#999" stroke-dasharray="4 4"/>',
    )
