"""What grows with a run, a store and a leaderboard: time and memory at several sizes, each in a process of its own.

python benchmarks/perf/growth.py run          # problems with four recorded candidates each
python benchmarks/perf/growth.py store        # rows of one store
python benchmarks/perf/growth.py leaderboard  # records, all of them different
"""

import gzip
import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from common import measured, parser_of

from refine_eval.data import Generation
from refine_eval.runs.store import Store

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
FIELDS = ("draft", "one", "two", "three")
RUN = (
    *("run", "--tasks", "gsm8k_zero_shot", "--model", "recorded", "--name", "growth", "--overwrite"),
    *("--critic", "agreement", "--agreement-samples", "3"),
    *("--refiner", "resample", "--resample-samples", "3", "--selector", "rerank", "--selector", "vote", "-q"),
)


def main() -> None:
    """Measures what was named, smallest size first."""
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=["run", "store", "leaderboard", "look-up"])
    parser.add_argument("--sizes", type=int, nargs="+", help="problems, rows or records")
    parser.add_argument("--runs", type=int, default=1, help="the best of so many is printed")
    parser.add_argument("--in", dest="folder", type=Path, help="where files are made; default: a temporary folder")
    given = parser.parse_args()
    if given.what == "look-up":  # the measured process
        look_up(given.folder, given.sizes[0])
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        {"run": grow_run, "store": grow_store, "leaderboard": grow_leaderboard}[given.what](
            Path(folder), given.sizes, given.runs
        )


def grow_run(folder: Path, sizes: list[int] | None, runs: int) -> None:
    """A whole run of the command line: CPU seconds and memory per candidate, beside those of the smallest size."""
    first: tuple[float, int] | None = None
    print(f"{'candidates':>12}{'CPU s':>10}{'ms each':>10}{'MB':>8}{'KB each above the first':>26}")
    for problems in sizes or [1_000, 10_000, 100_000]:
        data = make_problems(folder / str(problems), problems)
        arguments = f"path={data / 'recorded.jsonl'},field={FIELDS[0]},samples={'+'.join(FIELDS[1:])}"
        found = []
        for number in range(runs):
            words = (*RUN, "--model-args", arguments, "--data-dir", str(data), "--results", str(data / str(number)))
            found.append(measured((sys.executable, "-m", "refine_eval", *words), data))
        seconds, memory = min(found)
        candidates = problems * len(FIELDS)
        first = first or (memory, candidates)
        more = (memory - first[0]) / (candidates - first[1]) * 1000 if candidates > first[1] else float("nan")
        print(
            f"{candidates:12,}{seconds:10.1f}{seconds / candidates * 1000:10.2f}{memory:8.0f}{more:26.2f}", flush=True
        )


def grow_store(folder: Path, sizes: list[int] | None, runs: int) -> None:
    """A store of so many rows: seconds to open it, and to look 100,000 of its keys up."""
    print(f"{'rows':>12}{'GB':>8}{'open, s':>10}{'100,000 keys, s':>18}{'MB':>8}")
    done = 0
    path = folder / "store.sqlite"
    for rows in sizes or [100_000, 1_000_000, 10_000_000]:
        with Store(path) as store:
            for start in range(done, rows, 50_000):
                store.put_generations(made_rows(range(start, min(start + 50_000, rows))))
        done = rows
        command = (sys.executable, __file__, "look-up", "--in", str(folder), "--sizes", str(rows))
        found = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(runs)]
        opened, looked, memory = min(tuple(map(float, each.split())) for each in found)
        size = path.stat().st_size / 1e9
        print(f"{rows:12,}{size:8.2f}{opened:10.3f}{looked:18.2f}{memory:8.0f}", flush=True)


def look_up(folder: Path, rows: int) -> None:
    """Prints seconds to open, seconds to look up, and megabytes."""
    keys = [key_of(number) for number in random.Random(0).sample(range(rows), min(rows, 100_000))]
    started = time.perf_counter()
    with Store(folder / "store.sqlite") as store:
        opened = time.perf_counter()
        found = store.generations(keys)
        ended = time.perf_counter()
    assert len(found) == len(keys), "a row is missing"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(opened - started, ended - opened, memory)


