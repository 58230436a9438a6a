"""The recipes that ship: all are checked as `--dry-run` does, and the paper's is run with a tiny model in its place."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import warm
from in_process import refine_eval

import ship_tiny
from refine_eval.cli.recipe_stages import parse
from refine_eval.plugin.registry import registry
from refine_eval.recipes import making
from refine_eval.recipes.files import read_recipe
from refine_eval.results.records import read_run
from refine_eval.stages.folder import write_folder

STUDENT = registry().benchmarks()["apples"].student


@pytest.mark.parametrize("name", ["llama2-13b", "qwen", "smollm2", "tiny"])
def test_a_bundled_recipe_can_be_planned(name: str, tmp_path: Path) -> None:
    plan = refine_eval("recipe", "run", name, "--work", "work", "--dry-run", cwd=tmp_path).stdout
    assert "still to make" in plan
    assert "?" not in plan, "every cost can be estimated"
    assert not (tmp_path / "work").exists()


def test_the_papers_recipe_runs_with_a_tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "subprocess", warm.SUBPROCESS)
    tiny = {"base": STUDENT, "task": "apples_practice", "engine": "transformers", "workers": "null", "draws": 4}
    tiny |= {"questions": 24, "limit": 12, "steps": 2, "batch": 4, "accumulate": 1, "bf16": "false"}
    words = [word for name, value in tiny.items() for word in ("--set", f"{name}={value}")]
    done = refine_eval("recipe", "run", "llama2-13b", "--work", "work", "--jobs", "2", *words, cwd=tmp_path)
    assert "19 of 19 stages made" in done.stdout
    record = read_run(tmp_path / "work" / "results" / "runs" / "llama2-13b-0-glore")
    assert {"draft", "global", "local", "rerank", "oracle"} <= {row.name for row in record.rows}
    again = refine_eval("recipe", "run", "llama2-13b", "--work", "work", "--jobs", "2", *words, cwd=tmp_path)
    assert "0 of 19 stages made" in again.stdout


@pytest.mark.parametrize(
    ("given", "student"),
    [
        ({}, "pretrained=OUT,dtype=auto"),
        ({"engine": "vllm", "adapter": "pretrained=Q,lora_local_path="}, "pretrained=Q,lora_local_path=OUT,dtype=auto"),
    ],
    ids=["merged", "served by vLLM"],
)
def test_the_control_of_qwen_is_an_adapter(given: dict[str, str], student: str) -> None:
    found = read_recipe(registry().recipes()["qwen"], given, parse)
    (run,) = (stage for stage in found.stages if stage.name == "control-run")
    places = dict.fromkeys(run.needs, "OUT")
    assert run.words(places)[run.words(places).index("--model-args") + 1] == student


def trained(work: Path, name: str, weights: str = "weights", seconds: float = 1.5) -> None:
    """A finished training of the recipe tiny, which only pretends."""

    def fill(folder: Path) -> None:
        for file in (weights_file, "tokenizer.json", "training.json"):
            (folder / file).write_text(f"{weights} of {name}")
        (folder / "README.md").write_text(f"# {name}\n- seconds: {seconds}\n- best step: 3\n")

    weights_file = "model.safetensors" if weights != "adapter" else "adapter_model.safetensors"
    write_folder(work / name, stage="train orm", settings={}, inputs={}, counts={}, fill=fill)


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs ship_tiny with places in a folder; what it says where it fails."""
    monkeypatch.setattr(ship_tiny, "ROOT", tmp_path)
    monkeypatch.setattr(ship_tiny, "PLACES", {name: tmp_path / "ships" / name for name in ship_tiny.PLACES})
    for name in ship_tiny.PLACES:
        trained(tmp_path / "work", name)

    def run(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ship_tiny.py", str(tmp_path / "work"), *more])
        try:
            ship_tiny.main()
        except SystemExit as exited:
            return str(exited.code)
        return ""

    return run


def test_shipped_models_are_checked_in_all_their_files(tmp_path: Path, ship: Callable[..., str]) -> None:
    assert "ships/orm/README.md, ships/orm/model.safetensors, ships/orm/tokenizer.json" in ship("--check")
    assert ship() == ship("--check") == ""
    card = (tmp_path / "ships" / "orm" / "README.md").read_text()
    assert card.startswith("---\nlicense: mit")
    assert "- seconds: 1.5" in card
    trained(tmp_path / "work", "orm", seconds=2.5)
    assert ship("--check") == "", "only its time is another"
    (tmp_path / "ships" / "orm" / "tokenizer.json").write_text("{}")
    (tmp_path / "ships" / "local" / "more.txt").touch()
    (tmp_path / "ships" / "local" / "README.md").write_text(card)
    line = ship("--check")
    places = "ships/orm/tokenizer.json, ships/local/README.md, ships/local/more.txt."
    assert line == f"Not as in {tmp_path / 'work'}: {places}"


def test_nothing_is_shipped_before_all_is_there(tmp_path: Path, ship: Callable[..., str]) -> None:
    ship()
    trained(tmp_path / "work", "student", weights="other weights")
    shutil.rmtree(tmp_path / "work" / "local")
    for more in ((), ("--check",)):
        assert "work/local holds no finished output of a stage" in ship(*more)
    trained(tmp_path / "work", "local", weights="adapter")
    assert "work/local holds no model of the recipe tiny" in ship()
    assert (tmp_path / "ships" / "student" / "model.safetensors").read_text() == "weights of student"
    assert (tmp_path / "ships" / "local" / "model.safetensors").exists()
