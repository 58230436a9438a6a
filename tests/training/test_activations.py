"""What frozen layers compute, kept on the disk: the same training, each row computed once, and nothing left behind."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from full_disk import room_for
from in_process import refine_eval
from stage_folders import SAMPLES, collected

from refine_eval.models.sources import resolve_model
from refine_eval.terminal import Progress, Tick
from refine_eval.training import activations
from refine_eval.training.activations import kept_activations
from refine_eval.training.examples import collate, critic_example, text_example
from refine_eval.training.fit import Fitted, fit, load_for_training
from refine_eval.training.settings import FitSettings
from refine_eval.training_rows import IGNORE, Example

THREE_EPOCHS = FitSettings(steps=12, batch_size=4, learning_rate=0.01, last_layers=1, warmup=1, evaluate_every=6)


class Heard(Progress):
    """Keeps the notes; `at` is called with each step of the training."""

    def __init__(self, at: Any = lambda step: None) -> None:
        super().__init__(quiet=True)
        self.notes: list[str] = []
        self.at = at

    def note(self, text: str, *, once: bool = False) -> None:
        self.notes.append(text)

    @contextlib.contextmanager
    def stage(self, title: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Tick]:
        steps = iter(range(done + 1, total + 1))
        yield lambda n: self.at(next(steps)) if title == "train" else None


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "base")


def rows(head: str, tokenizer: Any) -> list[Example]:
    """16 rows of 1 to 30 tokens, of which some end in what pads the others."""
    texts = tiny.mixed_prompts(16)
    if head == "critic":
        return [critic_example(tokenizer, text, [text, f"#### {n}"], [n % 2, 1]) for n, text in enumerate(texts)]
    examples = [text_example(tokenizer, text) for text in texts]
    pad = tokenizer.pad_token_id
    return [
        replace(row, input_ids=[*row.input_ids, pad, pad], labels=[*row.labels, IGNORE, 5]) if n % 5 == 0 else row
        for n, row in enumerate(examples)
    ]


def train(
    base: Path, head: str, how: FitSettings, work: Path, progress: Progress
) -> tuple[Fitted, dict[str, torch.Tensor], int]:
    """The course, the weights, and how many rows the first layer computed."""
    model, tokenizer = load_for_training(resolve_model(str(base)), head)
    computed = 0

    def count(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        nonlocal computed
        computed += len(kwargs["hidden_states"])

    hook = model.model.layers[0].self_attn.register_forward_pre_hook(count, with_kwargs=True)
    examples = rows(head, tokenizer)
    trained, fitted = fit(model, tokenizer, examples, examples[:3], how, work, progress)
    hook.remove()
    assert "forward" not in vars(model.model.layers[0]), "the model is itself again"
    return fitted, {name: weight.detach() for name, weight in trained.named_parameters()}, computed


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("head", ["generator", "critic"])
def test_the_losses_are_those_without_and_each_row_is_computed_once(
    head: str, bf16: bool, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, heard = replace(THREE_EPOCHS, bf16=bf16), Heard()
    kept, weights, computed = train(base, head, how, tmp_path / "kept", heard)
    assert (heard.notes, computed) == ([], 16)
    monkeypatch.setattr(activations, "SHARE_OF_FREE", 0)
    plain, expected, computed = train(base, head, how, tmp_path / "plain", heard)
    assert computed == 3 * 16 + 2 * 3 + 4, "three epochs, two validations, and a batch to see how much room it takes"
    assert re.search(r"computed in every epoch, as .*plain has no room for them \(0\.0 GB, of \S+ GB", heard.notes[0])
    closeness = 2e-2 if bf16 else 1e-5
    for course, wanted in ((kept.losses, plain.losses), (kept.validation, plain.validation)):
        assert [loss for _, loss in course] == pytest.approx([loss for _, loss in wanted], rel=closeness)
    if not bf16:
        for name, weight in expected.items():
            torch.testing.assert_close(weights[name], weight, atol=1e-4, rtol=1e-4)


def test_one_epoch_keeps_what_is_validated_alone(base: Path, tmp_path: Path) -> None:
    how = replace(THREE_EPOCHS, steps=4, evaluate_every=1)
    assert train(base, "generator", how, tmp_path / "work", Heard())[2] == 16 + 3


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(base: Path, tmp_path: Path) -> None:
    def interrupt(step: int) -> None:
        assert {path.name.partition("-")[0] for path in work.iterdir()} <= {"settings.json", "checkpoint"}
        if step == 8:
            raise KeyboardInterrupt

    work = tmp_path / "whole"
    _, whole, _ = train(base, "critic", THREE_EPOCHS, work, Heard())
    work = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train(base, "critic", THREE_EPOCHS, work, Heard(interrupt))
    assert not [path for path in work.iterdir() if path.name not in ("settings.json", "checkpoint-6")]
    _, resumed, computed = train(base, "critic", THREE_EPOCHS, work, Heard())
    assert computed == 16, "nothing is taken from the process that was interrupted"
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name


def test_a_kill_leaves_no_activations_and_the_same_command_goes_on(base: Path, tmp_path: Path) -> None:
    collected(tmp_path / "samples", SAMPLES)
    words = ["train", "orm", "samples", "--base", str(base), "--held-out", "0", "--batch-size", "2"]
    words += ["--last-layers", "1", "--steps", "80", "--quiet", "--out"]
    process = subprocess.Popen([sys.executable, "-m", "refine_eval", *words, "made"], cwd=tmp_path)
    work = tmp_path / ".made.checkpoints"
    while not list(work.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [path for path in work.iterdir() if path.name.partition("-")[0] not in ("settings.json", "checkpoint")]
    for place in ("made", "undisturbed"):
        refine_eval(*words, place, cwd=tmp_path)
    made, undisturbed = ((tmp_path / place / "model.safetensors").read_bytes() for place in ("made", "undisturbed"))
    assert made == undisturbed
    assert not work.exists()


def test_a_full_disk_is_said_and_the_training_goes_on(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
    heard = Heard()
    (tmp_path / "work").mkdir()
    with (
        room_for(1000),
        kept_activations(
            model,
            1,
            rows("generator", tokenizer),
            pad=0,
            batch_size=4,
            bf16=False,
            folder=tmp_path / "work",
            progress=heard,
        ),
    ):
        model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    assert heard.notes == [
        f"Note: the frozen layers' activations are computed in every epoch, as {tmp_path / 'work'} has no room for "
        "them (File too large)."
    ]


def test_only_what_was_computed_of_the_same_tokens_is_read(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
    known = rows("generator", tokenizer)[:6]
    ids = collate(known, tokenizer.pad_token_id).input_ids
    others = ids.flip(1)
    plain: dict[str, Any] = {"use_cache": False}
    masked = {"attention_mask": torch.ones_like(ids).index_fill(1, torch.tensor([0]), 0), **plain}
    calls = [(ids, plain), (others, plain), (ids, masked)]
    computed: list[int] = []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: computed.append(1))
    wanted = [model(input_ids=found, **given).logits for found, given in calls]
    keeping = {"pad": tokenizer.pad_token_id, "batch_size": 3, "bf16": False, "folder": tmp_path, "progress": Heard()}
    with kept_activations(model, 1, known, **keeping):
        computed.clear()
        real = torch.tensor([[at < len(row.input_ids) for at in range(ids.shape[1])] for row in known])
        for (found, given), logits, passes in zip(calls, wanted, (0, 1, 2), strict=True):
            torch.testing.assert_close(model(input_ids=found, **given).logits[real], logits[real])
            assert len(computed) == passes
    model.model.layers[0].self_attn.attention_dropout = 0.5
    computed.clear()
    with kept_activations(model, 1, known, **keeping):
        assert computed == [], "what is random is not kept"
