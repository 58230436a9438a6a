"""Makes the embedded tiny models from nothing: `python -m refine_eval_benchmarks.recipe_tiny --work DIR`.

Each stage writes one folder or file into DIR and is skipped if that exists, so an interrupted run goes on
where it stopped. Two stages run at a time, each in a process of its own with one thread, which is what two
cores do best with models this small and keeps every stage deterministic for the seed on one machine.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from refine_eval_benchmarks import recipe_tiny_stages as stages


class Stage(NamedTuple):
    """What makes an output of the work folder, and the outputs that it reads."""

    make: Callable[[Path, int], None]
    needs: tuple[str, ...] = ()


STAGES = {
    "student": Stage(stages.student),
    "backbone": Stage(stages.backbone),
    "critic-equations": Stage(stages.critic_equations, ("backbone",)),
    "critic-lines": Stage(stages.critic_lines, ("critic-equations",)),
    "critic": Stage(stages.critic, ("critic-lines",)),
    "samples.jsonl": Stage(stages.samples, ("student",)),
    "labels.jsonl": Stage(stages.labels, ("samples.jsonl",)),
    "orm": Stage(stages.orm, ("critic", "samples.jsonl")),
    "sorm": Stage(stages.sorm, ("critic", "labels.jsonl", "samples.jsonl")),
    "global": Stage(stages.global_refiner, ("student", "samples.jsonl")),
    "local": Stage(stages.local_refiner, ("student", "labels.jsonl")),
    "control": Stage(stages.control, ("student", "samples.jsonl")),
    "export/complete": Stage(stages.export, ("student", "orm", "sorm", "global", "local")),
    "figures.json": Stage(stages.figures, ("export/complete", "control")),
}
"""By the output in the work folder; the order is the order of starting when several could."""


def run(work: Path, seed: int, jobs: int) -> None:
    """Make all outputs that are missing, `jobs` stages at a time, each logged beside its output."""
    work.mkdir(parents=True, exist_ok=True)
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    while missing := [name for name in STAGES if not (work / name).exists()]:
        for name in missing:
            ready = all((work / need).exists() for need in STAGES[name].needs)
            if ready and name not in running and len(running) < jobs:
                command = [sys.executable, "-m", "refine_eval_benchmarks.recipe_tiny"]
                command += ["--work", str(work), "--seed", str(seed), "--stage", name]
                with (work / f"{name.replace('/', '-')}.log").open("wb") as log:
                    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
                    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
                running[name] = process, time.monotonic()
                print(f"{name}: started", flush=True)
        time.sleep(0.5)
        for name, (process, since) in list(running.items()):
            if (code := process.poll()) is not None:
                print(f"{name}: {time.monotonic() - since:.0f} s", flush=True)
                del running[name]
                if code:
                    for other, _ in running.values():
                        other.terminate()
                    raise SystemExit(f"stage {name} failed; see {work / name.replace('/', '-')}.log")


def main() -> None:
    """Run one stage, or all that are missing, and install the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for every stage's output")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="stages at a time (default: 2)")
    parser.add_argument("--stage", choices=list(STAGES), help="make this output only, from what is there")
    arguments = parser.parse_args()
    if arguments.stage:
        import torch

        torch.set_num_threads(1)
        STAGES[arguments.stage].make(arguments.work, arguments.seed)
    else:
        run(arguments.work, arguments.seed, arguments.jobs)
        from refine_eval_benchmarks.recipe_tiny_cards import install

        install(arguments.work, arguments.seed)


if __name__ == "__main__":
    main()
