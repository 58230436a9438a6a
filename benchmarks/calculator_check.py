"""How often the calculator calls solutions wrong, and rule 2 accepts them: on GSM8K's gold and recorded solutions.

    REFINE_EVAL_DATA=DIR python benchmarks/calculator_check.py
    REFINE_EVAL_DATA=DIR python benchmarks/calculator_check.py --sample 100 --seed 16    # recorded solutions, to read

An equation of a gold solution that is called wrong is a false alarm or a slip in the data. What the calculator misses
can only be found by reading: a sample is printed with what was read in each line, and what was made of it.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from refine_eval.errors import RefineEvalError
from refine_eval.formats import split_steps
from refine_eval.runs.settings import data_folder
from refine_eval.stages.rules import results_used
from refine_eval_refiners.equations import find_equations

RECORDED = "example_model_solutions.jsonl"


def rows_of(path: Path) -> list[dict[str, object]]:
    """The rows of a JSON lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def is_flagged(text: str) -> bool:
    """Whether an equation of a solution is called wrong."""
    return any(not equation.holds for step in split_steps(text) for equation in find_equations(step))


def summary(name: str, texts: Sequence[str]) -> str:
    """A line of counts: solutions with an equation called wrong, and equations read."""
    flagged = sum(map(is_flagged, texts))
    read = sum(len(find_equations(step)) for text in texts for step in split_steps(text))
    share = f"{100 * flagged / len(texts):.2f} %" if texts else "none"
    return f"{name}: {len(texts)} solutions, {read} equations read, {flagged} solutions with one called wrong ({share})"


def recorded_solutions(rows: Iterable[dict[str, object]]) -> list[tuple[str, bool]]:
    """The solutions of four models to each problem, and whether each comes to the right answer."""
    solutions = [value for row in rows for value in row.values() if isinstance(value, dict)]
    return [(str(solution["solution"]), bool(solution["is_correct"])) for solution in solutions]


def annotated(text: str) -> str:
    """A solution with what the calculator read under each of its lines."""
    lines = []
    for step in split_steps(text):
        found = [f"{'right' if e.holds else 'WRONG'}: {e.left} = {e.right}" for e in find_equations(step)]
        lines += [step, *(f"        {line}" for line in found)]
    return "\n".join(lines)


def main() -> None:
    """Prints the shares, or a sample to read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sample", type=int, metavar="N", help="Print N recorded solutions with what was read in them."
    )
    parser.add_argument("--seed", type=int, default=0, help="Draws the sample.")
    given = parser.parse_args()
    try:
        folder = data_folder(None)
    except RefineEvalError as error:
        sys.exit(str(error))
    if folder is None or not (folder / "gsm8k" / "train.jsonl").is_file():
        sys.exit("GSM8K's files were not found. Set REFINE_EVAL_DATA to a folder that holds gsm8k/train.jsonl.")
    recorded = folder / "gsm8k" / RECORDED
    solutions = recorded_solutions(rows_of(recorded)) if recorded.is_file() else []
    if given.sample is not None:
        drawn = random.Random(given.seed).sample(range(len(solutions)), min(given.sample, len(solutions)))
        for number in sorted(drawn):
            text, correct = solutions[number]
            print(f"=== {number}, {'right' if correct else 'wrong'} answer\n{annotated(text)}")
        return
    for split in ("train", "test"):
        gold = [str(row["answer"]) for row in rows_of(folder / "gsm8k" / f"{split}.jsonl")]
        accepted = sum(results_used(split_steps(text), []) for text in gold)
        print(summary(f"gold, {split}", gold))
        print(f"gold, {split}: rule 2 accepts {accepted} ({100 * accepted / len(gold):.1f} %)")
    print(summary("recorded, right answer", [text for text, correct in solutions if correct]))
    print(summary("recorded, wrong answer", [text for text, correct in solutions if not correct]))


if __name__ == "__main__":
    main()
