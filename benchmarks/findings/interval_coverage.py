"""How often the interval over problems and seeds (refine_eval.statistics.intervals) holds the truth, in simulation.

    python benchmarks/findings/interval_coverage.py

Problems differ in how hard they are and in what the method gains on them, each answer has its own chance, and each
seed's method is better or worse on all problems by a normal amount of the size in the second column. About two minutes.
"""

import argparse
import random

from refine_eval.statistics.intervals import Cases, Estimate, paired_difference

TRUTH_DRAWS = 200_000
CASES = ((1, 0.0), (3, 0.0), (3, 0.1), (3, 0.3), (3, 1.0))


def answers(rng: random.Random, ability: float, gain: float, seed_effect: float) -> tuple[float, float]:
    """Whether the method and the baseline answer one problem rightly."""
    return float(ability + gain + seed_effect + rng.gauss(0, 1) > 0), float(ability + rng.gauss(0, 1) > 0)


def truth(rng: random.Random, spread: float) -> float:
    """The mean difference over all problems and seeds."""
    draws = [answers(rng, rng.gauss(0, 1), rng.gauss(0.3, 1), rng.gauss(0, spread)) for _ in range(TRUTH_DRAWS)]
    return sum(method - baseline for method, baseline in draws) / TRUTH_DRAWS


def experiment(rng: random.Random, seeds: int, problems: int, spread: float) -> Estimate:
    """One study: the same problems with each seed."""
    drawn = [(rng.gauss(0, 1), rng.gauss(0.3, 1)) for _ in range(problems)]
    pairs: list[tuple[Cases, Cases]] = []
    for _ in range(seeds):
        effect = rng.gauss(0, spread)
        found = [answers(rng, ability, gain, effect) for ability, gain in drawn]
        one, other = ({str(i): (pair[side], 1.0) for i, pair in enumerate(found)} for side in (0, 1))
        pairs.append((one, other))
    estimate = paired_difference(pairs)
    assert estimate is not None, "every problem counts"
    return estimate


def main() -> None:
    """Simulates and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--studies", type=int, default=1_500)
    given = parser.parse_args()
    rng = random.Random(1)
    print("seeds  differ by  interval holds the truth  half of its width, points")
    for seeds, spread in CASES:
        true = truth(rng, spread)
        found = [experiment(rng, seeds, given.problems, spread) for _ in range(given.studies)]
        held = sum(e.low <= true <= e.high for e in found) / len(found)
        width = sum(e.high - e.low for e in found) / 2 / len(found)
        print(f"{seeds:>5}  {spread:>9.1f}  {100 * held:>22.1f} %  {100 * width:>25.1f}", flush=True)


if __name__ == "__main__":
    main()
