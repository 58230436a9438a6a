"""Critics with labels by any name and in any order: id2label says which one means good."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models as tiny
import torch

from refine_eval.critics.labels import good_label, probability_of_good
from refine_eval.critics.token_classifier import StepScorerOptions
from refine_eval.errors import ModelError
from refine_eval_orm.critic import OrmCritic

CANDIDATE = tiny.candidate("how", "1+2=3\n2+2=5\n#### 3")


def opened(folder: Path, names: list[str] | None, labels: int = 2) -> OrmCritic:
    changes = (
        {} if names is None else {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    )
    critic = OrmCritic(StepScorerOptions(model=str(tiny.critic(folder, labels, **changes))))
    critic.open(tiny.CPU)
    return critic


def scores(critic: OrmCritic) -> list[float]:
    return list(critic.critique([CANDIDATE])[0].step_scores)


@pytest.mark.parametrize(
    "names",
    [["bad", "good"], ["incorrect", "correct"], ["-", "+"], ["False", "True"], ["NEGATIVE", "Positive"], ["0", "1"]],
)
def test_labels_are_read_by_their_names(names: list[str], tmp_path: Path) -> None:
    unnamed, named = opened(tmp_path / "unnamed", None), opened(tmp_path / "named", names)
    turned = opened(tmp_path / "turned", names[::-1])
    assert scores(named) == scores(unnamed)
    assert scores(turned) == pytest.approx([1 - score for score in scores(unnamed)])
    assert ":good=0:" in turned.identity()
    assert ":good" not in unnamed.identity() + named.identity()


@pytest.mark.parametrize(("name", "turned"), [("good", False), ("score", False), ("LABEL_0", False), ("bad", True)])
def test_a_single_label(name: str, turned: bool, tmp_path: Path) -> None:
    plain, named = scores(opened(tmp_path / "plain", None, 1)), scores(opened(tmp_path / "named", [name], 1))
    assert named == pytest.approx([1 - score for score in plain] if turned else plain)


@pytest.mark.parametrize(
    "names",
    [
        ["blue", "green"],
        ["good", "neutral"],
        ["good", "correct"],
        ["bad", "wrong"],
        ["LABEL_1", "LABEL_0"],
        ["reward"] * 2,
    ],
)
def test_names_that_do_not_say_are_refused(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"has the labels '{names[0]}' and '{names[1]}', which do not say what is good"
    ):
        opened(tmp_path / "critic", names)


def test_three_labels_are_refused() -> None:
    with pytest.raises(ModelError, match="has 3 labels; a step is right or wrong"):
        good_label(SimpleNamespace(id2label={0: "bad", 1: "neutral", 2: "good"}), "prm")


def test_probabilities() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    assert probability_of_good(logits, 1).tolist() == pytest.approx([0.8808, 0.5], abs=1e-4)
    assert probability_of_good(logits, 0).tolist() == pytest.approx([0.1192, 0.5], abs=1e-4)
    assert probability_of_good(logits[:, 1:], 0).tolist() == pytest.approx([0.8808, 0.7311], abs=1e-4)
    assert probability_of_good(logits[:, 1:], -1).tolist() == pytest.approx([0.1192, 0.2689], abs=1e-4)
