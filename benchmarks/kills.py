"""Kills commands at random moments until they end by themselves, and compares what they leave with an undisturbed one.

    python benchmarks/kills.py FOLDER --kills 20 --seed 0

Of `run`, `collect`, `label`, `train` and `recipe run`, on the bundled task with few problems: the outcome is made once
undisturbed, then anew in empty folders under SIGKILL. Outcomes must have the same files and bytes, but for times and
counts of texts that were not in the store yet, and no text or score that was stored may be written again, which the
store itself counts. FOLDER/kills.jsonl has a line for each outcome; the same command goes on after the last one. An
outcome that differs stays in FOLDER.

Commands run in forks of this process, which has imported everything heavy, so that moments fall into their work and
not into imports; a recipe starts its stages as processes of their own. In every other outcome of a recipe its stages
are left alive, as where only the parent is killed. For Linux.
"""

import argparse
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from refine_eval.runs.store import Store, store_path

STUDENT = Path(__file__).parent / "refine_eval_benchmarks/models/student"
SMALL = ("--batch-size", "8", "-q")  # few texts at a time, so that there is time to kill in
RECIPE = f"""
description: A student and its run.
every:
  train: {{lora-rank: 2, steps: 20, batch-size: 8, held-out: 0.1}}
stages:
  gold: {{do: collect, task: apples, gold: true, limit: 40}}
  first: {{do: train sft, on: $gold, base: {STUDENT}}}
  samples: {{do: collect, task: apples, limit: 20, samples: 2, model-args: {{pretrained: $first}}}}
  second: {{do: train expert-iteration, on: $samples, base: $first}}
  try: {{do: run, tasks: apples, limit: 20, critic: calculator, refiner: resample, model-args: {{pretrained: $second}}}}
"""
GIVEN = {
    "samples": ("collect", "--limit", "40", "--samples", "3", "--out", "samples", *SMALL),
    "gold": ("collect", "--gold", "--limit", "60", "--out", "gold", "-q"),
}
"""What the commands read, by its folder; made once."""
REFINE = (
    "--critic",
    "orm",
    "--where",
    "sorm",
    "--refiner",
    "local",
    "--refiner",
    "resample",
    "--resample-samples",
    "2",
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", "--limit", "40", "--name", "r", *REFINE, *SMALL),
    "collect": ("collect", "--limit", "60", "--samples", "4", "--out", "out", *SMALL),
    "label": ("label", "../../given/samples", "--rollouts", "6", "--out", "out", *SMALL),
    "train": (
        *("train", "sft", "../../given/gold", "--base", str(STUDENT), "--lora-rank", "4", "--held-out", "0.1"),
        *("--steps", "60", *SMALL, "--out", "out"),
    ),
    "recipe": ("recipe", "run", "chain.yaml", "--work", ".", "-q"),
}
HEAVY = (
    *("torch", "transformers", "peft", "accelerate", "datasets", "refine_eval.tasks.task", "refine_eval.cli.run"),
    *("refine_eval.engines.transformers_engine", "refine_eval.critics.token_classifier", "refine_eval.training.train"),
)
NOT_OUTCOME = re.compile(r"(^|/)(log|store\.sqlite.*|logs/.*|\.lock)$")
TIMES = ("seconds", "stage_seconds", "generated_now", "read_tokens", "cached_tokens", "flops")
"""What may differ: times, and what was read, as a run that goes on reads shared prefixes once more."""
LINES_OF_TIMES = re.compile(rf"^ *({'|'.join(TIMES)}): .*\n", re.MULTILINE)
HASHED_WITH_TIMES = "metrics.json"
COUNT_TWICE = """
CREATE TABLE written_twice (key BLOB);
CREATE TRIGGER generation_twice BEFORE INSERT ON generations WHEN EXISTS (SELECT 1 FROM generations WHERE key = NEW.key)
BEGIN INSERT INTO written_twice VALUES (NEW.key); END;
CREATE TRIGGER critique_twice BEFORE INSERT ON critiques WHEN EXISTS (SELECT 1 FROM critiques WHERE key = NEW.key)
BEGIN INSERT INTO written_twice VALUES (NEW.key); END;
"""


