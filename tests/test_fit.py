"""Training stages: transformers' Trainer on tiny models, from folders to a model that engines and critics load."""

import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_models as tiny
from in_process import error_line, refine_eval
from refine_eval.errors import StageError
from refine_eval.formats import student_prompt
from refine_eval.models import resolve_model
from refine_eval.plugins import registry
from refine_eval.progress import Progress
from refine_eval.training.batches import IGNORE, Example, collate, completion_example, critic_example
from refine_eval.training.fit import FitSettings, fit, load_for_training, token_loss
from refine_eval.training.folder import write_folder
from refine_eval.training.saving import loss_plot, save
from refine_eval.training.tokenizer import build_tokenizer
from refine_eval.training.train import train_stage
from refine_eval.training.trainers import ExpertIterationTrainer, SftTrainer
from refine_eval_orm.trainers import BalancedOrmTrainer, OrmTrainer
from refine_eval_refiners.trainers import GlobalTrainer, GlobalTrainerOptions, LocalTrainer
from refine_eval_sorm.trainers import SormTrainer, SormTrainerOptions

QUESTION = "how many apples has Ann now?"
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "base")


def sums() -> list[tuple[str, str]]:
    return [(f"{a}+{b}=", f"{a + b}") for a in range(6) for b in range(6)]


