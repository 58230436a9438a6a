"""What looking at records costs: CPU seconds and memory of each command, on a made run of the size of GSM8K.

python benchmarks/perf/analysis.py
"""

import random
import shutil
import sys
import tempfile
from pathlib import Path

from common import measured, parser_of

from refine_eval.data import Candidate, Critique, Problem, Solution, Trace
from refine_eval.results.ledger import rows
from refine_eval.results.records import write_run
from refine_eval.results.tables import row_to_json

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
WORDS = ("number", "of", "apples", "is", "then", "multiplied", "by", "seven", "so", "she", "sells", "42", "dozen")
SETTINGS = {
    "command": "refine-eval run",
    "task": {"name": "gsm8k"},
    "model": {"name": "made"},
    "machine": "none",
    **{role: {"name": "orm", "options": {}} for role in ("when", "where", "choose")},
    "refiners": [{"name": "resample", "options": {}}],
    "selectors": [{"name": "rerank", "options": {}}],
    "refine_below": None,
}
COMMANDS = {
    "ledger": ("ledger", "made-0"),
    "ledger --equal-cost": ("ledger", "made-0", "--equal-cost"),
    "compare with its draft": ("compare", "made-0", "made-0:draft"),
    "compare two runs": ("compare", "made-0", "made-1"),
    "leaderboard": ("leaderboard", "--own"),
    "report": ("report", "made-0"),
    "replay": ("replay", "made-0", "--selector", "rerank"),
    "doctor": ("doctor",),
}


def main() -> None:
    """Makes the records, runs each command in a process of its own, and prints a line for each."""
    parser = parser_of(__doc__)
    parser.add_argument("--problems", type=int, default=1_319)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--records", type=int, default=1_000, help="of the published leaderboard")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        for seed in range(2):
            make_run(results, seed, given.problems, given.candidates)
        for name, words in COMMANDS.items():
            show(name, words, folder)
        publish(results / "published", given.records)
        show(f"leaderboard of {given.records:,}", ("leaderboard",), folder)
        show("the same again", ("leaderboard", "--check"), folder)


def make_run(results: Path, seed: int, problems: int, candidates: int) -> None:
    """The record of a run that drew samples, at random right or wrong, of nine steps each."""
    rng = random.Random(seed)
    traces = [trace(rng, f"gsm8k/{number}", candidates) for number in range(problems)]
    metrics = {"filter": "strict", "rows": [row_to_json(row) for row in rows(traces, "strict")]}
    settings = {**SETTINGS, "seed": seed}
    write_run(results, f"made-{seed}", settings=settings, traces=traces, metrics=metrics, lm_eval_results={})


def trace(rng: random.Random, name: str, candidates: int) -> Trace:
    """A problem with a draft and samples."""
    problem, made, critiques = Problem(id=name, task="gsm8k", question="", prompt=""), [], {}
    for number in range(candidates):
        steps = tuple(" ".join(rng.choices(WORDS, k=12)) for _ in range(9))
        scores = tuple(round(rng.random(), 6) for _ in steps)
        answer = str(rng.randrange(5))
        solution = Solution(text="\n".join(steps), steps=steps, answer=answer, finish_reason="stop", tokens=200)
        made.append(
            Candidate(
                id=f"1.resample.{number - 1}" if number else "draft",
                problem=problem,
                solution=solution,
                origin="refinement" if number else "draft",
                component="resample" if number else "student",
                sample=max(0, number - 1),
                round=min(number, 1),
                parent="draft" if number else None,
            )
        )
        judged = Critique(score=scores[-1], step_scores=scores, first_bad_step=0 if scores[0] < 0.5 else None)
        critiques[made[-1].id] = {"choose": judged} if number else dict.fromkeys(("when", "where", "choose"), judged)
    return Trace(
        problem=problem,
        candidates=tuple(made),
        critiques=critiques,
        refined=True,
        selected={"rerank": max(made, key=lambda each: critiques[each.id]["choose"].score).id},
        correct={each.id: {"strict": rng.random() < 0.5} for each in made},
    )


def publish(folder: Path, records: int) -> None:
    """Copies of published records of three seeds."""
    for number in range(records):
        shutil.copytree(PUBLISHED / f"tiny-{number % 3}-glore", folder / f"copy-{number}")


def show(name: str, words: tuple[str, ...], folder: str) -> None:
    """Runs a command and prints what it took."""
    # What `doctor` finds on this machine is its own affair.
    command = [sys.executable, "-m", "refine_eval", *words]
    seconds, memory = measured(command, Path(folder), may_fail=words == ("doctor",))
    print(f"{name:<24} {seconds:6.1f} s of CPU  {memory:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
