"""A replay is the run with the same settings, row by row, and writes nothing; what a record lacks is said."""

import gc
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import error_line, refine_eval

from refine_eval import Run, evaluate
from refine_eval.results.ledger import Row

CHANGES: dict[str, dict[str, Any]] = {
    "as it was": {},
    "draft": {"selector": "draft"},
    "rerank": {"selector": "rerank"},
    "gate": {"selector": "gate", "selector_options": {"gate": {"threshold": 0.97}}},
    "vote": {"selector": "vote"},
    "weighted vote": {"selector": ("weighted-vote", "vote")},
    "oracle": {"selector": "oracle"},
    "refine below": {"refine_below": 0.6},
    "another gate": {"when": "sorm", "refine_below": 0.7},
    "a gate of arithmetic": {"when": "calculator", "refine_below": 0.9},
    "choice by arithmetic": {"choose": "calculator"},
    "choice by an oracle": {"choose": "oracle"},
    "choice by an ensemble": {"choose": "ensemble", "critic_options": {"ensemble": {"of": "orm+calculator"}}},
    "one refiner": {"refiner": "local"},
    "a threshold": {"critic_options": {"orm": {"threshold": 0.9}}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the run "base" of 40 problems, and its store."""
    path = tmp_path_factory.mktemp("replay")
    evaluate("apples", limit=40, selector=("rerank", "vote"), results=path / "results", name="base")
    gc.freeze()  # each run frees its models by a look at all objects, of which the most are libraries'
    yield path
    gc.unfreeze()


def words(change: dict[str, Any]) -> list[str]:
    """The options of `refine-eval replay` for keywords of `evaluate`."""
    found = []
    for name, value in change.items():
        if name.endswith("_options"):
            for component, options in value.items():
                found += [w for option, given in options.items() for w in (f"--{component}-{option}", str(given))]
        else:
            for each in value if isinstance(value, tuple) else (value,):
                found += [f"--{name.replace('_', '-')}", str(each)]
    return found


UNKNOWN = ("seconds", "read_tokens", "flops")
"""What a record's traces do not tell, so that no replay knows it."""


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in (*UNKNOWN, "accuracy")} for row in rows]


def real(folder: Path, change: dict[str, Any], **how: Any) -> Run:
    given = {"limit": 40, "selector": ("rerank", "vote"), **how, **change}
    return evaluate("apples", results=folder / "results", name="other", overwrite=True, **given)


def as_row(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__ if name not in UNKNOWN}


@pytest.mark.parametrize("name", CHANGES)
def test_a_replay_is_the_run_with_the_same_settings(name: str, folder: Path) -> None:
    found = json.loads(refine_eval("replay", "base", *words(CHANGES[name]), "--json", cwd=folder).stdout)
    assert found["generated"] == 0
    assert all(row["read_tokens"] is row["flops"] is None for row in found["rows"])
    assert table(found["rows"]) == [as_row(row) for row in real(folder, CHANGES[name]).rows]


@pytest.mark.parametrize("name", ["as it was", "weighted vote", "refine below", "choice by arithmetic", "one refiner"])
def test_a_replay_of_several_drafts_is_the_run_with_the_same_settings(name: str, folder: Path) -> None:
    several: dict[str, Any] = {"limit": 10, "drafts": 3, "draft_temperature": 1.0}
    if not (folder / "results" / "runs" / "several").exists():
        evaluate("apples", selector=("rerank", "vote"), results=folder / "results", name="several", **several)
    found = json.loads(refine_eval("replay", "several", *words(CHANGES[name]), "--json", cwd=folder).stdout)
    assert (found["generated"], found["rows"][0]["problems"], found["rows"][0]["drafts"]) == (0, 10, 3)
    assert table(found["rows"]) == [as_row(row) for row in real(folder, CHANGES[name], **several).rows]


def test_what_is_missing_is_said_and_made_when_asked_for(folder: Path) -> None:
    said = error_line("replay", "base", "--choose", "sorm", cwd=folder)
    assert "base lacks scores of 'sorm' for " in said
    assert "the first of problem apples/0. To make what is missing: --generate-missing." in said
    made = json.loads(
        refine_eval("replay", "base", "--choose", "sorm", "--generate-missing", "--json", cwd=folder).stdout
    )
    assert made["generated"] == 0  # scores, and no text
    assert table(made["rows"]) == [as_row(row) for row in real(folder, {"choose": "sorm"}).rows]


def test_a_gate_opens_only_to_what_was_refined(folder: Path) -> None:
    evaluate("apples", limit=40, refine_below=0.5, results=folder / "results", name="gated")
    refine_eval("replay", "gated", "--refine-below", "0.4", cwd=folder)
    # A draft that was let through has neither a place nor refinements.
    assert "gated lacks scores of 'sorm' for " in error_line("replay", "gated", "--refine-below", "1", cwd=folder)
    assert "base lacks what 'resample' makes of 40 of 40" in error_line(
        "replay", "base", "--refiner", "resample", cwd=folder
    )


def test_refinements_of_another_place_are_not_taken_for_those_of_this_one(folder: Path) -> None:
    assert "base lacks what 'local' makes of " in error_line("replay", "base", "--where", "calculator", cwd=folder)
    assert "base lacks what 'local' makes of " in error_line("replay", "base", "--sorm-threshold", "0.999", cwd=folder)
    assert "no samples for critic 'agreement'" in error_line("replay", "base", "--choose", "agreement", cwd=folder)


def test_options_of_what_takes_no_part_and_unknown_components_are_refused(folder: Path) -> None:
    assert "takes no part in this run" in error_line("replay", "base", "--agreement-samples", "3", cwd=folder, expect=2)
    assert "No selector is called 'votes'" in error_line("replay", "base", "--selector", "votes", cwd=folder)
    assert "There is no run record 'bases'" in error_line("replay", "bases", cwd=folder)


def test_a_published_record_without_texts_replays_all_but_answers(folder: Path) -> None:
    refine_eval("publish", "results/runs/base", cwd=folder)
    shutil.rmtree(folder / "results" / "runs" / "other", ignore_errors=True)
    path = "results/published/base"
    full = json.loads(refine_eval("replay", "base", "--selector", "rerank", "--json", cwd=folder).stdout)
    small = json.loads(refine_eval("replay", path, "--selector", "rerank", "--json", cwd=folder).stdout)
    assert table(full["rows"]) == table(small["rows"])
    assert "keeps no texts, and answers are to be compared" in error_line(
        "replay", path, "--selector", "vote", cwd=folder
    )
    assert "lacks scores of 'calculator'" in error_line("replay", path, "--choose", "calculator", cwd=folder)
