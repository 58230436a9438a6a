"""Puts the tiny recipe's models where the plugins ship them, each with a model card, and the figures."""

import json
import shutil
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]

PLACES = {
    "student": _ROOT / "benchmarks/refine_eval_benchmarks/models/student",
    "orm": _ROOT / "plugins/orm/refine_eval_orm/models/orm",
    "sorm": _ROOT / "plugins/sorm/refine_eval_sorm/models/sorm",
    "global": _ROOT / "plugins/refiners/refine_eval_refiners/models/global",
    "local": _ROOT / "plugins/refiners/refine_eval_refiners/models/local",
}
FIGURES = _ROOT / "benchmarks/refine_eval_benchmarks/models/figures.json"

_KIND = {
    "student": "student (writes drafts)",
    "orm": "outcome reward model (ORM)",
    "sorm": "stepwise outcome reward model (SORM)",
    "global": "global refiner",
    "local": "local refiner",
}
_CRITIC_STAGES = """Made in five stages. (1) A language model wider than the student is taught equations and gold
solutions, from nothing ({backbone}), with a second head, dropped afterwards, that asks for
the token just read; then it is frozen. (2) Three fresh layers and a head on top learn to judge lines of equations,
40 % of them false ({equations}). (3) They learn which line is wrong in {lessons:,} gold
solutions, 70 % of them with one wrong step that is carried forward ({lines}); (4) on the
same kind of data, that no prefix is good after a mistake ({prefixes}). All these labels
are known by construction. (5) They learn {own}
({steps}).

Stages 1 to 4 are not in the GLoRe paper: they stand for what a pre-trained language model brings. Without them
a critic of this size did not learn to judge a step in trials made while planning this project. The head's bias
is zero and was not trained. A step's score is the softmax probability of "good" at the newline after it; the
score at the last line is the solution's."""


def _percent(figure: dict[str, Any]) -> str:
    return f"{figure['percent']} % ± {figure['plus_minus']} ({figure['cases']} cases)"


def _made(name: str, counts: dict[str, Any]) -> str:
    """How one model was made."""
    if name == "student":
        return (
            f"Supervised fine-tuning from nothing on equations and gold solutions ({counts['student']}). The number "
            "of steps sets its accuracy; the learning rate decays to nothing within them. There was no expert "
            "iteration, so it is not at its plateau: see the control among the figures, which is this student with "
            "as many more steps on its own right samples as a refiner is trained for."
        )
    if name == "orm":
        own = (
            f"the final outcome of {counts['samples']:,} samples of the student ({counts['right samples']:,} right), "
            f"as the label of every step end"
        )
        return _CRITIC_STAGES.format(**counts | {"own": own, "steps": counts[name]})
    if name == "sorm":
        own = (
            f"labels from {counts['rollouts']} rollouts of the student from every prefix of {counts['labelled']:,} "
            "wrong samples (one success makes a prefix good; monotone; results must be used; balanced for each "
            "prefix length), and as many right samples"
        )
        return _CRITIC_STAGES.format(**counts | {"own": own, "steps": counts[name]})
    pairs = counts["pairs"][name]
    what = {
        "global": "a wrong sample of the student to a right one of the same question",
        "local": "a draft with [BAD] before its first bad step (the SORM's rollout labels) to the verified "
        "continuation of the steps before it",
    }[name]
    return f"The student, trained further on {pairs:,} pairs: {what}."


def _measured(name: str, figures: dict[str, Any]) -> list[str]:
    """The lines of one card's table of figures."""
    accuracy, change = figures["accuracy"], figures["against the draft"]
    if name in ("orm", "sorm"):
        return [f"| {what} | {_percent(figure)} |" for what, figure in figures["critics"][name].items()]
    rows = {"student": ["draft"], "global": ["draft", "global"], "local": ["draft", "local (SORM's step)"]}[name]
    if name == "local":
        rows.append("local (oracle's step)")
    rows.append("chosen by ORM {draft, global, local}")
    rows.append("control: student trained on, greedy")
    lines = [f"| {row}, answers right | {_percent(accuracy[row])} |" for row in rows]
    for row in rows[1:]:
        gain = change[row]
        lines.append(
            f"| {row}, against the draft | {gain['points']:+} ± {gain['plus_minus']} points, "
            f"{gain['wrong_to_right']} gained, {gain['right_to_wrong']} lost, p = {gain['p']} |"
        )
    return lines


def card(name: str, counts: dict[str, Any], figures: dict[str, Any], command: str) -> str:
    """The README.md of a model folder."""
    table = "\n".join(_measured(name, figures))
    return f"""---
license: mit
library_name: transformers
tags: [glore, refine-eval, synthetic]
---

# apples: tiny {_KIND[name]}

{counts["parameters"][name]:,} parameters, Llama architecture, bfloat16. Trained on the synthetic world "apples" that
refine-eval bundles (`refine_eval_benchmarks/apples.py`), so that the whole GLoRe method (Havrilla et al., ICML
2024, arXiv 2402.10963) runs offline in seconds.

## How it was made

Seed {figures["seed"]}, two CPU cores, from nothing:

    {command}

{_made(name, counts)}

## Measured

These weights, run in float32, on {figures["problems"]}, none of whose texts is in the training split. 95 %
intervals; one training seed.

| figure | value |
|---|---|
{table}

`benchmarks/refine_eval_benchmarks/models/figures.json` has all figures of the five models.

## Not good for

Anything but this world. It knows about a hundred tokens; any other word becomes `<unk>`, and `config.json` says
`"refine_eval_task": "apples"` so that the harness can refuse such text. Its figures say how this small world
behaves, not how large language models do.
"""


def training_counts(work: Path) -> dict[str, Any]:
    """How much data each model saw, from the work folder's own files."""
    from refine_eval.training.models import load_critic, load_generator
    from refine_eval_benchmarks import recipe_tiny_stages as recipe

    graded = [right for row in recipe.read_rows(work / "samples.jsonl") for _, right in row["samples"]]
    models = {
        name: (load_critic if name in ("orm", "sorm") else load_generator)(work / "export" / name) for name in PLACES
    }

    def size(steps: int) -> str:
        return f"{steps * recipe.ROWS:,} rows in {steps:,} steps"

    return {
        "student": size(recipe.STUDENT_STEPS),
        "backbone": size(recipe.BACKBONE_STEPS),
        "lessons": recipe.TAUGHT_ON,
        "equations": size(recipe.EQUATION_STEPS),
        "lines": size(recipe.LINE_STEPS),
        "prefixes": size(recipe.PREFIX_STEPS),
        "orm": size(recipe.ORM_STEPS),
        "sorm": size(recipe.SORM_STEPS),
        "samples": len(graded),
        "right samples": sum(graded),
        "labelled": len(recipe.read_rows(work / "labels.jsonl")),
        "rollouts": recipe.ROLLOUTS,
        "pairs": {name: json.loads((work / name / "pairs.json").read_text()) for name in ("global", "local")},
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
    }


def install(work: Path, seed: int) -> None:
    """Copy the exported folders of `work` into the packages, with cards, and figures.json beside the student."""
    command = f"python -m refine_eval_benchmarks.recipe_tiny --seed {seed} --work DIR"
    figures = json.loads((work / "figures.json").read_text())
    counts = training_counts(work)
    for name, place in PLACES.items():
        if place.exists():
            shutil.rmtree(place)
        shutil.copytree(work / "export" / name, place)
        (place / "README.md").write_text(card(name, counts, figures, command))
    report = {"command": command, "training data": counts, **figures}
    FIGURES.write_text(json.dumps(report, indent=2) + "\n")
