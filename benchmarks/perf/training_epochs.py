"""How long the epochs of `train --last-layers N` take, with the frozen layers' activations kept and without, in turn.

    python benchmarks/perf/training_epochs.py MODEL --head critic --last-layers 4 --rows 64 --batch-size 16
    python benchmarks/perf/training_epochs.py MODEL --head generator --threads 1 --clock cpu

Rows are random tokens, `--length` on average, with a label at every twentieth (critic) or in their second half
(generator). Keeping counts in the first epoch. Prints medians of `--runs`, lowest and highest, and how much the losses
differ.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from common import Clock, add_timing_options, clock_of, parser_of

from refine_eval.terminal import Progress, Tick
from refine_eval.training_rows import IGNORE, Example

STEP_LENGTH = 20


class Timed(Progress):
    """Keeps when the training began, keeping included, and when each of its steps ended."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(quiet=True)
        self._clock = clock
        self.moments: list[float] = [clock()]

    @contextlib.contextmanager
    def stage(self, title: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Tick]:
        yield lambda n: self.moments.append(self._clock()) if title == "train" else None


def made_rows(given: argparse.Namespace, vocabulary: int) -> list[Example]:
    """Rows whose lengths differ by up to a quarter."""
    draw = random.Random(0)
    rows = []
    for number in range(given.rows):
        length = draw.randint(given.length * 3 // 4, given.length * 5 // 4)
        ids = [draw.randrange(vocabulary // 2, vocabulary) for _ in range(length)]
        if given.head == "critic":
            labels = [draw.randrange(2) if at % STEP_LENGTH == STEP_LENGTH - 1 else IGNORE for at in range(length)]
        else:
            labels = [IGNORE] * (length // 2) + ids[length // 2 :]
        rows.append(Example(question=str(number), input_ids=ids, labels=labels))
    return rows


def epochs(given: argparse.Namespace, clock: Clock, keep: bool) -> tuple[list[float], list[float]]:
    """Seconds of each epoch, and the losses."""
    from refine_eval.models.sources import resolve_model
    from refine_eval.training import activations
    from refine_eval.training.fit import fit, load_for_training
    from refine_eval.training.settings import FitSettings

    model, tokenizer = load_for_training(resolve_model(given.model), given.head)
    rows = made_rows(given, model.config.vocab_size)
    steps = len(rows) // given.batch_size
    how = FitSettings(
        steps=given.epochs * steps,
        batch_size=given.batch_size,
        last_layers=given.last_layers,
        evaluate_every=given.epochs * steps + 1,  # nothing but training is timed
        learning_rate=1e-5,
    )
    share = activations.SHARE_OF_FREE
    try:
        activations.SHARE_OF_FREE = share if keep else 0.0
        with tempfile.TemporaryDirectory() as folder:
            progress = Timed(clock)
            _, fitted = fit(model, tokenizer, rows, [], how, Path(folder), progress)
    finally:
        activations.SHARE_OF_FREE = share
    ends = progress.moments[::steps]
    return [end - begin for begin, end in pairwise(ends)], [loss for _, loss in fitted.losses]


def main() -> None:
    """Both ways in turn, so that a slow moment of the machine hits them alike."""
    parser = parser_of(__doc__)
    parser.add_argument("model", help="hub name or folder")
    parser.add_argument("--head", choices=["critic", "generator"], default="critic")
    parser.add_argument("--last-layers", type=int, default=4)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2)
    add_timing_options(parser)
    given = parser.parse_args()
    if given.rows % given.batch_size:
        parser.error("--rows must be whole batches")
    clock = clock_of(given)
    seconds: dict[str, list[list[float]]] = {"kept": [], "not kept": []}
    losses: dict[str, list[float]] = {}
    for _ in range(given.runs):
        for name, found in seconds.items():
            times, losses[name] = epochs(given, clock, keep=name == "kept")
            found.append(times)
    print(f"{'':10}{'epoch':>6}{'median s':>10}{'lowest':>8}{'highest':>9}")
    for name, found in seconds.items():
        for number, each in enumerate(zip(*found, strict=True), 1):
            print(f"{name:10}{number:6}{statistics.median(each):10.2f}{min(each):8.2f}{max(each):9.2f}")
    ratios = [times[1] / times[0] for times in seconds["kept"]]
    print(f"second / first, kept: {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")
    worst = max(abs(a - b) / b for a, b in zip(losses["kept"], losses["not kept"], strict=True))
    print(f"losses differ by at most {worst:.1e} of themselves")


if __name__ == "__main__":
    main()
