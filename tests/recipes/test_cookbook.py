"""The cookbook: ten strategies of the literature as files; each runs, and is on the page with its reference."""

import json
import re
from pathlib import Path

import pytest
from in_process import refine_eval

from refine_eval.recipes.suites import read_suite
from refine_eval.results.records import read_run
from refine_eval_benchmarks import HERE
from refine_eval_benchmarks.apples import generate

COOKBOOK = HERE / "cookbook"
FILES = sorted(COOKBOOK.glob("*.yaml"))
RECIPE = COOKBOOK / "rest.yaml"
SUITES = [path for path in FILES if path != RECIPE]
CHATS = [path for path in SUITES if "apply-chat-template" in path.read_text()]
PAGE = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text("utf-8")

WRONG, JUDGED = "1+1=3\n#### 3", "Step 0 is off: 1+1 is 2.\n\\boxed{0}\nVerdict: wrong"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """What a chat model might say: a wrong draft, which every refinement repairs, and judges that see it."""
    path = tmp_path / "script.jsonl"
    with path.open("w") as file:
        for problem in generate("test", 2):
            answer = problem["answer"].rpartition("#### ")[2]
            right = f"1+1=2\n#### {answer}"
            texts = {
                "draft": WRONG,
                "sample": [WRONG] * 6 + [right] * 2,
                "judge": JUDGED,
                "select-by-prompt": "Best: 8",
            }
            texts |= {"rewrite": [right] * 3, "continue": [right] * 2}
            file.write(json.dumps({"question": problem["question"], "texts": texts}) + "\n")
    return path


def test_there_are_ten_and_the_page_has_each_with_its_reference() -> None:
    assert len(FILES) == 10
    for path in FILES:
        section = re.search(rf"^## [^\n]*\n(?:(?!^## ).)*cookbook/{path.name}(?:(?!^## ).)*", PAGE, re.M | re.S)
        assert section, f"docs/cookbook.md has no section with cookbook/{path.name}"
        cited = re.findall(r"\b\d{4}\.\d{5}\b", path.read_text("utf-8"))
        assert cited, "a strategy of the literature has a reference"
        assert [number for number in cited if f"arxiv.org/abs/{number}" not in section[0]] == []
        assert "Needs" in section[0]


@pytest.mark.parametrize("path", [p for p in SUITES if p not in CHATS], ids=lambda path: path.stem)
def test_a_strategy_runs_on_the_bundled_models(path: Path, tmp_path: Path) -> None:
    wrong_ones = ("--drafts", "3", "--draft-temperature", "1")
    refine_eval("run", "--suite", str(path), "--limit", "2", *wrong_ones, "-q", cwd=tmp_path)
    for name in read_suite(path).runs:
        record = read_run(tmp_path / "results" / "runs" / name)
        assert record.rows[0].problems == 2
        assert {"draft", record.settings["refiners"][0]["name"]} <= {row.name for row in record.rows}


@pytest.mark.parametrize("path", CHATS, ids=lambda path: path.stem)
def test_a_strategy_of_chat_models_runs_with_a_scripted_one(path: Path, script: Path, tmp_path: Path) -> None:
    model = ("--model", "scripted", "--model-args", f"path={script}", "--tasks", "apples", "--limit", "2")
    refine_eval("run", "--suite", str(path), *model, "-q", cwd=tmp_path)
    for name in read_suite(path).runs:
        record = read_run(tmp_path / "results" / "runs" / name)
        by_name = {row.name: row.correct[record.filter] for row in record.rows}
        refiner = record.settings["refiners"][0]["name"]
        assert (by_name["draft"], by_name["oracle"]) == (0, 2)
        assert by_name[refiner] == (0 if refiner == "resample" else 2)


def test_self_training_can_be_planned(tmp_path: Path) -> None:
    small = [
        "--set",
        "questions=4",
        "--set",
        "draws=1",
        "--set",
        "first_steps=1",
        "--set",
        "steps=1",
        "--set",
        "limit=2",
    ]
    plan = refine_eval("recipe", "run", str(RECIPE), "--work", "work", "--dry-run", *small, cwd=tmp_path).stdout
    assert "still to make" in plan
    assert "?" not in plan
