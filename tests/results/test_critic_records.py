"""Records of evaluated critics: read as they were written, refused in a sentence, and harmless on a page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fuzz import Accepted, accepted_or_refused, as_json, broken_bytes, broken_tree, fuzz
from labelled import OWN, judged
from records import HOSTILE

from refine_eval.costs import LeftOut
from refine_eval.errors import RunError
from refine_eval.results.critic_records import (
    Cost,
    EvaluatedCritic,
    Evaluation,
    evaluation_to_json,
    read_evaluation,
)
from refine_eval.results.critic_tables import below, markdown, table
from refine_eval.results.label_files import Unused
from refine_eval.statistics.judged import Thresholds, figures

SOME = [
    judged(at, (True, at % 2 == 0), (0.9, 0.2 + at / 10), correct=at % 3 > 0, source="ab"[at % 2]) for at in range(6)
]
EVALUATION = Evaluation(
    command="refine-eval critics eval --critic mine",
    data="mine.jsonl (plain)",
    details={"form": "plain"},
    tuned="",
    unused=(Unused(rows=2, reason="'steps' is empty", first="mine.jsonl, row 3"),),
    critics=(
        EvaluatedCritic(
            name="mine",
            options={"threshold": 0.5},
            identity="critic:mine",
            needs_gold=False,
            thresholds=(Thresholds(steps=OWN.steps, answers=OWN.answers),),
            figures=figures(SOME),
            subsets={"a": figures(SOME[::2])},
            unscored=(LeftOut(component="mine", verb="score", texts=1, of=7, reason="too long"),),
            cost=Cost(read_tokens=None, tokens=1.5, flops=None, seconds=0.1),
        ),
    ),
)
VALID = json.dumps(evaluation_to_json(EVALUATION)).encode()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "critics.json"
    path.write_bytes(VALID)
    assert read_evaluation(path) == EVALUATION
    text = "\n".join(below(EVALUATION))
    assert "rows left out: 2 (2: 'steps' is empty (first: mine.jsonl, row 3))" in text
    assert "mine could not score 1 of 7 texts: too long" in text


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("format", 2, "its format is 2, and this version reads 1"),
        ("critics", {}, "'critics' is {} and not a list"),
        ("critics", [], "it has no critics"),
        ("critics", [{}], "it has no 'thresholds'"),
        ("command", 1, "'command' is 1 and not a text"),
        ("unused", [{"rows": -1}], "'rows' is -1 and not a whole number from 0"),
    ],
)
def test_a_damaged_record_is_one_sentence(tmp_path: Path, key: str, value: object, complaint: str) -> None:
    path = tmp_path / "critics.json"
    path.write_text(json.dumps({**json.loads(VALID), key: value}))
    with pytest.raises(RunError) as refused:
        read_evaluation(path)
    assert complaint in str(refused.value)


def test_hostile_names_stay_text_on_the_page() -> None:
    named = replace(EVALUATION.critics[0], name=HOSTILE)
    page = markdown(replace(EVALUATION, data=HOSTILE, critics=(named, EVALUATION.critics[0])), "command")
    assert "\x1b" not in page
    assert "<script" not in page.replace("\\<script", "")
    heads, lines = table(EVALUATION)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == len(lines) - 1 + 2  # without seconds, with the heads and the rule
    assert len(heads) == 2


@fuzz(content=broken_bytes(VALID))
def test_damaged_bytes_of_a_record(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "critics.json"
    path.write_bytes(content)
    if isinstance(found := accepted_or_refused(lambda: read_evaluation(path)), Accepted):
        markdown(found.value, "command")


@fuzz(tree=broken_tree(json.loads(VALID)))
def test_damaged_values_of_a_record(tmp_path: Path, tree: object) -> None:
    path = tmp_path / "critics.json"
    path.write_bytes(as_json(tree))
    if isinstance(found := accepted_or_refused(lambda: read_evaluation(path)), Accepted):
        markdown(found.value, "command")
