"""The recipes that ship: all are checked as `--dry-run` does, and the paper's is run with a tiny model in its place."""

from pathlib import Path

import pytest

from in_process import refine_eval
from refine_eval.plugins import registry
from refine_eval.results import read_run

STUDENT = registry().benchmarks()["apples"].student


@pytest.mark.parametrize("name", ["llama2-13b", "smollm2", "tiny"])
def test_a_bundled_recipe_can_be_planned(name: str, tmp_path: Path) -> None:
    plan = refine_eval("recipe", "run", name, "--work", "work", "--dry-run", cwd=tmp_path).stdout
    assert "still to make" in plan
    assert "?" not in plan, "every cost can be estimated"
    assert not (tmp_path / "work").exists()


def test_the_papers_recipe_runs_with_a_tiny_model(tmp_path: Path) -> None:
    tiny = {"base": STUDENT, "task": "apples_practice", "engine": "transformers", "workers": "null", "draws": 4}
    tiny |= {"questions": 24, "limit": 12, "steps": 2, "batch": 4, "accumulate": 1, "bf16": "false"}
    words = [word for name, value in tiny.items() for word in ("--set", f"{name}={value}")]
    done = refine_eval("recipe", "run", "llama2-13b", "--work", "work", "--jobs", "2", *words, cwd=tmp_path)
    assert "19 of 19 stages made" in done.stdout
    record = read_run(tmp_path / "work" / "results" / "runs" / "llama2-13b-0-glore")
    assert {"draft", "global", "local", "rerank", "oracle"} <= {row.name for row in record.rows}
    again = refine_eval("recipe", "run", "llama2-13b", "--work", "work", "--jobs", "2", *words, cwd=tmp_path)
    assert "0 of 19 stages made" in again.stdout
