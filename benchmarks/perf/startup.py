"""How long commands take that only look at things, against importing what they must import. Prints a table.

python benchmarks/perf/startup.py
"""

import statistics
import subprocess
import sys
import tempfile
import time

from common import parser_of

BASE = [sys.executable, "-c", "import click, rich.table, pluggy, yaml"]
LOOK = [sys.executable, "-m", "refine_eval"]
COMMANDS = {
    "imports alone": BASE,
    "refine-eval --help": [*LOOK, "--help"],
    "refine-eval plugins list": [*LOOK, "plugins", "list"],
    "refine-eval tasks list": [*LOOK, "tasks", "list"],
    "refine-eval leaderboard": [*LOOK, "leaderboard"],
}


def main() -> None:
    """Runs the commands in turn, so that a slow moment of the machine hits all of them alike."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.runs):
            for name, command in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["imports alone"])
    for name, times in seconds.items():
        median = statistics.median(times)
        spread = f"({1000 * min(times):.0f}-{1000 * max(times):.0f})"
        print(f"{name:<26} {1000 * median:6.0f} ms  {median / base:4.2f} x  {spread}")


if __name__ == "__main__":
    main()
