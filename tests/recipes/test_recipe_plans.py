"""What a dry run of a recipe shows: states, tokens and time."""

import shutil
from pathlib import Path

import pytest
import yaml
from chain_recipe import ALL, RUN, change, costs, run, snapshot, states
from in_process import refine_eval

ASSUME = """
assume: {problems: 100, question_tokens: 60, solution_tokens: 40, steps_per_solution: 7, wrong_share: 0.25,
         generated_tokens_per_second: 8, trained_tokens_per_second: 1000}
"""


def test_a_dry_run_writes_nothing_and_says_what_would_be_made(place: Path) -> None:
    done = run(place, "--dry-run")
    assert states(done) == dict.fromkeys(ALL, "missing")
    assert not (place / "work").exists()
    run(place)
    before = snapshot(place)
    assert states(refine_eval(*RUN, "--dry-run", cwd=place)) == dict.fromkeys(ALL, "ready")
    change(place, "samples: 4", "samples: 5")
    shutil.rmtree(place / "work" / "gold")
    before = snapshot(place)
    assert states(refine_eval(*RUN, "--dry-run", cwd=place)) == {
        "gold": "missing",
        "student": "waits for `gold`",
        "samples": "stale: its settings changed",
        "labels": "waits for `samples` and `student`",
        "orm": "waits for `samples` and `student`",
        "grid": "waits for `orm`",
    }
    assert snapshot(place) == before


def test_costs_that_are_assumed(place: Path) -> None:
    unknown = costs(run(place, "--dry-run", "--jobs", "2"))
    assert unknown["samples"] == ["?", "0", "?"]
    assert "2 at a time" not in unknown
    assert unknown["still to make"] == ["?", "?", "?", "without", "the", "unknown"]
    change(place, "\nwith:", ASSUME + "with:")
    assert costs(run(place, "--dry-run")) == {
        "gold": ["0", "0", "0", "s", "assumed"],
        "student": ["0", f"{30 * 32 * 100:,}", "1.6", "min", "assumed"],
        "samples": [f"{4 * 4 * 40}", "0", "1.3", "min", "assumed"],
        "labels": [f"{4 * 4 // 4 * 2 * 3 * 20}", "0", "1.0", "min", "assumed"],
        "orm": ["0", f"{1000 * 32 * 100:,}", "53.3", "min", "assumed"],
        "grid": [f"{9 * 3 * 40:,}", "0", "2.2", "min", "assumed"],
        "still to make": ["2,200", "3,296,000", "59.5", "min"],
    }
    together = costs(run(place, "--dry-run", "--jobs", "2"))
    assert together["2 at a time"] == ["58.5", "min"], "labels while the ORM is trained, all else after each other"
    run(place)
    assert "2 at a time" not in costs(run(place, "--dry-run", "--jobs", "2"))


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ("refiner: resample", 4),
        ("refiner: resample, resample-samples: 7", 8),
        ("refiner: [resample, local], resample-samples: 7, rounds: 2", 17),
    ],
)
def test_a_run_costs_what_all_samples_of_all_rounds_do(options: str, texts: int, place: Path) -> None:
    (place / "recipe.yaml").write_text(f"stages: {{a: {{do: run, limit: 5, {options}}}}}{ASSUME}")
    assert costs(run(place, "--dry-run"))["a"][0] == f"{5 * texts * 40:,}"


@pytest.mark.parametrize(("options", "samples"), [("", 1), ("naive: true", 4), ("naive: true, per-question: 1", 2)])
def test_a_plain_label_costs_what_right_samples_do_too(options: str, samples: int, place: Path) -> None:
    stages = f"s: {{do: collect, limit: 5, samples: 4}}, l: {{do: label, on: $s, rollouts: 2, {options}}}"
    (place / "recipe.yaml").write_text(f"stages: {{{stages}}}{ASSUME}")
    assert costs(run(place, "--dry-run"))["l"][0] == f"{5 * samples * 2 * (7 if options else 3) * 20:,}"


def test_costs_that_are_measured(place: Path) -> None:
    run(place)
    path = place / "work" / "recipe.yaml"
    info = yaml.safe_load(path.read_text())
    for made in info["stages"].values():
        made["seconds"] = 100.0
    path.write_text(yaml.safe_dump(info))
    change(place, "rollouts: 2", "rollouts: 3")
    change(
        place,
        "  orm: {",
        "  more: {do: collect, samples: 2, limit: 40}\n  again: {do: train orm, on: $more, base: x}\n"
        "  plain: {do: label, on: $samples, naive: true}\n  orm: {",
    )
    found = costs(run(place, "--dry-run"))
    assert found["labels"] == ["50", "0", "1.7", "min", "measured"], "its own, though it is stale"
    assert found["more"] == [f"{100 * 80 // 16}", "0", "8.3", "min", "measured"], "at the rate of `samples`"
    assert found["orm"] == ["0", "320,000", "1.7", "min", "measured"]
    assert found["again"][-1] == "measured"
    assert found["plain"] == ["?", "0", "?"], "not at the rate of labels made another way"
    assert found["still to make"][0] == "550", "what is ready costs nothing more"
