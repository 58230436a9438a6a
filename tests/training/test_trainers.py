"""Trainers: from folders to examples, and to a model that engines and critics load."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
from in_process import error_line, refine_eval
from stage_folders import QUESTION, SAMPLES, collected, data_of, folder_of, labelled

from refine_eval.errors import StageError
from refine_eval.formats import student_prompt
from refine_eval.models.sources import resolve_model
from refine_eval.plugin.registry import registry
from refine_eval.terminal import Progress
from refine_eval.training.examples import collate, critic_example
from refine_eval.training.fit import load_for_training, token_loss
from refine_eval.training.settings import FitSettings, TrainSettings
from refine_eval.training.train import train_stage
from refine_eval.training.trainers import ExpertIterationTrainer, SftTrainer
from refine_eval.training_rows import IGNORE
from refine_eval_benchmarks.apples_tokenizer import build_tokenizer
from refine_eval_orm.trainers import BalancedOrmTrainer, OrmTrainer
from refine_eval_refiners.trainers import GlobalTrainer, GlobalTrainerOptions, LocalTrainer
from refine_eval_sorm.trainers import SormTrainer, SormTrainerOptions

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "base")


def labels_of(examples: Sequence[Any]) -> list[list[int]]:
    return [[label for label in example.labels if label != IGNORE] for example in examples]


def test_orm_examples_carry_the_outcome_at_every_step_end(tmp_path: Path) -> None:
    data = data_of(collected(tmp_path / "samples", SAMPLES))
    examples = OrmTrainer().examples(data, tiny.tokenizer(), 0)
    assert labels_of(examples) == [[1, 1], [0, 0], [0, 0], [0, 0], [1, 1], [1, 1]]
    balanced = labels_of(BalancedOrmTrainer().examples(data, tiny.tokenizer(), 0))
    assert balanced == [[1, 1], [0, 0]]


def test_sorm_examples_are_balanced_unless_switched_off(tmp_path: Path) -> None:
    data = data_of(labelled(tmp_path / "labels"))
    plain = SormTrainer(SormTrainerOptions(balance=False)).examples(data, tiny.tokenizer(), 0)
    assert labels_of(plain) == [[1, 0, 0], [1, 1, 1]]
    balanced = [label for row in labels_of(SormTrainer().examples(data, tiny.tokenizer(), 0)) for label in row]
    assert sorted(balanced) == [0, 0, 1, 1]


def test_sorm_labels_must_tell_something_apart(tmp_path: Path) -> None:
    alike = data_of(labelled(tmp_path / "alike", [(1, 1, 1)]))
    with pytest.raises(StageError, match="labels are alike"):
        SormTrainer().examples(alike, tiny.tokenizer(), 0)


def test_soft_labels_stay_shares_and_are_balanced_as_any_success(tmp_path: Path) -> None:
    data = data_of(labelled(tmp_path / "soft", [(1, 0.5, 0), (0.25, 0, 0)]))
    plain = SormTrainer(SormTrainerOptions(balance=False)).examples(data, tiny.tokenizer(), 0)
    assert labels_of(plain) == [[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]]
    assert labels_of(SormTrainer().examples(data, tiny.tokenizer(), 0)) == [[0.5], [0.0]], (
        "only the second step has both"
    )


def test_a_sorm_learns_shares_as_probabilities(base: Path, tmp_path: Path) -> None:
    from refine_eval.critics.token_classifier import StepScorerOptions
    from refine_eval_sorm.critic import SormCritic

    model, tokenizer = load_for_training(resolve_model(str(base)), "critic")
    steps = ["1+2=3", "3*4=0", "#### 0"]
    hard, shares = (collate([critic_example(tokenizer, QUESTION, steps, row)], 0) for row in ([1, 0, 0], [1.0, 0.0, 0]))
    assert shares.labels.is_floating_point()
    trainer = SormTrainer()
    assert trainer.loss(model, hard.input_ids, hard.labels, 3) is None, "the default"
    losses = [
        token_loss(model, hard.input_ids, hard.labels, 3).item(),
        trainer.loss(model, shares.input_ids, shares.labels, 3).item(),
    ]
    assert losses[0] == pytest.approx(losses[1])
    counts = train_stage(
        SormTrainer(SormTrainerOptions(balance=False)),
        [labelled(tmp_path / "soft", [(1, 0.25, 0)])],
        TrainSettings(base=str(base), held_out=0.0),
        FitSettings(steps=150, batch_size=2, learning_rate=0.01, warmup=2),
        out=tmp_path / "sorm",
        data_dir=None,
        progress=QUIET,
    )
    assert counts["targets"] == 3
    critic = SormCritic(StepScorerOptions(model=str(tmp_path / "sorm")))
    critic.open(tiny.CPU)
    (critique,) = critic.critique([tiny.candidate(QUESTION, "\n".join(steps))])
    assert critique.step_scores == pytest.approx((1, 0.25, 0), abs=0.1)


def test_global_examples_lead_from_wrong_to_right_and_keep_some_right_ones(tmp_path: Path) -> None:
    data = data_of(collected(tmp_path / "samples", SAMPLES))
    found = GlobalTrainer(GlobalTrainerOptions(right_share=0.5)).examples(data, tiny.tokenizer(), 0)
    texts = [tiny.tokenizer().decode(example.input_ids) for example in found]
    assert len(texts) == 3, "two distinct wrong drafts, and one right one for two"
    assert sum("1+2=4" in text for text in texts) == 1
    assert all(text.rstrip().endswith(("3", "2")) for text in texts)


def test_local_examples_continue_from_the_last_good_prefix(tmp_path: Path) -> None:
    data = data_of(labelled(tmp_path / "labels"))
    tokenizer = build_tokenizer(tiny.TEXTS, special=["[BAD]"])
    (example,) = LocalTrainer().examples(data, tokenizer, 0)
    text = tokenizer.decode(example.input_ids)
    assert "1+2=3\n[BAD]3*4=0" in text
    assert text.rstrip().endswith("3*4=12\n#### 12")


def test_a_marker_that_the_tokenizer_cannot_write_is_an_error(tmp_path: Path) -> None:
    data = data_of(labelled(tmp_path / "labels"))
    with pytest.raises(StageError, match=r"cannot write the marker \[BAD\]"):
        LocalTrainer().examples(data, tiny.tokenizer(), 0)
    in_pieces = build_tokenizer([*tiny.TEXTS, "[BAD]"])
    assert len(in_pieces.encode("[BAD]")) > 1
    assert len(LocalTrainer().examples(data, in_pieces, 0)) == 1


def test_a_stage_writes_a_model_that_a_critic_loads(base: Path, tmp_path: Path) -> None:
    from refine_eval.critics.token_classifier import StepScorerOptions
    from refine_eval_orm.critic import OrmCritic

    samples = collected(tmp_path / "samples", SAMPLES)
    out = tmp_path / "orm"
    counts = train_stage(
        OrmTrainer(),
        [samples],
        TrainSettings(base=str(base), held_out=0.0),
        FitSettings(steps=4, batch_size=4),
        out=out,
        data_dir=None,
        progress=QUIET,
    )
    assert (counts["examples"], counts["questions"], counts["targets"]) == (6, 2, 12)
    assert folder_of(out).inputs == {"collect-0": folder_of(samples).digest}
    assert len(json.loads((out / "training.json").read_text())["losses"]) == 4
    card = (out / "README.md").read_text()
    assert "collect: samples" in card
    assert folder_of(out).counts["seconds"] > 0
    assert "seconds" not in card, "the same training is the same files, however long it took"
    assert not list(tmp_path.glob(".orm*")), "nothing is left beside it"
    critic = OrmCritic(StepScorerOptions(model=str(out)))
    critic.open(tiny.CPU)
    (critique,) = critic.critique([tiny.candidate(QUESTION, "1+2=3\n#### 3")])
    assert len(critique.step_scores) == 2


def test_examples_longer_than_the_context_are_left_out_and_counted(base: Path, tmp_path: Path) -> None:
    long = "1+2=3\n" * 40 + "#### 3"

    def train(*samples: tuple[str, bool]) -> Any:
        return train_stage(
            OrmTrainer(),
            [collected(tmp_path / "samples", [(QUESTION, samples)])],
            TrainSettings(base=str(base), held_out=0.0),
            FitSettings(steps=1),
            out=tmp_path / "orm",
            data_dir=None,
            progress=QUIET,
        )

    counts = train(("#### 3", True), ("#### 4", False), (long, True))
    assert (counts["examples"], counts["too_long"]) == (2, 1)
    assert "- too long: 1\n" in (tmp_path / "orm" / "README.md").read_text()
    assert "too_long" not in train(("#### 3", True), ("#### 4", False))
    with pytest.raises(StageError, match=r"Every example is longer than the model's context of 96"):
        train((long, True), (long.replace("#### 3", "#### 4"), False))


def test_inputs_of_other_stages_and_test_questions_are_refused(base: Path, tmp_path: Path) -> None:
    from refine_eval_benchmarks.apples import generate

    def train(path: Path) -> None:
        train_stage(
            OrmTrainer(),
            [path],
            TrainSettings(base=str(base), held_out=0.0),
            FitSettings(steps=1),
            out=tmp_path / "orm",
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
    data = data_of(gold, collected(tmp_path / "samples", SAMPLES))
    expected = [student_prompt(QUESTION) + "1+2=3\n#### 3", student_prompt("how many?") + "1+1=2\n#### 2"]
    for trainer in (SftTrainer(), ExpertIterationTrainer()):
        examples = trainer.examples(data, tiny.tokenizer(), 0)
        assert [tiny.tokenizer().decode(example.input_ids) for example in examples] == expected
    example = SftTrainer().examples(data, tiny.tokenizer(), 0)[0]
    assert tiny.tokenizer().decode([label for label in example.labels if label != IGNORE][:3]) == "1+2"


def test_from_gold_solutions_to_a_student_on_the_command_line(tmp_path: Path) -> None:
    """Questions of the bundled task and its own solutions, and texts of the student that was trained on them."""
    student = Path(__file__).parents[2] / "benchmarks/refine_eval_benchmarks/models/student"
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
