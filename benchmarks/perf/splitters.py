"""How long the bundled splitters take for 10,000 solutions of 2,000 characters: formulas, code, tables, prose."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time

from refine_eval.plugin.components import Splitter
from refine_eval.plugin.registry import registry

PARTS = (
    "To find out how many apples are left, we need the number of bags, and how many apples there are in each.\n",
    "2. **Subtract what she gives away**: She gives 15 apples to her brother, i.e. a bit less than a third of them.\n",
    "   \\[\n   48 - 15 = 33\n   \\]\n\n",
    "Therefore, there are \\(33\\) apples left. She then buys $7$ more, which she wanted all along, so it is 40.\n\n",
    "```python\ntotal = 4 * 12\n\nprint(total - 15)\n```\n\n",
    "| leg | hours | miles |\n|-----|-------|-------|\n| 1.  | 1.5   | 90    |\n\n",
    "### Step 3: Add up what was bought and what was found, and write down the answer\n\n",
)


def solutions(count: int, length: int) -> list[str]:
    """Texts of exactly this length."""
    rng = random.Random(0)
    weights = (6, 4, 3, 6, 1, 1, 2)
    found = []
    for _ in range(count):
        parts = rng.choices(PARTS, weights, k=length // 20)
        found.append("".join(itertools.chain(parts))[:length])
    return found


def main() -> None:
    """Prints a line for each splitter; exits with 1 where one takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--solutions", type=int, default=10_000)
    parser.add_argument("--characters", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=2.0, help="What each splitter may take, of one processor.")
    given = parser.parse_args()
    texts = solutions(given.solutions, given.characters)
    slow = []
    for found in registry().all("splitter"):
        assert isinstance(found.item, type)
        assert issubclass(found.item, Splitter)
        splitter = found.item()
        start = time.process_time()
        pieces = splitter.split(texts)
        seconds = time.process_time() - start
        assert ["".join(each) for each in pieces] == texts, f"{found.name} does not give the texts back"
        slow += [found.name] if seconds > given.seconds else []
        steps = sum(map(len, pieces)) / len(texts)
        sys.stdout.write(f"{found.name:12} {seconds:6.2f} s  {steps:6.1f} steps a solution\n")
    sys.exit(f"too slow: {', '.join(slow)}" if slow else 0)


if __name__ == "__main__":
    main()