def grow_leaderboard(folder: Path, sizes: list[int] | None, runs: int) -> None:
    """The leaderboard of so many records, no two alike: CPU seconds the first time, and again."""
    print(f"{'records':>12}{'seeds of each':>15}{'first, s':>10}{'again, s':>10}{'MB':>8}")
    for records in sizes or [10, 100, 1_000]:
        for seeds in (1, 3):
            there = folder / f"{records}-{seeds}"
            for number in range(records):
                make_record(there / "results" / "published" / f"record-{number}", number, seeds)
            command = (sys.executable, "-m", "refine_eval", "leaderboard")
            first, memory = measured(command, there)
            again = min(measured(command, there)[0] for _ in range(runs))
            print(f"{records:12,}{seeds:15}{first:10.2f}{again:10.2f}{memory:8.0f}", flush=True)


def make_problems(folder: Path, problems: int) -> Path:
    """A data folder with GSM8K's files of so many made problems, and recorded solutions of them."""
    (folder / "gsm8k").mkdir(parents=True)
    rng = random.Random(0)
    with open(folder / "gsm8k" / "test.jsonl", "w") as test, open(folder / "recorded.jsonl", "w") as recorded:
        for number in range(problems):
            boxes, apples = rng.randrange(2, 99), rng.randrange(2, 99)
            question = (
                f"In shop {number} there are {boxes} boxes of {apples} apples each, and {number} more lie on a table. "
                "Half of the apples in the boxes are sold on Monday. How many apples were there before that?"
            )
            answer = boxes * apples + number
            gold = {"question": question, "answer": f"{boxes}*{apples}={boxes * apples}\n#### {answer}"}
            written = {name: solution(rng, boxes, apples, number) for name in FIELDS}
            print(json.dumps(gold), file=test)
            print(json.dumps({"question": question, **written}), file=recorded)
    shutil.copy(folder / "gsm8k" / "test.jsonl", folder / "gsm8k" / "train.jsonl")
    return folder


def solution(rng: random.Random, boxes: int, apples: int, more: int) -> dict[str, str | int]:
    """A solution of four lines, right half of the time."""
    slip = rng.choice((0, 0, 10, 100))
    inside = boxes * apples + slip
    text = (
        f"There are {boxes} boxes and each of them holds {apples} apples.\n"
        f"So all of the boxes together hold {boxes} * {apples} = {inside} apples.\n"
        f"With those that lie on the table there were {inside} + {more} = {inside + more} apples.\n"
        f"#### {inside + more}"
    )
    return {"solution": text, "tokens": 80}


def made_rows(numbers: range) -> Iterator[tuple[bytes, Generation]]:
    """Texts of the length of a short solution."""
    for number in numbers:
        text = f"There are {number} apples. " * 6
        yield key_of(number), Generation(text=text, tokens=48, finish_reason="stop", seconds=0.1, prompt_tokens=100)


def key_of(number: int) -> bytes:
    """Keys are hashes, so in no order."""
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def make_record(folder: Path, number: int, seeds: int) -> None:
    """A copy of a published record that says other settings, and is one of so many seeds of these."""
    shutil.copytree(PUBLISHED / f"tiny-{number % 3}-glore", folder)
    said = {"seed": number % seeds, "refine_below": (number // seeds + 1) / 1e6}
    run = folder / "run.yaml"
    run.write_text(yaml.safe_dump(yaml.safe_load(run.read_text()) | said, sort_keys=False))
    # Problems of other names: what is known of another record's outcomes does not hold for these.
    outcomes = folder / "outcomes.jsonl.gz"
    lines = gzip.decompress(outcomes.read_bytes()).replace(b"apples/", f"apples-{number // seeds}/".encode())
    outcomes.write_bytes(gzip.compress(lines, 1))
    manifest = folder / "manifest.json"
    hashes = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in (run, outcomes)}
    there = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**there, "files": there["files"] | hashes}))


if __name__ == "__main__":
    main()
