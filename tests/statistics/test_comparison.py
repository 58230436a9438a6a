"""Comparisons of two ways to answer: against hand-counted cases, published examples, and in simulation."""

import math
import random

import pytest

from refine_eval.errors import RunError
from refine_eval.statistics.comparison import Comparison, compare, together
from refine_eval.statistics.intervals import Cases, rate
from refine_eval.statistics.shares import holm


def cases(values: list[float]) -> Cases:
    return {str(at): (float(value), 1.0) for at, value in enumerate(values)}


def of(won: int, lost: int, both: int, neither: int) -> Comparison:
    """A comparison with these counts of problems."""
    one = [1.0] * won + [0.0] * lost + [1.0] * both + [0.0] * neither
    other = [0.0] * won + [1.0] * lost + [1.0] * both + [0.0] * neither
    return compare([(cases(one), cases(other))])


def test_wins_losses_and_the_exact_test() -> None:
    found = of(won=3, lost=9, both=20, neither=8)
    assert (found.first, found.second) == (23 / 40, 29 / 40)
    assert found.estimate.value == pytest.approx(-6 / 40)
    assert found.estimate.p_value == pytest.approx(0.14599609375)
    assert (found.won, found.lost) == (("0", "1", "2"), tuple(str(at) for at in range(3, 12)))
    assert not found.is_shown
    assert of(won=30, lost=5, both=60, neither=5).is_shown


def test_the_interval_is_agresti_and_mins() -> None:
    """Agresti and Min (2005), table of approval ratings: 1,600 people, 150 and 86 changed their minds."""
    estimate = of(won=150, lost=86, both=794, neither=570).estimate
    n = 1602
    spread = 1.959963984540054 * math.sqrt(237 - 64**2 / n) / n
    assert (estimate.low, estimate.high) == pytest.approx((64 / n - spread, 64 / n + spread))
    nothing = of(won=0, lost=0, both=50, neither=50)
    assert nothing.estimate.low == -nothing.estimate.high < 0
    assert (nothing.estimate.p_value, nothing.needed) == (1.0, None)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_problem_shows_nothing(seeds: int) -> None:
    found = compare([(cases([1.0]), cases([0.0]))] * seeds)
    assert found.estimate.value == 1
    assert (found.estimate.p_value, found.is_shown) == (1.0, False)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_no_difference(value: float) -> None:
    found = compare([(cases([value] * 30), cases([value] * 30))] * 2)
    assert (found.estimate.value, found.estimate.p_value, found.needed) == (0, 1, None)
    assert found.estimate.low < 0 < found.estimate.high


def test_problems_needed_are_those_of_the_textbook() -> None:
    """Connor (1987): discordant shares 0.2 and 0.1 with a power of 80 % at 5 % need 234 pairs, by his formula."""
    assert of(won=20, lost=10, both=60, neither=10).needed == 234


def test_needed_problems_show_the_difference_four_times_in_five() -> None:
    rng = random.Random(0)
    shown = 0
    for _ in range(300):
        kinds = rng.choices("wlbn", [20, 10, 60, 10], k=234)
        shown += of(*(kinds.count(kind) for kind in "wlbn")).is_shown
    assert 0.7 < shown / 300 < 0.87  # McNemar's exact test is a little less sure than Connor's


def test_differences_of_seeds_cannot_be_shown_by_problems() -> None:
    up, down = cases([1.0] * 55 + [0.0] * 45), cases([0.0] * 45 + [1.0] * 55)
    plain = cases([float(at % 2) for at in range(100)])
    assert compare([(cases([1.0] * 90 + [0.0] * 10), plain), (cases([0.0] * 60 + [1.0] * 40), plain)]).needed is None
    assert compare([(up, plain), (down, plain)]).needed is not None


def test_repeats_of_a_problem_are_one_problem() -> None:
    """Four equal answers to each problem say as much as one."""
    one, other = cases([0.75] * 12 + [0.25] * 18), cases([0.25] * 12 + [0.5] * 18)
    found = compare([(one, other)])
    assert found.estimate.problems == 30
    assert (len(found.won), len(found.lost)) == (12, 18)
    assert found.estimate.p_value > 0.4


def test_other_problems_are_refused() -> None:
    with pytest.raises(RunError, match="A and B are not over the same problems"):
        compare([(cases([1.0]), cases([1.0, 0.0]))], "A and B")


def test_holm_against_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    found = together([of(30, 5, 60, 5), of(9, 3, 20, 8)])
    assert found[0].adjusted == pytest.approx(2 * found[0].estimate.p_value)


# Simulations: problems differ in how hard they are, each answer has its own chance.


def draw(rng: random.Random, seeds: int, problems: int, gain: float, spread: float = 0.0) -> list[tuple[Cases, Cases]]:
    hard = [rng.gauss(0.5, 1) for _ in range(problems)]
    found = []
    for _ in range(seeds):
        effect = gain + rng.gauss(0, spread)
        found.append(tuple(cases([float(h + up + rng.gauss(0, 1) > 0) for h in hard]) for up in (effect, 0.0)))
    return [(one, other) for one, other in found]


def normal_share(mean: float, variance: float) -> float:
    return 0.5 * (1 + math.erf(mean / math.sqrt(2 * variance)))


@pytest.mark.parametrize(("seeds", "problems", "spread"), [(1, 120, 0.0), (3, 60, 0.0), (3, 60, 0.1)])
def test_no_more_than_the_promised_false_alarms(seeds: int, problems: int, spread: float) -> None:
    rng = random.Random(seeds)
    studies = 600 if seeds == 1 else 300
    alarms = sum(compare(draw(rng, seeds, problems, 0.0, spread)).is_shown for _ in range(studies))
    assert alarms / studies <= 0.055


def test_no_more_false_alarms_over_ten_comparisons() -> None:
    rng = random.Random(4)
    families, alarms = 200, 0
    for _ in range(families):
        hard = [rng.gauss(0.5, 1) for _ in range(60)]
        first, *others = (cases([float(h + rng.gauss(0, 1) > 0) for h in hard]) for _ in range(11))
        alarms += any(each.is_shown for each in together([compare([(first, other)]) for other in others]))
    assert alarms / families <= 0.055


@pytest.mark.parametrize(("seeds", "gain", "spread"), [(1, 0.3, 0.0), (1, 0.05, 0.0), (3, 0.3, 0.15)])
def test_intervals_hold_the_gain_and_the_accuracy(seeds: int, gain: float, spread: float) -> None:
    """Seeds that do not differ at all have wider intervals than they need: those of few seeds cannot know it."""
    rng = random.Random(10 * seeds)
    studies = 600 if seeds == 1 else 400
    accuracy = normal_share(0.5 + gain, 2 + spread**2)
    true = accuracy - normal_share(0.5, 2)
    held = held_accuracy = 0
    for _ in range(studies):
        pairs = draw(rng, seeds, 100, gain, spread)
        found = compare(pairs).estimate
        held += found.low <= true <= found.high
        share = rate([one for one, _ in pairs])
        assert share is not None
        held_accuracy += share.low <= accuracy <= share.high
    assert 0.93 <= held / studies <= 0.97
    assert 0.93 <= held_accuracy / studies <= 0.97


def test_intervals_hold_the_regret() -> None:
    """Regret is the share of problems with a right candidate that was not chosen."""
    rng = random.Random(3)
    held = 0
    for _ in range(1_000):
        true = rng.uniform(0.03, 0.2)
        share = rate([cases([float(rng.random() < true) for _ in range(150)])])
        assert share is not None
        held += share.low <= true <= share.high
    assert 0.93 <= held / 1_000 <= 0.97
