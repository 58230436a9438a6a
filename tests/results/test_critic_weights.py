"""Files of weights of critics: read as written; refused where damaged, of other critics, or of the very problems."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from refine_eval.errors import UsageError
from refine_eval.results.critic_weights import CriticWeights, FittedMember, problem_hashes, weights_to_json
from refine_eval.statistics.logistic import Logistic
from refine_eval.testing import toy_problems

PROBLEMS = toy_problems()
WEIGHTS = CriticWeights(
    command="refine-eval critics fit",
    data="toy",
    details={},
    solutions=9,
    problems=2,
    members=(
        FittedMember(name="b", options={"threshold": 0.5}, identity="critic:b"),
        FittedMember(name="a", options={}, identity="critic:a"),
    ),
    answers=Logistic(intercept=0.0, weights=(1.0, 0.0)),
    steps=Logistic(intercept=0.0, weights=(0.0, 1.0)),
    seen=frozenset(each for p in PROBLEMS[:2] for each in problem_hashes(p.id, p.question)),
)


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "weights.json"
    path.write_text(json.dumps({**weights_to_json(WEIGHTS), **changes}))
    return path


def test_weights_are_read_as_they_are_written(tmp_path: Path) -> None:
    found = CriticWeights.read(written(tmp_path))
    assert replace(found, digest="") == WEIGHTS
    assert found.digest != CriticWeights.read(written(tmp_path, solutions=10)).digest


def test_each_weight_is_that_of_its_member_by_name() -> None:
    scores = {"a": 0.9, "b": 0.2}
    assert WEIGHTS.of_solution(scores) == pytest.approx(0.2)
    assert WEIGHTS.of_step(scores) == pytest.approx(0.9)
    assert replace(WEIGHTS, steps=None).of_step(scores) == pytest.approx(0.2), "without weights for steps the others"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "its format is 2, and this version reads 1"),
        ({"members": []}, "its members are none, or one twice"),
        ({"members": [{"name": "a", "options": {}, "identity": "x"}] * 2}, "its members are none, or one twice"),
        ({"answers": {"intercept": 0, "weights": [1]}}, "it has 1 weights for 2 members"),
        ({"steps": {"intercept": "0", "weights": [1, 2]}}, "'intercept' is '0' and not a number"),
        ({"seen": [3]}, "'seen' is 3 and not a name"),
        ({"answers": None}, "'answers' is None and not an object"),
    ],
)
def test_a_damaged_file_is_one_sentence(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as weights of critics") as found:
        CriticWeights.read(written(tmp_path, **changes))
    assert why in str(found.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "Expecting value"), (b"[1]", "not an object"), (b"\xff", "UTF-8"), (b'{"a": NaN}', "NaN")],
)
def test_a_file_of_another_kind_is_one_sentence(content: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="refine-eval critics fit -o") as found:
        CriticWeights.read(path)
    assert why in str(found.value)


@pytest.mark.parametrize("path", ["nowhere.json", ".", "a\0b"])
def test_a_file_that_is_not_there_is_one_sentence(path: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as weights of critics"):
        CriticWeights.read(tmp_path / path)


def test_other_critics_are_refused() -> None:
    WEIGHTS.check_members({"a": "critic:a", "b": "critic:b"})
    with pytest.raises(UsageError, match="These weights are of 'a', 'b', not of 'a', 'c'"):
        WEIGHTS.check_members({"a": "critic:a", "c": "critic:c"})
    with pytest.raises(UsageError, match="'critic:other' and not 'critic:b'"):
        WEIGHTS.check_members({"a": "critic:a", "b": "critic:other"})


def test_problems_that_weights_were_fitted_on_are_refused_by_id_or_question() -> None:
    WEIGHTS.check_apart(PROBLEMS[2:])
    elsewhere = replace(PROBLEMS[0], id="other/7", question=f"  {PROBLEMS[0].question}\n")
    read_back = replace(PROBLEMS[1], question="", prompt="")
    for problem in (PROBLEMS[0], elsewhere, read_back, replace(PROBLEMS[1], repeat=1, id=f"{PROBLEMS[1].id}@1")):
        with pytest.raises(UsageError, match="fitted on 1 of the very problems that are judged"):
            WEIGHTS.check_apart([problem, *PROBLEMS[2:]])
