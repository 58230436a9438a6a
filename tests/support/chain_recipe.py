"""A recipe of one chain of stages, in a folder where commands only pretend (fake_stages.py), and what comes of it."""

import sys
from pathlib import Path

from in_process import Done, refine_eval

from refine_eval.cli.recipe_stages import parse
from refine_eval.recipes.files import Recipe, read_recipe

FAKE = [sys.executable, str(Path(__file__).with_name("fake_stages.py"))]
"""What stands for the program."""

RECIPE = """
description: A chain.
with: {base: a/model, questions: 4, note: null}
every:
  collect: {task: apples, seed: $seed, temperature: 0.5}
  train: {optimizer: muon, seed: $seed, lora_rank: 8}
  train sft: {lora-rank: null, steps: 30}
stages:
  gold: {do: collect, gold: true, limit: $questions, temperature: null}
  student: {do: train sft, on: $gold, base: $base}
  samples: {do: collect, model-args: {pretrained: $student}, samples: 4, limit: $questions}
  labels: {do: label, on: [$samples], model-args: {pretrained: $student}, rollouts: 2}
  orm: {do: train orm, on: [$samples], base: $student}
  grid: {do: run, critic: orm, orm-model: $orm, refiner: [local, global], limit: 9}
"""
ALL = ["gold", "student", "samples", "labels", "orm", "grid"]
RUN = ("recipe", "run", "recipe.yaml", "--work", "work")


def run(place: Path, *more: str) -> Done:
    (place / "calls").unlink(missing_ok=True)
    return refine_eval(*RUN, *more, cwd=place)


def calls(place: Path) -> list[str]:
    """The stages that were made since the last `run`."""
    return (place / "calls").read_text().split() if (place / "calls").exists() else []


def change(place: Path, old: str, new: str) -> None:
    text = (place / "recipe.yaml").read_text()
    assert text.count(old) == 1
    (place / "recipe.yaml").write_text(text.replace(old, new))


def states(done: Done) -> dict[str, str]:
    """Of `--dry-run`: each stage's state."""
    lines = done.stdout.splitlines()
    at = lines[0].index("state"), lines[0].index("does")
    return {line.split()[0]: line[at[0] : at[1]].strip() for line in lines[1:-1]}


def snapshot(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def recipe(folder: Path, text: str = RECIPE, **given: str) -> Recipe:
    (folder / "recipe.yaml").write_text(text)
    return read_recipe(folder / "recipe.yaml", given, parse)


def costs(done: Done) -> dict[str, list[str]]:
    """Of `--dry-run`: what stands in the columns behind each stage's."""
    lines = done.stdout.splitlines()
    at = lines[0].index("tokens written")
    return {line[: lines[0].index("state")].strip(): line[at:].split() for line in lines[1:]}
