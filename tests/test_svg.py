"""Plots: readable labels, harmless text, values where they belong."""

import itertools
import re
from xml.etree import ElementTree

import pytest

from refine_eval.svg import Dot, Line, lines_plot, log_plot, tokens_plot

SVG = "{http://www.w3.org/2000/svg}"


def dot(label: str, x: float = 10.0, value: float = 0.5) -> Dot:
    return Dot(x=x, value=value, low=value - 0.1, high=value + 0.1, label=label)


def texts(plot: str) -> dict[str, float]:
    """Each text with its height in pixels."""
    return {str(found.text): float(found.attrib["y"]) for found in ElementTree.fromstring(plot).iter(f"{SVG}text")}


def test_labels_of_equal_values_do_not_lie_on_each_other() -> None:
    found = texts(tokens_plot([dot("one"), dot("two"), dot("three")]))
    heights = sorted(found[name] for name in ("one", "two", "three"))
    assert all(after - before >= 13 for before, after in itertools.pairwise(heights))


def test_higher_values_are_higher_up_and_labels_are_only_text() -> None:
    found = texts(tokens_plot([dot("low", value=0.3), dot("<script>&high", x=90.0, value=0.7)]))
    assert found["<script>&high"] < found["low"]


def test_losses_are_on_a_logarithmic_scale() -> None:
    plot = log_plot([(0, 100.0), (5, 10.0), (10, 1.0), (11, 0.0)], [(10, 1.0)], "loss")
    places = re.search(r'points="([^"]*)"', plot)
    assert places is not None
    assert places.group(1) == "60.0,20.0 340.0,150.0 620.0,280.0", "zero has no logarithm"
    assert 'cx="620.0" cy="280.0"' in plot
    assert texts(plot) == {"100": 24, "10": 154, "1": 284, "steps 0 to 10: loss": 308}
    assert texts(log_plot([], [(1, 0.0)], "loss")) == {}


def test_lines_join_their_dots_and_have_one_label_at_the_last() -> None:
    lines = [
        Line(dots=[dot("", x=10.0 * 2**n, value=0.2 + n / 10) for n in range(3)], label="maj@k", colour="#15803d"),
        Line(dots=[dot("", x=10.0, value=0.5)], label="<b>one"),
    ]
    plot = lines_plot(lines)
    assert {"maj@k", "<b>one", "10", "40"} <= texts(plot).keys()
    places = [found.split() for found in re.findall(r'points="([^"]*)"', plot)]
    assert [len(found) for found in places] == [3, 1]
    across = [float(place.partition(",")[0]) for place in places[0]]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2), "each doubling is as far"
    assert plot.count("<circle") == 4