def generator_examples(tokenizer: Any) -> list[Example]:
    return [completion_example(tokenizer, prompt, text) for prompt, text in sums()]


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
    save(trained, tokenizer, tmp_path / "adapter", fitted, how, "# card\n", str(base))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
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
    ids = torch.tensor([against[0].ids])
    with torch.no_grad():
        targets = torch.tensor([against[0].targets])
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

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    weights = sum(p.numel() * 4 for p in load_for_training(resolve_model(str(base)), "generator")[0].parameters())
    # Too little for the weights, and enough for them but not for the optimizer's two numbers a weight.
    for space, whose in ((weights // 2, "Error while serializing"), (weights * 3 // 2, "inline_container")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (space, before[1]))
        try:
            with pytest.raises(
                StageError, match=rf"checkpoint in .*work cannot be written \(.*{whose}.*free some space"
            ):
                train()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
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
    with pytest.raises(StageError, match="not one example"):
        fit(model, tokenizer, [], [], FitSettings(steps=5), tmp_path, QUIET)


@pytest.mark.parametrize("bound", [0, 2**27], ids=["logits at targets", "logits everywhere"])
def test_the_loss_counts_targets_only(bound: int, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refine_eval.training.fit._MANY_LOGITS", bound)
    model, _ = load_for_training(resolve_model(str(base)), "generator")
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    targets = torch.tensor([[IGNORE, 3, IGNORE], [5, IGNORE, 1]])
    logits = model(input_ids=ids).logits
    picked = torch.stack([logits[0, 1], logits[1, 0], logits[1, 2]])
    expected = torch.nn.functional.cross_entropy(picked, torch.tensor([3, 5, 1]))
    assert token_loss(model, ids, targets, 3).item() == pytest.approx(expected.item())
    assert token_loss(model, ids, targets, 6).item() == pytest.approx(expected.item() / 2)
    weights = list(model.parameters())
    wanted = torch.autograd.grad(expected, weights)
    torch.testing.assert_close(torch.autograd.grad(token_loss(model, ids, targets, 3), weights), wanted)
    assert model(input_ids=ids).logits.shape == logits.shape, "the next call has all its logits again"


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
    assert "--last-layers chooses among all weights, and --lora-rank trains none of them; leave one out." in line


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


# From folders to models


def collected(path: Path, rows: Sequence[tuple[str, Sequence[tuple[str, bool]]]]) -> Path:
    lines = [
        {
            "id": f"apples:train/{n}",
            "question": q,
            "samples": [{"text": t, "right": r, "tokens": 3} for t, r in found],
        }
        for n, (q, found) in enumerate(rows)
    ]
    write_folder(
        path,
        stage="collect",
        settings={"task": "apples", "split": "train"},
        inputs={},
        counts={},
        rows={"samples.jsonl": lines},
    )
    return path


def labelled(path: Path, labels: Sequence[Sequence[float]] = ((1, 0, 0), (1, 1, 1))) -> Path:
    rows = [
        {
            "id": f"apples:train/{n}",
            "question": QUESTION,
            "steps": ["1+2=3", f"3*4={n}", f"#### {n}"],
            "right": row[-1] == 1,
            "labels": list(row),
            "verified": {"1": ["3*4=12", "#### 12"]} if row[-1] != 1 else {},
        }
        for n, row in enumerate(labels)
    ]
    write_folder(path, stage="label", settings={"task": "apples"}, inputs={}, counts={}, rows={"labels.jsonl": rows})
    return path


SAMPLES = [
    (QUESTION, [("1+2=3\n#### 3", True), ("1+2=4\n#### 4", False), ("1+2=4\n#### 4", False), ("1+2=5\n#### 5", False)]),
    ("how many?", [("1+1=2\n#### 2", True), ("1+1=2\n#### 2", True)]),
]


def targets(lessons: Sequence[Any]) -> list[list[int]]:
    return [[target for target in lesson.example.targets if target != IGNORE] for lesson in lessons]


def folder_of(path: Path) -> Any:
    from refine_eval.training.folder import read_folder, stage_of

    return read_folder(path, stage_of(path))


def test_orm_examples_carry_the_outcome_at_every_step_end(tmp_path: Path) -> None:
    inputs = {"collect": [folder_of(collected(tmp_path / "samples", SAMPLES))]}
    lessons = OrmTrainer().examples(inputs, tiny.tokenizer(), 0)
    assert targets(lessons) == [[1, 1], [0, 0], [0, 0], [0, 0], [1, 1], [1, 1]]
    balanced = targets(BalancedOrmTrainer().examples(inputs, tiny.tokenizer(), 0))
    assert balanced == [[1, 1], [0, 0]]


def test_sorm_examples_are_balanced_unless_switched_off(tmp_path: Path) -> None:
    inputs = {"label": [folder_of(labelled(tmp_path / "labels"))]}
    plain = SormTrainer(SormTrainerOptions(balance=False)).examples(inputs, tiny.tokenizer(), 0)
    assert targets(plain) == [[1, 0, 0], [1, 1, 1]]
    balanced = [target for row in targets(SormTrainer().examples(inputs, tiny.tokenizer(), 0)) for target in row]
    assert sorted(balanced) == [0, 0, 1, 1]


def test_sorm_labels_must_tell_something_apart(tmp_path: Path) -> None:
    alike = {"label": [folder_of(labelled(tmp_path / "alike", [(1, 1, 1)]))]}
    with pytest.raises(StageError, match="labels are alike"):
        SormTrainer().examples(alike, tiny.tokenizer(), 0)


def test_soft_labels_stay_shares_and_are_balanced_as_any_success(tmp_path: Path) -> None:
    inputs = {"label": [folder_of(labelled(tmp_path / "soft", [(1, 0.5, 0), (0.25, 0, 0)]))]}
    plain = SormTrainer(SormTrainerOptions(balance=False)).examples(inputs, tiny.tokenizer(), 0)
    assert targets(plain) == [[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]]
    assert targets(SormTrainer().examples(inputs, tiny.tokenizer(), 0)) == [[0.5], [0.0]], (
        "only the second step has both"
    )


def test_a_sorm_learns_shares_as_probabilities(base: Path, tmp_path: Path) -> None:
    from refine_eval.step_scorer import StepScorerOptions
    from refine_eval_sorm.critic import SormCritic

    model, tokenizer = load_for_training(resolve_model(str(base)), "critic")
    steps = ["1+2=3", "3*4=0", "#### 0"]
    hard, shares = (collate([critic_example(tokenizer, QUESTION, steps, row)], 0) for row in ([1, 0, 0], [1.0, 0.0, 0]))
    assert shares.targets.is_floating_point()
    losses = [SormTrainer().loss(model, batch.ids, batch.targets, 3).item() for batch in (hard, shares)]
    assert losses[0] == pytest.approx(losses[1])
    counts = train_stage(
        SormTrainer(SormTrainerOptions(balance=False)),
        [labelled(tmp_path / "soft", [(1, 0.25, 0)])],
        base=str(base),
        out=tmp_path / "sorm",
        how=FitSettings(steps=150, batch_size=2, learning_rate=0.01, warmup=2),
        held_out=0.0,
        data_dir=None,
        progress=QUIET,
    )
    assert counts["targets"] == 3
    critic = SormCritic(StepScorerOptions(model=str(tmp_path / "sorm")))
    critic.open(tiny.ToyRuntime())
    (critique,) = critic.critique([tiny.candidate(QUESTION, "\n".join(steps))])
    assert critique.step_scores == pytest.approx((1, 0.25, 0), abs=0.1)


def test_global_examples_lead_from_wrong_to_right_and_keep_some_right_ones(tmp_path: Path) -> None:
    inputs = {"collect": [folder_of(collected(tmp_path / "samples", SAMPLES))]}
    found = GlobalTrainer(GlobalTrainerOptions(right_share=0.5)).examples(inputs, tiny.tokenizer(), 0)
    texts = [tiny.tokenizer().decode(lesson.example.ids) for lesson in found]
    assert len(texts) == 3, "two distinct wrong drafts, and one right one for two"
    assert sum("1+2=4" in text for text in texts) == 1
    assert all(text.rstrip().endswith(("3", "2")) for text in texts)


def test_local_examples_continue_from_the_last_good_prefix(tmp_path: Path) -> None:
    inputs = {"label": [folder_of(labelled(tmp_path / "labels"))]}
    tokenizer = build_tokenizer(tiny.TEXTS, special=["[BAD]"])
    (lesson,) = LocalTrainer().examples(inputs, tokenizer, 0)
    text = tokenizer.decode(lesson.example.ids)
    assert "1+2=3\n[BAD]3*4=0" in text
    assert text.rstrip().endswith("3*4=12\n#### 12")


def test_a_marker_that_the_tokenizer_cannot_write_is_an_error(tmp_path: Path) -> None:
    inputs = {"label": [folder_of(labelled(tmp_path / "labels"))]}
    with pytest.raises(StageError, match=r"cannot write the marker \[BAD\]"):
        LocalTrainer().examples(inputs, tiny.tokenizer(), 0)
    in_pieces = build_tokenizer([*tiny.TEXTS, "[BAD]"])
    assert len(in_pieces.encode("[BAD]")) > 1
    assert len(LocalTrainer().examples(inputs, in_pieces, 0)) == 1


def test_a_stage_writes_a_model_that_a_critic_loads(base: Path, tmp_path: Path) -> None:
    from refine_eval.step_scorer import StepScorerOptions
    from refine_eval_orm.critic import OrmCritic

    samples = collected(tmp_path / "samples", SAMPLES)
    out = tmp_path / "orm"
    counts = train_stage(
        OrmTrainer(),
        [samples],
        base=str(base),
        out=out,
        how=FitSettings(steps=4, batch_size=4),
        held_out=0.0,
        data_dir=None,
        progress=QUIET,
    )
    assert (counts["examples"], counts["questions"], counts["targets"]) == (6, 2, 12)
    assert folder_of(out).inputs == {"collect-0": folder_of(samples).digest}
    assert len(json.loads((out / "training.json").read_text())["losses"]) == 4
    assert "collect: samples" in (out / "README.md").read_text()
    assert not list(tmp_path.glob(".orm*")), "nothing is left beside it"
    critic = OrmCritic(StepScorerOptions(model=str(out)))
    critic.open(tiny.ToyRuntime())
    (critique,) = critic.critique([tiny.candidate(QUESTION, "1+2=3\n#### 3")])
    assert len(critique.step_scores) == 2


def test_inputs_of_other_stages_and_test_questions_are_refused(base: Path, tmp_path: Path) -> None:
    from refine_eval_benchmarks.apples import generate

    def train(path: Path) -> None:
        train_stage(
            OrmTrainer(),
            [path],
            base=str(base),
            out=tmp_path / "orm",
            how=FitSettings(steps=1),
            held_out=0.0,
            data_dir=None,
            progress=QUIET,
        )

    with pytest.raises(StageError, match="is an output of 'label', and the trainer 'orm' reads those of collect"):
        train(labelled(tmp_path / "labels"))
    question = generate("test", 1)[0]["question"]
    leaking = collected(tmp_path / "leak", [(question, [("#### 1", True), ("#### 2", False)])])
    with pytest.raises(StageError, match="1 training questions are test questions of the task 'apples' too"):
        train(leaking)
    never = collected(tmp_path / "never", [(QUESTION, [("#### 1", False)])])
    with pytest.raises(StageError, match="never"):
        train(never)
    assert not (tmp_path / "orm").exists()


def test_students_are_trained_on_each_right_solution_once(tmp_path: Path) -> None:
    gold = collected(tmp_path / "gold", [(QUESTION, [("1+2=3\n\n#### 3", True)])])
    inputs = {"collect": [folder_of(gold), folder_of(collected(tmp_path / "samples", SAMPLES))]}
    expected = [student_prompt(QUESTION) + "1+2=3\n#### 3", student_prompt("how many?") + "1+1=2\n#### 2"]
    for trainer in (SftTrainer(), ExpertIterationTrainer()):
        lessons = trainer.examples(inputs, tiny.tokenizer(), 0)
        assert [tiny.tokenizer().decode(lesson.example.ids) for lesson in lessons] == expected
    lesson = SftTrainer().examples(inputs, tiny.tokenizer(), 0)[0]
    assert tiny.tokenizer().decode([target for target in lesson.example.targets if target != IGNORE][:3]) == "1+2"


def test_from_gold_solutions_to_a_student_on_the_command_line(tmp_path: Path) -> None:
    """Questions of the bundled task and its own solutions, and texts of the student that was trained on them."""
    student = Path(__file__).parents[1] / "benchmarks/refine_eval_benchmarks/models/student"
    refine_eval("collect", "--gold", "--limit", "30", "--out", "gold", "-q", cwd=tmp_path)
    rows = list(folder_of(tmp_path / "gold").rows("samples.jsonl"))
    assert len(rows) == 30
    assert all(sample["right"] and "####" in sample["text"] for row in rows for sample in row["samples"])
    if "sft" not in [found.name for found in registry().all("trainer")]:
        pytest.skip("the installed refine-eval is older than this checkout: make setup")
    done = refine_eval(
        "train", "sft", "gold", "--base", str(student), "--steps", "3", "--out", "made", "-q", cwd=tmp_path
    )
    assert done.stdout.startswith("sft: ")
    drawing = ("collect", "--model-args", "pretrained=made", "--limit", "4", "--samples", "2", "--out", "drawn", "-q")
    refine_eval(*drawing, cwd=tmp_path)
    assert folder_of(tmp_path / "drawn").counts["samples"] == 8


def test_gold_solutions_of_test_questions_are_refused(tmp_path: Path) -> None:
    line = error_line("collect", "--gold", "--split", "test", "--out", "gold", cwd=tmp_path, expect=2)
    assert "not to be trained on" in line
    assert not (tmp_path / "gold").exists()
