"""What a record says of where it was made: nothing."""

from pathlib import Path

import pytest

from refine_eval.runs.portable import portable, portable_command
from refine_eval.runs.record import RECIPE_VARIABLE, STAGE_VARIABLE, recorded_command


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        (
            "refine-eval run --model-args pretrained=/data/m/student,lora_local_path=~/a/lora --results /x/results",
            "refine-eval run --model-args pretrained=student,lora_local_path=lora --results results",
        ),
        ("refine-eval run --orm-model=/data/m/orm", "refine-eval run --orm-model=orm"),
        (
            "refine-eval run --model-args base_url=http://localhost:8000/v1,model=a/b",
            "refine-eval run --model-args base_url=http://localhost:8000/v1,model=a/b",
        ),
        (
            "refine-eval run --model-args pretrained=models/student",
            "refine-eval run --model-args pretrained=models/student",
        ),
    ],
)
def test_a_command_names_no_folder_of_the_machine(typed: str, recorded: str) -> None:
    assert portable_command(typed) == recorded


def test_options_name_models_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "my models").mkdir()
    options = {
        "model": str(tmp_path / "models" / "mine"),
        "relative": "models/mine",
        "hub": "HuggingFaceTB/SmolLM2-135M",
        "spaced": str(tmp_path / "my models"),
        "system": "/think about a/b, then answer.",
        "home": "~/models: not this text.",
        "stop": ("/think", "\n"),
        "args": {"path": Path("/a/b"), "temperature": 0.5, "none": None},
    }
    assert portable(options) == {
        "model": "mine",
        "relative": "mine",
        "hub": "HuggingFaceTB/SmolLM2-135M",
        "spaced": "my models",
        "system": "/think about a/b, then answer.",
        "home": "~/models: not this text.",
        "stop": ["/think", "\n"],
        "args": {"path": "b", "temperature": 0.5, "none": None},
    }


def test_a_recipes_run_says_the_recipes_command_and_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded_command("refine-eval run --results /a/results") == {"command": "refine-eval run --results results"}
    monkeypatch.setenv(RECIPE_VARIABLE, "refine-eval recipe run tiny --work DIR")
    monkeypatch.setenv(STAGE_VARIABLE, "glore")
    said = {"command": "refine-eval recipe run tiny --work DIR", "stage": "glore"}
    assert recorded_command("refine-eval run --results /a/results") == said
