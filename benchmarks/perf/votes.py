"""How long votes over boxed answers take with math-verify: problems x answers, hostile expressions among them."""

from __future__ import annotations

import argparse
import random
import resource
import time
from collections.abc import Sequence

HOSTILE = (
    "9^9^9^9",
    "(" * 10_000 + "1" + ")" * 10_000,
    "\\frac",
    "\\sqrt{" * 100,
    "x^{x^{x^{x^{x}}}}",
    "10^{10^{10}}!",
)
"""What a model may put into a box, and what must not hold a vote up."""


def spellings(number: int) -> list[str]:
    """Ways to write number / 4, which is one answer, and a few that are others."""
    return [
        *(f"\\frac{{{number}}}{{4}}", f"{number}/4", f"{number / 4:g}", f"\\dfrac{{{2 * number}}}{{8}}"),
        *(f"\\frac{{{number}}}{{5}}", f"{number}\\sqrt{{3}}", f"({number}, 4)", f"x = {number}", f"{number}\\pi"),
    ]


def made(problems: int, answers: int, seed: int) -> list[list[str]]:
    """Answers of each problem; one problem in a hundred has a hostile one."""
    draw = random.Random(seed)
    lists = [draw.choices(spellings(2 * number + 1), k=answers) for number in range(problems)]
    for number in range(0, problems, 100):
        lists[number][0] = HOSTILE[number // 100 % len(HOSTILE)]
    return lists


def cpu() -> float:
    """CPU seconds of this process and of those that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(lists: Sequence[Sequence[str]]) -> tuple[float, float, int]:
    """Seconds, from a cold start, CPU seconds, and the number of different answers that were found."""
    from refine_eval.tasks.equivalence import MathVerify  # takes seconds

    judge = MathVerify()
    start, cpu_start = time.perf_counter(), cpu()
    try:
        classes = judge.classes(lists)
    finally:
        judge.close()
    return time.perf_counter() - start, cpu() - cpu_start, sum(len(set(each)) for each in classes)


def main() -> None:
    """Prints the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1319)
    parser.add_argument("--answers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lists = made(given.problems, given.answers, given.seed)
    seconds, of_cpu, groups = timed(lists)
    what = f"{given.problems:,} problems x {given.answers} answers"
    print(f"{what}: {seconds:.1f} s, {of_cpu:.1f} s of CPU, {groups:,} different answers")


if __name__ == "__main__":
    main()
