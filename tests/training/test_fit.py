"""The training loop: transformers' Trainer on tiny models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import torch
from full_disk import room_for
from in_process import error_line

from refine_eval.errors import StageError
from refine_eval.models.sources import resolve_model
from refine_eval.terminal import Progress
from refine_eval.training.examples import completion_example, critic_example
from refine_eval.training.fit import fit, load_for_training, token_loss
from refine_eval.training.saving import loss_plot, save
from refine_eval.training.settings import FitSettings
from refine_eval.training_rows import IGNORE, Example

QUESTION = "how many apples has Ann now?"
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "base")


def sums() -> list[tuple[str, str]]:
    return [(f"{a}+{b}=", f"{a + b}") for a in range(6) for b in range(6)]


def generator_examples(tokenizer: Any) -> list[Example]:
    return [completion_example(tokenizer, prompt, prompt, text) for prompt, text in sums()]


def critic_examples(tokenizer: Any) -> list[Example]:
    return [critic_example(tokenizer, QUESTION, [f"{a}+1=2", f"#### {a}"], [int(a < 5), 1]) for a in range(10)]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("head", ["generator", "critic"])
def test_every_trainable_parameter_moves_and_the_loss_falls(
    head: str, optimizer: Any, base: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), head)
    examples = generator_examples(tokenizer) if head == "generator" else critic_examples(tokenizer)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    assert all(p.requires_grad or name == "score.bias" for name, p in model.named_parameters())
    how = FitSettings(
        steps=40, batch_size=12, optimizer=optimizer, learning_rate=0.01, adam_learning_rate=0.01, warmup=2
    )
    trained, fitted = fit(model, tokenizer, examples, examples[:4], how, tmp_path / "work", QUIET)
    after = dict(trained.named_parameters())
    still = [name for name, parameter in before.items() if torch.equal(parameter, after[name])]
    assert still == []
    assert fitted.trainable == sum(parameter.numel() for parameter in before.values())
    assert fitted.losses[-1][1] < 0.7 * fitted.losses[0][1]
    assert fitted.best_step == min(fitted.validation, key=lambda point: point[1])[0]


def test_an_adapter_trains_alone_and_is_what_is_saved(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
    how = FitSettings(steps=10, batch_size=8, lora_rank=4, learning_rate=0.01)
    trained, fitted = fit(model, tokenizer, generator_examples(tokenizer), [], how, tmp_path / "work", QUIET)
    assert 0 < fitted.trainable < 0.5 * sum(parameter.numel() for parameter in trained.parameters())
    save(trained, tokenizer, tmp_path / "adapter", fitted, how, "# card\n", str(base), "float32")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    modules = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules), "the order of a set is another one in each process, and with it the hash"
    assert len(modules) == 2 * 7, "of two layers"
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert not list((tmp_path / "adapter").glob("*.bin"))


def test_the_best_weights_are_kept(base: Path, tmp_path: Path) -> None:
    """Validation examples that contradict the training ones: the first evaluation is the best."""
    model, tokenizer = load_for_training(resolve_model(str(base)), "critic")
    examples = [critic_example(tokenizer, QUESTION, ["1+1=2"], [1])] * 16
    against = [critic_example(tokenizer, QUESTION, ["1+1=2"], [0])] * 4
    how = FitSettings(steps=20, batch_size=8, learning_rate=0.01, evaluate_every=2, warmup=1)
    trained, fitted = fit(model, tokenizer, examples, against, how, tmp_path / "work", QUIET)
    assert fitted.best_step == 2
    ids = torch.tensor([against[0].input_ids])
    with torch.no_grad():
        targets = torch.tensor([against[0].labels])
        loss = token_loss(trained, ids, targets, (targets != IGNORE).sum())
    assert loss.item() == pytest.approx(fitted.validation[0][1], rel=1e-3)


def test_an_interrupted_training_goes_on_to_the_same_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = FitSettings(steps=20, batch_size=8, learning_rate=0.005, evaluate_every=5)

    def run(work: Path, progress: Progress = QUIET) -> dict[str, torch.Tensor]:
        model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
        trained, _ = fit(model, tokenizer, generator_examples(tokenizer), [], how, work, progress)
        return {name: parameter.detach() for name, parameter in trained.named_parameters()}

    whole = run(tmp_path / "whole")

    class Interrupts(Progress):
        def stage(self, title: str, total: int, unit: str = "it", done: int = 0) -> Any:
            import contextlib

            @contextlib.contextmanager
            def ticking() -> Any:
                done = 0

                def tick(n: int) -> None:
                    nonlocal done
                    done += n
                    if done == 12:
                        raise KeyboardInterrupt

                yield tick

            return ticking()

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Interrupts())
    cut_off_by_a_kill = tmp_path / "parts" / "checkpoint-15"
    cut_off_by_a_kill.mkdir()
    (cut_off_by_a_kill / "model.safetensors").write_bytes(b"the beginning")
    resumed = run(tmp_path / "parts")
    for name, parameter in whole.items():
        assert torch.allclose(parameter, resumed[name], atol=1e-6), name


def test_checkpoints_of_other_settings_are_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    for steps, expectation in ((4, None), (6, "checkpoints of a training with other settings")):
        model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
        how = FitSettings(steps=steps, batch_size=4, evaluate_every=2)
        if expectation is None:
            fit(model, tokenizer, generator_examples(tokenizer), [], how, tmp_path, QUIET)
        else:
            with pytest.raises(StageError, match=expectation):
                fit(model, tokenizer, generator_examples(tokenizer), [], how, tmp_path, QUIET)


def test_a_full_disk_under_checkpoints_and_going_on_from_the_last_whole_one(base: Path, tmp_path: Path) -> None:
    def train() -> Any:
        model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
        how = FitSettings(steps=3, batch_size=4, evaluate_every=1)
        return fit(model, tokenizer, generator_examples(tokenizer), [], how, tmp_path / "work", QUIET)

    weights = sum(p.numel() * 4 for p in load_for_training(resolve_model(str(base)), "generator")[0].parameters())
    # Too little for the weights, and enough for them but not for the optimizer's two numbers a weight.
    for space, whose in ((weights // 2, "Error while serializing"), (weights * 3 // 2, "inline_container")):
        with (
            room_for(space),
            pytest.raises(StageError, match=rf"checkpoint in .*work cannot be written \(.*{whose}.*free some space"),
        ):
            train()
    assert [step for step, _ in train()[1].losses] == [1, 2, 3]


def test_new_weights_come_from_the_seed(base: Path) -> None:
    heads = [load_for_training(resolve_model(str(base)), "critic", seed)[0].score.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_checkpoints_of_other_data_are_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
    how = FitSettings(steps=2, batch_size=4, evaluate_every=1)
    fit(model, tokenizer, generator_examples(tokenizer), [], how, tmp_path, QUIET, of="one")
    with pytest.raises(StageError, match="other settings, data or base"):
        fit(model, tokenizer, generator_examples(tokenizer), [], how, tmp_path, QUIET, of="another")


def test_a_loss_that_is_no_number_ends_the_training(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(StageError, match=r"loss became nan at step 1; lower --learning-rate"):
        fit(model, tokenizer, generator_examples(tokenizer), [], FitSettings(steps=5), tmp_path, QUIET)


def test_nothing_to_train_on(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "generator")
    with pytest.raises(StageError, match="no examples to train on"):
        fit(model, tokenizer, [], [], FitSettings(steps=5), tmp_path, QUIET)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("bound", [0, 2**27], ids=["a large model", "a small one"])
@pytest.mark.parametrize("few", [False, True], ids=["many targets", "few targets"])
def test_the_loss_counts_targets_only(
    few: bool, bound: int, checkpointing: bool, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refine_eval.training.fit._MANY", bound)
    model, _ = load_for_training(resolve_model(str(base)), "generator")
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    targets = torch.tensor([[IGNORE, 3, IGNORE], [5, IGNORE, IGNORE if few else 1]])
    model.train()
    logits = model(input_ids=ids).logits
    at = targets != IGNORE
    expected = torch.nn.functional.cross_entropy(logits[at], targets[at])
    if checkpointing:
        model.gradient_checkpointing_enable()
    number = int(at.sum())
    assert token_loss(model, ids, targets, number).item() == pytest.approx(expected.item())
    assert token_loss(model, ids, targets, 2 * number).item() == pytest.approx(expected.item() / 2)
    mlp_reads: list[int] = []
    model.model.layers[-1].mlp.up_proj.register_forward_hook(lambda _, inputs, __: mlp_reads.append(inputs[0].numel()))
    weights = list(model.parameters())
    wanted = torch.autograd.grad(expected, weights)
    torch.testing.assert_close(torch.autograd.grad(token_loss(model, ids, targets, number), weights), wanted)
    width = model.config.hidden_size
    cut = few and not bound and not checkpointing
    assert mlp_reads[0] == width * (2 if cut else ids.numel()), "nothing is read of the others"
    assert model(input_ids=ids).logits.shape == logits.shape, "the next call has all its logits again"
    assert mlp_reads[-1] == width * ids.numel()


def test_only_the_last_layers_and_the_head_train(base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "critic")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    how = FitSettings(steps=5, batch_size=8, learning_rate=0.01, last_layers=1, warmup=1)
    trained, _ = fit(model, tokenizer, critic_examples(tokenizer), [], how, tmp_path / "work", QUIET)
    moved = {name for name, p in trained.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {n for n in before if n.startswith(("model.layers.1.", "model.norm.", "score.weight"))}
    how = FitSettings(steps=5, last_layers=3)
    with pytest.raises(StageError, match="--last-layers 3 are not there to train: the model has 2 layers"):
        fit(model, tokenizer, critic_examples(tokenizer), [], how, tmp_path / "more", QUIET)


def test_layers_cannot_be_chosen_for_an_adapter(tmp_path: Path) -> None:
    words = ("train", "sft", "gold", "--base", "b", "--out", "made", "--last-layers", "1", "--lora-rank", "8")
    line = error_line(*words, cwd=tmp_path, expect=2)
    assert "--last-layers chooses among all weights, and --lora-rank trains none of them; pass one of the two." in line


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_saved_as_asked(dtype: str, base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_for_training(resolve_model(str(base)), "critic")
    how = FitSettings(steps=2, batch_size=8, learning_rate=0.01)
    trained, fitted = fit(model, tokenizer, critic_examples(tokenizer), [], how, tmp_path / "work", QUIET)
    save(trained, tokenizer, tmp_path / "saved", fitted, how, "# card\n", str(base), dtype)
    loaded, _ = load_for_training(resolve_model(str(tmp_path / "saved")), "critic")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == dtype
    for name, parameter in trained.named_parameters():
        assert torch.equal(parameter.to(getattr(torch, dtype)).float(), loaded.get_parameter(name)), name


def test_the_plot_is_an_svg_of_both_losses(base: Path) -> None:
    from refine_eval.training.fit import Fitted

    plot = loss_plot(Fitted(losses=((1, 2.0), (5, 0.5)), validation=((5, 0.6),), best_step=5, trainable=1))
    assert plot.startswith("<svg")
    assert plot.count("<circle") == 1
    assert "<polyline" in plot


def test_a_base_without_an_end_token_cannot_learn_to_end(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "endless")
    path = tmp_path / "endless" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(StageError, match="names no end-of-text token"):
        load_for_training(resolve_model(str(tmp_path / "endless")), "generator")
    model, _ = load_for_training(resolve_model(str(tmp_path / "endless")), "critic")
    assert model.config.num_labels == 2, "a critic writes nothing"
