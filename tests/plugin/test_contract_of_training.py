"""What trainers and benchmarks return: numbers of every library are made plain, rubbish is one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from refine_eval.errors import PluginError
from refine_eval.plugin.benchmark import Benchmark
from refine_eval.plugin.benchmark_contract import exact_first_bad_step, local_documents
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.trainer_contract import read_examples, read_loss, read_start
from refine_eval.training_rows import Example


class SaysTrainer(Trainer):
    """Is asked nothing."""

    name = "says"


def example(**values: Any) -> Example:
    return replace(Example(question="1?", input_ids=[1, 2], labels=[2, -100]), **values)


def test_examples_become_plain() -> None:
    odd = example(input_ids=np.array([1, 2]), labels=(np.float32(0.5), -100))
    (found,) = read_examples(SaysTrainer(), [odd])
    assert found == Example(question="1?", input_ids=[1, 2], labels=[0.5, -100])
    assert {type(value) for value in (*found.input_ids, *found.labels)} == {int, float}
    plain = example()
    assert read_examples(SaysTrainer(), [plain])[0] is plain


@pytest.mark.parametrize(
    "found",
    [
        None,
        (example(),),
        [3],
        [example(question=None)],
        [example(input_ids=None)],
        [example(input_ids="ab")],
        [example(input_ids=[1])],
        [example(input_ids=[], labels=[])],
        [example(input_ids=["1", 2])],
        [example(input_ids=[1, True])],
        [example(input_ids=[1, -2])],
        [example(labels=[None, 1])],
        [example(labels=[float("nan"), 0.5])],
    ],
    ids=range(13),
)
def test_what_are_no_examples(found: Any) -> None:
    with pytest.raises(PluginError, match=r"^Trainer 'says' "):
        read_examples(SaysTrainer(), found)


def test_what_a_training_starts_from_and_its_loss() -> None:
    assert read_start(SaysTrainer(), None, "base") is None
    assert read_start(SaysTrainer(), (1, 2), None) == (1, 2)
    for found, base in ((None, None), ((1,), "base"), ("ab", "base"), ((None, 2), None), ([1, 2], None)):
        with pytest.raises(PluginError, match=r"^Trainer 'says' must return .* from start\(\), not "):
            read_start(SaysTrainer(), found, base)
    assert read_loss(SaysTrainer(), None) is None
    loss = torch.tensor(0.5, requires_grad=True)
    assert read_loss(SaysTrainer(), loss) is loss
    for wrong in (0.5, "0.5", torch.ones(2), [loss]):
        with pytest.raises(PluginError, match=r"^Trainer 'says' must return a tensor of one number"):
            read_loss(SaysTrainer(), wrong)


def benchmark(**functions: Any) -> Benchmark:
    return Benchmark(name="sums-here", description="Sums.", data="made", yaml=Path("sums.yaml"), **functions)


def test_first_bad_steps_of_a_benchmark() -> None:
    for found, step in ((None, None), (1, 1), (np.int64(2), 2)):
        assert exact_first_bad_step(benchmark(first_bad_step=lambda *_: found), "3", ["a", "b"]) == step  # noqa: B023
    for wrong in ("1", 1.0, True, -1, 3, 10**400):
        with pytest.raises(PluginError, match=r"^Benchmark 'sums-here' named step .* of a solution with 2 steps"):
            exact_first_bad_step(benchmark(first_bad_step=lambda *_: wrong), "3", ["a", "b"])  # noqa: B023
    with pytest.raises(PluginError, match=r"^Benchmark 'sums-here' failed in first_bad_step\(\): ZeroDivisionError"):
        exact_first_bad_step(benchmark(first_bad_step=lambda *_: 1 / 0), "3", ["a"])


def test_local_data_of_a_benchmark(tmp_path: Path) -> None:
    documents = {"test": [{"question": "1?"}]}
    assert local_documents(benchmark(local_data=lambda folder: documents), tmp_path) is documents
    wrong: Any
    for wrong in (None, [], {"test": {}}, {"test": ["a"]}, {3: []}):
        with pytest.raises(PluginError, match=r"^Benchmark 'sums-here' must return splits by name"):
            local_documents(benchmark(local_data=lambda folder: wrong), tmp_path)  # noqa: B023
    with pytest.raises(FileNotFoundError):
        local_documents(
            benchmark(local_data=lambda folder: {"test": [{"text": (folder / "none").read_text()}]}), tmp_path
        )
    with pytest.raises(PluginError, match=r"failed in local_data\(\): KeyError: 'a'"):
        local_documents(benchmark(local_data=lambda folder: {"b": []}["a"]), tmp_path)
