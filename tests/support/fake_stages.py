"""Stands for `refine-eval` in a recipe's processes: writes outputs that depend on words and inputs, in no time.

Files in the current folder tell it what to do: `fail-STAGE`, `wait-STAGE` (till it is interrupted), `meet` (till two
stages are at work). Each call is a line of `calls`.
"""

import hashlib
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

from records import SETTINGS, write

from refine_eval.stages.folder import INFO, read_folder, stage_of, write_folder


def main(words: list[str]) -> None:
    option = {name: value for name, value in pairwise(words) if name.startswith("--")}
    name = option.get("--name", "of-a-suite")
    out = Path(option["--out"] if "--out" in option else f"{option['--results']}/runs/{name}")
    with Path("calls").open("a") as calls:
        calls.write(f"{out.name}\n")
    if Path(f"fail-{out.name}").exists():
        _meet(2)
        print("a line before")
        sys.exit("Error: There is no paper left; buy some.\nand a line after")
    try:
        Path(f"began-{out.name}").touch()
        if Path(f"wait-{out.name}").exists():
            time.sleep(60)
    except KeyboardInterrupt:
        Path(f"stopped-{out.name}").touch()
        sys.exit(130)
    _meet(2)
    # What a stage makes depends on what it reads, and not on where that is.
    texts = [_content(word) for word in words if word not in (str(out), option.get("--results"))]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    if words[0] == "run":
        said = {"command": os.environ["REFINE_EVAL_RECIPE"], "stage": os.environ["REFINE_EVAL_STAGE"]}
        write(out.parents[1], name, settings={**SETTINGS, **said})
    else:
        stage = "train " + words[1] if words[0] == "train" else words[0]
        counts = {"tokens": 100, "examples": 10, "held_out": 0, "questions": 4, "samples": 16, "right": 12}
        write_folder(
            out,
            stage=stage,
            settings={"steps": 1000, "batch_size": 32, "accumulate": 1},
            inputs={},
            counts={**counts, "wrong": 4, "rollout_tokens": 50},
            rows={"samples.jsonl": [{"of": digest, "threads": os.environ.get("OMP_NUM_THREADS")}]},
        )
    print("a line before")
    print(f"summary of {out.name}")


def _meet(count: int) -> None:
    """Waits, if it is told to, till so many stages are at work."""
    until = time.monotonic() + 20
    while Path("meet").exists() and len(list(Path().glob("began-*"))) < count and time.monotonic() < until:
        time.sleep(0.01)


def _content(word: str) -> str:
    """A word; for a folder, or the folder of `name=FOLDER`, what is in it."""
    folder = Path(word.rpartition("=")[2])
    return read_folder(folder, stage_of(folder)).digest if (folder / INFO).is_file() else word


main(sys.argv[1:])
