"""Solutions a second of the critic prm, which reads a solution once, against one reading for each of its steps.

    python benchmarks/perf/prm.py --model FOLDER --family rlhflow-prm --data GSM8K/train.jsonl [--solutions 32]

The solutions are those of the file that have so many steps. The same critic scores them whole, and step by step: the
prefixes of all solutions that end with their first step, then those with their second, so that no reading is shared.
Both go in turn, and must give the same scores, to 1e-4. Any causal language model will
do for the families that read one (rlhflow-prm, math-shepherd): the work does not depend on what it was trained for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common import CPU, add_timing_options, clock_of, in_turn, parser_of, print_rates, problems_of, ratio_of

from refine_eval.data import DRAFT, Candidate, Solution
from refine_eval.formats import join_steps, split_steps

CLOSE = 1e-4


def solutions_of(data: Path, steps: int, count: int) -> list[Candidate]:
    """The first solutions of the file with so many steps, without the line of the answer."""
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    found = [(row["question"], split_steps(row["answer"].partition("####")[0])) for row in rows]
    chosen = [each for each in found if len(each[1]) == steps][:count]
    problems = problems_of(question for question, _ in chosen)
    return [
        Candidate(id=DRAFT, problem=problem, solution=solution(of), origin=DRAFT, component="file", sample=0)
        for problem, (_, of) in zip(problems, chosen, strict=True)
    ]


def solution(steps: Sequence[str]) -> Solution:
    """These steps as a solution."""
    return Solution(text=join_steps(steps), steps=tuple(steps), answer=None, finish_reason="stop", tokens=0)


def main() -> None:
    """Prints both rates and their ratio."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--family", default="rlhflow-prm")
    parser.add_argument("--data", type=Path, required=True, help="GSM8K's file, or one of the same form")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--solutions", type=int, default=32)
    add_timing_options(parser)
    given = parser.parse_args()
    from refine_eval_prm.critic import PrmCritic, PrmOptions

    clock = clock_of(given)
    critic = PrmCritic(PrmOptions(model=given.model, family=given.family))
    critic.open(CPU)
    whole = solutions_of(given.data, given.steps, given.solutions)
    prefixes = [
        [replace(c, solution=solution(c.solution.steps[:end])) for c in whole] for end in range(1, given.steps + 1)
    ]
    scores: dict[str, list[float]] = {}
    tokens: dict[str, int] = {}

    def score(name: str, batches: Sequence[Sequence[Candidate]]) -> list[str]:
        found = [critic.critique(batch) for batch in batches]
        assert all(each.unscored is None for batch in found for each in batch), "shorter solutions, or another model"
        tokens[name] = sum(each.read_tokens or 0 for batch in found for each in batch)
        last = [[each.step_scores[-1] for each in batch] for batch in found]
        steps = zip(*last, strict=True) if len(batches) > 1 else [each.step_scores for each in found[0]]
        scores[name] = [score for of_solution in steps for score in of_solution]
        return []

    ways = {"one pass": lambda: score("one pass", [whole]), "a pass a step": lambda: score("a pass a step", prefixes)}
    seconds, _ = in_turn(ways, given.runs, clock)
    off = max(abs(a - b) for a, b in zip(*scores.values(), strict=True))
    assert off <= CLOSE, f"the scores differ by {off:.1e}"
    print(f"{len(whole)} solutions of {given.steps} steps, median of {given.runs} rounds; scores alike to {off:.0e}")
    print_rates(seconds, len(whole), "solutions/s")
    fewer = tokens["a pass a step"] / tokens["one pass"]
    print(f"{ratio_of(seconds, *ways):.1f} times as fast, {fewer:.1f} times fewer tokens")


if __name__ == "__main__":
    main()
