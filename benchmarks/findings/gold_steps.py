"""How many steps the gold solutions of a task's test problems have: results/gold-steps.json, which the page reads.

    REFINE_EVAL_DATA=DIR python benchmarks/findings/gold_steps.py gsm8k_zero_shot

Run records hold no questions and no solutions, and data sets stay where they are; these counts are all that the page
needs of them. A task whose problems are made on the spot needs no counts.
"""

import argparse
import json
import sys
from pathlib import Path

from findings.records import read_gold_steps
from refine_eval.errors import RefineEvalError
from refine_eval.formats import split_steps
from refine_eval.plugin.registry import registry
from refine_eval.runs.settings import data_folder


def main() -> None:
    """Counts the lines but the last, which is the answer's, and writes them beside those of other tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("results/gold-steps.json"))
    given = parser.parse_args()
    from refine_eval.tasks.task import LmEvalTask  # loads lm_eval

    try:
        counts = read_gold_steps(given.out)
        for name in given.tasks:
            task = LmEvalTask(name, registry().benchmarks(), data_dir=data_folder(None))
            counts[name] = [len(split_steps(task.gold_text(problem))) - 1 for problem in task.questions("test")]
    except RefineEvalError as error:
        sys.exit(str(error))
    given.out.write_text(json.dumps(counts, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
