"""The contract checks of trainers: the bundled ones pass, and each check fails on a trainer that breaks it."""

from typing import Any

import broken_trainers as broken
import pytest

import refine_eval_benchmarks
import refine_eval_orm
import refine_eval_refiners
import refine_eval_sorm
from refine_eval.plugin.components import Trainer
from refine_eval.testing import component_checks, run_checks, toy_tokenizer, toy_training_data
from refine_eval.testing.checks import SHARED
from refine_eval.training import trainers
from refine_eval.training_rows import TrainingData
from refine_eval_benchmarks.apples import SIZES
from refine_eval_benchmarks.apples_trainers import (
    ApplesCriticTrainer,
    ApplesLanguageModelTrainer,
    CriticLessonOptions,
    LanguageModelOptions,
)

BREAKS = [
    (broken.StrangeHead, "declarations", "head is 'reader'"),
    (broken.ReadsARun, "declarations", "reads names 'run'"),
    (broken.ReadsAWord, "declarations", "must be a tuple"),
    (broken.NeitherBaseNorModel, "declarations", "start() returns None"),
    (broken.MakesNothing, "lists-of-examples", "makes nothing of ordinary data"),
    (broken.YieldsExamples, "lists-of-examples", "instead of a list"),
    (broken.ReturnsPairs, "lists-of-examples", "not an Example"),
    (broken.ForgetsTheEnd, "lists-of-examples", "labels"),
    (broken.NoTokens, "lists-of-examples", "has no tokens"),
    (broken.TokensOfAnother, "ids-in-vocabulary", "the tokenizer has 0 to 258"),
    (broken.LabelsBeyond, "labels-for-its-head", "has the label -1"),
    (broken.SharesForTokens, "labels-for-its-head", "has the label 0.5"),
    (broken.LabelsInPercent, "labels-for-its-head", "has the label 100"),
    (broken.FloatsAmongInts, "labels-for-its-head", "make all floats"),
    (broken.TeachesNothing, "every-example-teaches", "no label but IGNORE"),
    (broken.NoQuestion, "questions-named", "names no question"),
    (broken.QuestionsOfItsOwn, "questions-named", "not a question of the data"),
    (broken.ShufflesUnseeded, "same-seed-same-examples", "changes: "),
    (broken.MoreEachTime, "same-seed-same-examples", "28 examples, then 29"),
    (broken.IgnoresItsForm, "prompts-in-its-form", "is of a plain prompt, "),
    (broken.TakesARowForGranted, "little-data", "IndexError"),
    (broken.TakesAWrongSampleForGranted, "little-data", "StopIteration"),
    (broken.KeepsEmptyTexts, "little-data", "has no tokens"),
    (broken.FailsOnEscapes, "hostile-text", "unprintable"),
    (broken.WritesIntoTheData, "data-untouched", "changed the data"),
    (broken.SharesWithoutALoss, "loss-of-a-batch", "need a loss of the trainer's own"),
    (broken.LossByRow, "loss-of-a-batch", "2 numbers for a batch"),
    (broken.LossWithoutGradient, "loss-of-a-batch", "cannot be differentiated"),
    (broken.LossAsNumber, "loss-of-a-batch", "not a tensor"),
    (broken.InfiniteLoss, "loss-of-a-batch", "is inf"),
]

BUNDLED = [
    *trainers.refine_eval_trainers(),
    *refine_eval_orm.refine_eval_trainers(),
    *refine_eval_sorm.refine_eval_trainers(),
    *refine_eval_refiners.refine_eval_trainers(),
    *refine_eval_benchmarks.refine_eval_trainers(),
]

SMALL: dict[type[Trainer], list[Any]] = {
    ApplesLanguageModelTrainer: [LanguageModelOptions(drills=20), LanguageModelOptions(drills=20, remember=0.5)],
    ApplesCriticTrainer: [CriticLessonOptions(rows=20, lesson=lesson) for lesson in ("equations", "lines", "prefixes")],
}
"""Options with which trainers that make their own data make little."""


@pytest.mark.parametrize("trainer", [broken.SoundTrainer, broken.SoundCriticTrainer])
def test_a_sound_trainer_passes(trainer: type[Trainer]) -> None:
    results = run_checks(trainer)
    assert [result.message for result in results if not result.passed] == []
    assert len({result.name for result in results}) == len(results) == 15


@pytest.mark.parametrize(("trainer", "name", "because"), BREAKS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_check_can_fail(trainer: type[Trainer], name: str, because: str) -> None:
    check = next(check for check in component_checks(trainer) if check.name == name)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - a trainer's own exceptions pass through
        check()
    assert because in f"{type(raised.value).__name__}: {raised.value}"


def test_every_check_is_proved_able_to_fail() -> None:
    """Those that all kinds share are proved in test_testing."""
    shared = {check.__name__.replace("_", "-") for check in SHARED}
    proved = {name for _, name, _ in BREAKS}
    sorts = (broken.SoundTrainer, broken.IgnoresItsForm)
    assert proved == {check.name for sort in sorts for check in component_checks(sort)} - shared


@pytest.mark.parametrize(
    ("trainer", "options"),
    [(trainer, options) for trainer in BUNDLED for options in SMALL.get(trainer, [None])],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_bundled_trainers_pass(trainer: type[Trainer], options: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "train", 20)
    failed = [f"{result.name}: {result.message}" for result in run_checks(trainer, options) if not result.passed]
    assert failed == []


# The toys.


def test_toy_training_data_have_what_trainers_look_for() -> None:
    data = toy_training_data()
    assert isinstance(data, TrainingData)
    outcomes = [{sample.correct for sample in row.samples} for row in data.samples]
    assert {True, False} in outcomes
    assert {label for row in data.labels for label in row.labels} == {0, 1}
    for row in data.labels:
        assert len(row.labels) == len(row.steps)
        assert sorted(row.labels, reverse=True) == list(row.labels), "nothing is good after a bad step"
        assert bool(row.verified) is not row.correct
    assert {label for row in toy_training_data(soft=True).labels for label in row.labels} == {0, 0.75}


def test_the_toy_tokenizer_writes_every_text() -> None:
    tokenizer = toy_tokenizer()
    for text in ("Tom has 3 apples.\n 1+2=3", "\x1b[31m \u2028é😀", "[BAD]1+1=3"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("[BAD]")) == len(tokenizer.encode("\n")) == 1