def start(words: Sequence[str], folder: Path) -> int:
    """The command in a fork that leads a session of its own; its process id. What it prints goes to FOLDER/log."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    sys.argv = ["refine-eval", *words]
    code = 1
    try:
        from refine_eval.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def alive(session: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        try:
            # after the name in brackets: state, parent, group, session: proc(5)
            state, _, _, of = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state not in "ZX":
            found.append(pid)
    return found


def wait(pid: int, until: float) -> int | None:
    """The exit code of a process; None if it still runs at `until`."""
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def kill(pid: int, with_children: bool) -> None:
    """Kills a command, with all that it started or alone; then those are waited for."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while left := alive(pid):
        for child in left if with_children else ():
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def prepare(folder: Path) -> None:
    """An empty folder with a recipe, and a store that counts what is written though it was stored."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "chain.yaml").write_text(RECIPE)
    Store(store_path(folder / "results")).close()
    with sqlite3.connect(store_path(folder / "results")) as db:
        db.executescript(COUNT_TWICE)
    db.close()


def counts(folder: Path) -> tuple[int, int, int]:
    """Texts and scores in the store, and how many were written though they were stored."""
    with sqlite3.connect(store_path(folder / "results")) as db:
        tables = ("generations", "critiques", "written_twice")
        texts, scores, twice = (db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
    db.close()
    return texts, scores, twice


def outcome(folder: Path) -> dict[str, str]:
    """What a command left: a hash of each file without its times, by its path."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if NOT_OUTCOME.search(name):
            continue
        content = path.read_bytes()
        if path.suffix == ".json":
            content = json.dumps(without_times(json.loads(content))).encode()
        elif path.suffix == ".yaml":
            content = LINES_OF_TIMES.sub("", content.decode()).encode()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def without_times(value: Any) -> Any:
    """Contents of a record without times, and without the hash of a file that holds some."""
    dropped = (*TIMES, HASHED_WITH_TIMES)
    if isinstance(value, dict):
        return {key: without_times(kept) for key, kept in value.items() if key not in dropped}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def undisturbed(words: Sequence[str], folder: Path) -> float:
    """Makes a command's outcome; the seconds that took."""
    began = time.monotonic()
    if wait(start(words, folder), float("inf")) != 0:
        sys.exit(f"{' '.join(words)} failed: {(folder / 'log').read_text()[-500:]}")
    return time.monotonic() - began


def killed(words: Sequence[str], folder: Path, within: float, draw: random.Random, orphans: bool) -> list[float]:
    """Kills a command at moments drawn from its time until it ends by itself; the moments."""
    moments: list[float] = []
    while True:
        moment = draw.uniform(0, within)
        pid = start(words, folder)
        code = wait(pid, time.monotonic() + moment)
        if code == 0:
            return moments
        if code is not None:
            raise RuntimeError(f"exit code {code}: {(folder / 'log').read_text()[-500:]}")
        kill(pid, with_children=not orphans)
        moments.append(round(moment, 2))


def compare(name: str, place: Path, kills: int, seed: int, tell: Callable[[str], None]) -> bool:
    """The kills of one command; whether all its outcomes were the undisturbed one."""
    words, log, good = COMMANDS[name], place / "kills.jsonl", place / name / "undisturbed"
    if not (good / "seconds").exists():
        prepare(good)
        (good / "seconds").write_text(str(undisturbed(words, good)))
    # Two candidates may be the same text, which a critic then scores twice at once: that is no work done again.
    within, expected, (texts, scores, twice) = float((good / "seconds").read_text()), outcome(good), counts(good)
    expected.pop("seconds")
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = [row for row in rows if (row["command"], row["seed"]) == (name, seed)]
    while sum(row["kills"] for row in done) < kills:
        number = len(done)
        folder = place / name / f"{seed}-{number}"
        prepare(folder)
        draw = random.Random(f"{seed} {name} {number}")
        row = {"command": name, "seed": seed, "number": number}
        try:
            moments = killed(words, folder, within, draw, orphans=name == "recipe" and number % 2 == 1)
            left, stored = outcome(folder), counts(folder)
            differing = sorted(path for path in left.keys() | expected.keys() if left.get(path) != expected.get(path))
            row |= {
                "kills": len(moments),
                "moments": moments,
                "differing": differing,
                "written_twice": max(0, stored[2] - twice),
            }
            row["good"] = not differing and stored[:2] == (texts, scores) and stored[2] <= twice
        except RuntimeError as error:
            row |= {"kills": 1, "good": False, "error": str(error)}
        if row["good"]:
            shutil.rmtree(folder)
        done.append(row)
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        tell(json.dumps(row))
    good_ones: int = sum(row["good"] for row in done)
    print(
        f"{name}: {sum(row['kills'] for row in done)} kills in {len(done)} outcomes, {good_ones} as undisturbed "
        f"({within:.1f} s, {texts} texts, {scores} scores), "
        f"{sum(row.get('written_twice', 0) for row in done)} written though stored",
        flush=True,
    )
    return good_ones == len(done)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--kills", type=int, default=20, help="of each command, at least (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--only", action="append", choices=COMMANDS, help="this command; may be repeated")
    parser.add_argument("--verbose", action="store_true", help="print a line for each outcome")
    asked = parser.parse_args()
    for module in HEAVY:
        importlib.import_module(module)
    place = asked.folder.resolve()
    for name, words in GIVEN.items():
        if not (place / "given" / name).exists():
            (place / "given").mkdir(parents=True, exist_ok=True)
            undisturbed(words, place / "given")
    tell = print if asked.verbose else lambda line: None
    good = [compare(name, place, asked.kills, asked.seed, tell) for name in asked.only or COMMANDS]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
