"""What the measurements share: prompts, requests, where models run, timing in turn, and the table of rates."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from refine_eval.data import Dtype, Problem, Request, Sampling
from refine_eval.formats import student_prompt
from refine_eval.plugin.runtime import ComputeSettings

CPU = ComputeSettings(device="cpu", dtype="float32")

Clock = Callable[[], float]
Writer = Callable[[], list[str]]
"""Writes all texts, in the order of the prompts."""


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser that prints the description as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_timing_options(parser: argparse.ArgumentParser, runs: int = 3) -> None:
    """--runs, --threads and --clock."""
    parser.add_argument("--runs", type=int, default=runs, help="timed rounds; the medians are compared")
    parser.add_argument("--threads", type=int, help="of torch; default: all cores")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine with other work")


def clock_of(given: argparse.Namespace) -> Clock:
    """Sets torch's threads where they are given; the clock that was asked for."""
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    return time.perf_counter if given.clock == "wall" else time.process_time


def read_prompts(source: str) -> list[str]:
    """ "apples:N", "mixed:N" (apples after 0 to 3 solved ones), "SVAMP.json:N", or a file's first N lines.

    A line holds a JSON string, or an object of GSM8K's.
    """
    path, _, count = source.partition(":")
    limit = int(count) if count else None
    if path == "apples":
        from refine_eval_benchmarks.apples import generate

        return [student_prompt(row["question"]) for row in generate("test", limit or 400)]
    if path == "mixed":
        from refine_eval_benchmarks.apples import generate

        rows = list(generate("test", limit or 400))
        solved = [f"{student_prompt(row['question'])}{row['answer']}\n\n" for row in generate("train", len(rows) + 3)]
        return ["".join(solved[i : i + i % 4]) + student_prompt(row["question"]) for i, row in enumerate(rows)]
    if path.endswith("SVAMP.json"):
        rows = json.loads(Path(path).read_text())[:limit]
        return [student_prompt(f"{row['Body'].rstrip('.')}, {row['Question']}") for row in rows]
    read = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()[:limit]]
    return [each if isinstance(each, str) else student_prompt(each["question"]) for each in read]


def problems_of(prompts: Iterable[str]) -> list[Problem]:
    """A problem for each prompt."""
    return [Problem(id=f"p/{n}", task="p", question=prompt, prompt=prompt) for n, prompt in enumerate(prompts)]


def requests_of(prompts: Iterable[str], sampling: Sampling) -> list[Request]:
    """A request for each prompt, each with its own seed."""
    return [
        Request(problem=problem, prompt=problem.prompt, sampling=sampling, purpose="draft", sample=0, seed=seed)
        for seed, problem in enumerate(problems_of(prompts))
    ]


def our_writer(
    model: str, prompts: Sequence[str], sampling: Sampling, batch_size: int | None = None, dtype: Dtype = "float32"
) -> Writer:
    """Writes the texts with our engine transformers, which is opened now."""
    from refine_eval.engines.transformers_engine import TransformersEngine

    engine = TransformersEngine(TransformersEngine.Options(pretrained=model, batch_size=batch_size))
    engine.open(ComputeSettings(device="cpu", dtype=dtype))
    requests = requests_of(prompts, sampling)

    def write() -> list[str]:
        written = dict(engine.generate(requests))
        return [written[index].text for index in range(len(requests))]

    return write


def timed(write: Writer, clock: Clock) -> tuple[float, list[str]]:
    """Seconds and texts of one round; what libraries print is dropped."""
    with contextlib.redirect_stdout(io.StringIO()):
        started = clock()
        texts = write()
        return clock() - started, texts


def in_turn(writers: Mapping[str, Writer], runs: int, clock: Clock) -> tuple[dict[str, list[float]], int]:
    """Seconds of each round by writer, so that a slow moment hits all alike; how many texts all wrote alike."""
    seconds: dict[str, list[float]] = {name: [] for name in writers}
    texts: dict[str, list[str]] = {}
    for _ in range(runs):
        for name, write in writers.items():
            spent, texts[name] = timed(write, clock)
            seconds[name].append(spent)
    return seconds, sum(len(set(written)) == 1 for written in zip(*texts.values(), strict=True))


def print_rates(seconds: Mapping[str, Sequence[float]], count: int, unit: str = "problems/s") -> None:
    """The median, lowest and highest rate of each, where a round did `count`."""
    print(f"{'':14}{unit:>12}{'lowest':>10}{'highest':>10}")
    for name, values in seconds.items():
        rates = sorted(count / value for value in values)
        print(f"{name:14}{statistics.median(rates):12.2f}{rates[0]:10.2f}{rates[-1]:10.2f}")


def ratio_of(seconds: Mapping[str, Sequence[float]], ours: str, other: str) -> float:
    """How many times as fast ours is, by medians."""
    return statistics.median(seconds[other]) / statistics.median(seconds[ours])


def measured(command: Sequence[str], folder: Path, may_fail: bool = False) -> tuple[float, float]:
    """CPU seconds and megabytes of a command in a process of its own; ends with its words where it fails."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        said = process.stderr.read().decode() if process.stderr else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not may_fail:
        sys.exit(f"{' '.join(command)}: {said}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
