"""Recipes: what is made, what is not made again, what is refused; mostly with commands that only pretend."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from in_process import Done, error_line, refine_eval
from refine_eval.cli.recipe_stages import parse
from refine_eval.errors import RefineEvalError
from refine_eval.plugins import registry
from refine_eval.recipes import making
from refine_eval.recipes.files import Recipe, read_recipe
from refine_eval.recipes.making import command_of
from refine_eval.recipes.work import Work
from refine_eval.results import read_run, store_path
from refine_eval.training.folder import read_folder

HERE = Path(__file__).parent
STUDENT = HERE.parent / "benchmarks/refine_eval_benchmarks/models/student"

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


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe, where commands pretend."""
    monkeypatch.setattr(making, "program", lambda command, processes: [sys.executable, str(HERE / "fake_stages.py")])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


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


# What is read.


def test_values_options_and_outputs_become_words(tmp_path: Path) -> None:
    found = recipe(tmp_path, questions="7", seed="3")
    work = Work(Path("work"), found.stages)
    typed = {stage.name: " ".join(command_of(stage, work, ["-q"])) for stage in found.stages}
    results = "--results work/results"
    assert typed == {
        "gold": f"collect --task apples --seed 3 --gold --limit 7 --out work/gold {results} -q",
        "student": "train sft work/gold --optimizer muon --seed 3 --steps 30 --base a/model --out work/student -q",
        "samples": "collect --task apples --seed 3 --temperature 0.5 --model-args pretrained=work/student --samples 4 "
        f"--limit 7 --out work/samples {results} -q",
        "labels": "label work/samples --model-args pretrained=work/student --rollouts 2 --out work/labels "
        f"{results} -q",
        "orm": "train orm work/samples --optimizer muon --seed 3 --lora-rank 8 --base work/student --out work/orm -q",
        "grid": "run --critic orm --orm-model work/orm --refiner local --refiner global --limit 9 "
        f"{results} --name grid -q",
    }
    assert [stage.needs for stage in found.stages] == [
        (),
        ("gold",),
        ("student",),
        ("samples", "student"),
        ("samples", "student"),
        ("orm",),
    ]


def test_dollars_braces_and_values_that_are_no_text(tmp_path: Path) -> None:
    text = """
    with: {folder: a b, slow: true, nothing: null, "no": 3}
    stages:
      with-hyphen: {do: collect, gold: $slow, limit: $nothing, device: "$$5 $folder-${seed}"}
      next: {do: train sft, on: ["${with-hyphen}/x", "$folder", "$no"], base: b}
    """
    found = recipe(tmp_path, text)
    words = [stage.words({"with-hyphen": "OUT"}) for stage in found.stages]
    assert words[0] == ["--gold", "--device", "$5 a b-0"]
    assert words[1] == ["sft", "OUT/x", "a b", "3", "--base", "b"]
    (first, _) = recipe(tmp_path, text, slow="false", nothing="8").stages
    assert first.words({})[:2] == ["--limit", "8"]


def test_a_record_whose_name_is_null_has_the_stages(tmp_path: Path) -> None:
    (stage,) = recipe(tmp_path, "with: {name: x}\nstages: {a: {do: run, name: $name}}", name="null").stages
    assert stage.records == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [", "cannot be read"),
        ("stages:\n  a: {do: collect, limit: 3,\n    limit: 4}", "line 3: 'limit' stands here twice; leave one out."),
        ("stages:\n  a: {do: collect}\n  a: {do: label, on: x}", "line 3: 'a' stands here twice"),
        ("stages: {a: {do: label, on: x, 'on': y}}", "line 1: 'on' stands here twice"),
        (
            "- a",
            "is no recipe: it has no stages; a recipe has `stages: {NAME: {do: COMMAND, OPTION: VALUE, ...}, ...}`",
        ),
        ("stagse: {}", "a recipe has no key 'stagse'. Did you mean 'stages'?"),
        ("with: [a]", "`with` is NAME: VALUE pairs"),
        ("with: {a-b: 1}\nstages: {a: {}}", "'a-b' cannot be the name of a value"),
        ("with: {a: [1]}\nstages: {b: {}}", "the value 'a' is [1], and a value is one text"),
        ("with: {a: 1}\nstages: {a: {do: collect}}", "'a' is both a value and a stage, so $a would be either"),
        ("stages: {a/b: {do: collect}}", "no stage can be called 'a/b'"),
        ("stages: {results: {do: collect}}", "no stage can be called 'results'"),
        ("jobs: 0\nstages: {a: {do: collect}}", "jobs is 0, and must be a whole number from 1."),
        ("threads: many\nstages: {a: {do: collect}}", "threads is 'many'"),
        ("assume: {problem: 3}\nstages: {a: {do: collect}}", "no figure 'problem'. Did you mean 'problems'?"),
        ("assume: {wrong_share: 2}\nstages: {a: {do: collect}}", "wrong_share is 2, and must be a share above 0"),
        ("assume: {problems: no}\nstages: {a: {do: collect}}", "problems is False, and must be a number above 0"),
        (
            "every: {colect: {}}\nstages: {a: {do: collect}}",
            "`every` has 'colect', and no stage does that. Did you mean 'collect'?",
        ),
        ("every: {train sfd: {}}\nstages: {a: {do: train sft}}", "no stage does that. Did you mean 'train sft'?"),
        ("every: {collect: 3}\nstages: {a: {do: collect}}", "`every` collect is OPTION: VALUE pairs, not 3"),
        ("stages: {a: 3}", "stage 'a': a stage is `{do: COMMAND, OPTION: VALUE, ...}`, not 3"),
        ("stages: {a: {task: apples}}", "stage 'a': it needs `do: COMMAND`"),
        ("stages: {a: {do: colect}}", "stage 'a': it cannot do 'colect'. Did you mean 'collect'?"),
        ("stages: {a: {do: train}}", "`do: train` must be `do: train NAME`"),
        ("stages: {a: {do: label samples}}", "`do: label samples` must be `do: label`"),
        ("stages: {a: {do: train sfd, on: x, base: b}}", "stage 'a': No trainer is called 'sfd'. Did you mean 'sft'?"),
        ("stages: {a: {do: train sft, on: x}}", "stage 'a': train sft starts from a model; name it with `base`."),
        (
            "stages: {a: {do: train sft, base: b}}",
            "`train sft` needs what `collect` makes, too; name that stage in `on`.",
        ),
        ("stages: {a: {do: train sft, on: x, base: b, options: {per: 1}}}", "Trainer 'sft' has no option 'per'."),
        (
            "stages: {a: {do: train sft, on: x, base: b, last-layers: 1, lora-rank: 2}}",
            "stage 'a': --last-layers chooses",
        ),
        ("stages: {a: {do: collect, smples: 3}}", "No such option"),
        ("stages: {a: {do: collect, model-args: {pretrained: null}}}", "model-args has no value in"),
        ("stages: {a: {do: collect, task: svmap}}", "stage 'a': No task is called 'svmap'. Did you mean 'svamp'?"),
        ("stages: {a: {do: run, tasks: 'apples,svmap'}}", "stage 'a': No task is called 'svmap'. Did you mean"),
        ("stages: {a: {do: collect, split: nope}}", "Invalid value for '--split': 'nope' is not one of 'train'"),
        ("stages: {a: {do: collect, samples: many}}", "Invalid value for '--samples': 'many' is not a valid integer"),
        ("stages: {a: {do: collect, samples: [[3]]}}", "samples has a value that no command line can have: [3]"),
        ("stages: {a: {do: collect, model: vlm}}", "No engine is called 'vlm'. Did you mean 'vllm'?"),
        ("stages: {a: {do: collect, model-args: {x: 1}}}", "has no option 'x'"),
        ("stages: {a: {do: collect, gold: true, split: test}}", "Gold solutions of test questions"),
        ("stages: {a: {do: collect, out: here}}", "stage 'a': out is set by `recipe run` itself; leave it out."),
        ("stages: {a: {do: collect, on: x}}", "Got unexpected extra argument"),
        ("stages: {a: {do: label, on: [[x]]}}", "`on` is one folder or a list of folders"),
        ("stages: {a: {do: label, on: --help}}", "`on` is one folder or a list of folders, not ['--help']"),
        ("with: {x: null}\nstages: {a: {do: label, on: $x}}", "`on` is one folder or a list of folders, not [None]"),
        ("stages: {a: {do: train --help, on: x}}", "`do: train --help` must be `do: train NAME`."),
        ("stages: {a: {do: collect, limit: true}}", "stage 'a': limit is true, as only a flag can be; give it"),
        (
            "with: {n: false}\nstages: {a: {do: train sft, on: x, base: b, steps: $n}}",
            "stage 'a': steps is false, as only a flag can be; give it a value.",
        ),
        ("stages: {a: {do: label, on: x, naive: 'yes'}}", "naive is 'yes', and can be true or false only."),
        (
            "with: {t: null}\nstages: {a: {do: run, task: $t}}",
            "stage 'a': task is null, and would be 'apples'; give it a value.",
        ),
        ("with: {n: null}\nstages: {a: {do: run, name: $n-x}}", "name is '$n-x', and $n is null; give it a value."),
        ("stages: {a: {do: run, suite: $b}}", "$b is no value and no stage before it"),
        ("stages: {a: {do: label, on: x, soft: true}}", "--soft needs all rollouts of every prefix"),
        ("stages: {a: {do: run, selectr: vote}}", "No option is called --selectr. Did you mean '--selector'?"),
        ("stages: {a: {do: run, critic: orn}}", "No critic is called 'orn'. Did you mean 'orm'?"),
        ("stages: {a: {do: run, name: a/b}}", "'a/b' cannot name a folder"),
        ("stages: {a: {do: run, suite: none.yaml}}", "none.yaml' does not exist"),
        ("stages: {a: {do: run}, b: {do: run, name: a}}", "its run record 'a' would replace that of stage 'a'"),
        (
            "stages: {a: {do: collect, task: $b}, b: {do: collect}}",
            "$b, which does not come before it; put 'b' further",
        ),
        ("stages: {a: {do: label, on: $a}}", "$a, which does not come before it"),
        ("stages: {gold: {do: collect}, b: {do: label, on: $god}}", "$god is no value and no stage before it. Did you"),
        ("stages: {a: {do: collect, task: a $ b}}", "'a $ b' has a $ that begins no name; write $$ for a dollar."),
        ("stages: {a: {do: run, tasks: 'apples,svamp'}, b: {do: label, on: $a}}", "leaves several run records"),
        (
            "stages: {a: {do: label, on: x}, b: {do: train local, on: $a, base: x}, c: {do: label, on: [$b]}}",
            "'c': `label` reads what `collect` makes, not $b, which `train local` makes.",
        ),
        ("stages: {a: {do: label, on: x}, b: {do: label, on: $a}}", "'b': `label` reads what `collect` makes, not $a"),
        (
            "stages: {a: {do: collect}, b: {do: train sorm, on: $a, base: x}}",
            "`train sorm` reads what `label` makes, not $a",
        ),
    ],
)
def test_what_is_no_recipe(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RefineEvalError) as caught:
        recipe(tmp_path, text)
    assert message in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_asked_for(place: Path) -> None:
    for more, message in (
        (
            ("--set", "question=3"),
            "recipe.yaml has no value 'question' to set. Did you mean 'questions'? It has: seed,",
        ),
        (("--set", "questions"), "--set takes NAME=VALUE; 'questions' is not of that form."),
        (("--only", "label"), "recipe.yaml has no stage 'label'. Did you mean 'labels'?"),
        (("--work", "a,b"), "--work a,b has a comma"),
    ):
        assert message in error_line(*RUN, *more, cwd=place, expect=2)
    assert "There is no recipe file none.yaml." in error_line(
        "recipe", "run", "none.yaml", "--work", "w", cwd=place, expect=2
    )
    assert sorted(path.name for path in place.iterdir()) == ["recipe.yaml"]


def test_bundled_recipes_are_listed_and_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.yaml").write_text(RECIPE)
    monkeypatch.setattr(
        type(registry()), "recipes", lambda self: {name: tmp_path / f"{name}.yaml" for name in ("one", "two")}
    )
    (tmp_path / "two.yaml").touch()
    listed = refine_eval("recipe", "list", cwd=tmp_path).stdout.splitlines()
    assert listed[:2] == ["name  what it does", "one   A chain."]
    assert "two.yaml is no recipe" in listed[2]
    assert "grid" in refine_eval("recipe", "run", "one", "--work", "w", "--dry-run", cwd=tmp_path).stdout
    assert "Did you mean 'one'?" in error_line("recipe", "run", "onne", "--work", "w", cwd=tmp_path, expect=2)


# What is made.


def test_each_stage_is_made_once_in_order(place: Path) -> None:
    done = run(place)
    assert calls(place) == ALL
    ended = done.stdout.splitlines()
    assert [line.partition("[")[0].split() for line in ended[:-1]] == [[name, "summary", "of", name] for name in ALL]
    assert ended[-1] == "6 of 6 stages made, 0 were ready: work"
    assert done.stderr.splitlines()[0] == "gold     collect (missing)"
    log = (place / "work" / "logs" / "student.log").read_text().splitlines()
    assert log[0].startswith("$ refine-eval train sft work/gold ")
    assert log[-1] == "summary of student"
    before = snapshot(place / "work")
    assert run(place).stdout == "0 of 6 stages made, 6 were ready: work\n"
    assert calls(place) == []
    assert snapshot(place / "work") == before


def test_a_stage_and_those_below_it_are_made_again_when_it_changes(place: Path) -> None:
    run(place)
    change(place, "rollouts: 2", "rollouts: 3")
    assert run(place).stderr == "labels   label (stale: its settings changed)\n"
    assert calls(place) == ["labels"]
    done = run(place, "--set", "questions=5")
    assert calls(place) == ALL
    assert done.stderr.splitlines()[1] == "student  train sft (stale: `gold` is new)"
    assert done.stderr.splitlines()[3] == "labels   label (stale: `samples` and `student` are new)"


def test_an_output_that_came_out_the_same_makes_nothing_else_stale(place: Path) -> None:
    run(place)
    shutil.rmtree(place / "work" / "samples")
    assert run(place).stderr == "samples  collect (missing)\n"
    assert calls(place) == ["samples"]


def test_the_work_folder_may_be_moved(place: Path) -> None:
    run(place)
    (place / "work").rename(place / "moved")
    assert refine_eval(*RUN[:-1], "moved", cwd=place).stdout.startswith("0 of 6 stages made")


def test_an_output_that_nobody_recorded_is_made_again(place: Path) -> None:
    run(place)
    (place / "work" / "recipe.yaml").unlink()
    run(place, "--only", "student")
    assert calls(place) == ["gold", "student"]


def test_only_makes_what_a_stage_needs(place: Path) -> None:
    run(place, "--only", "labels")
    assert calls(place) == ["gold", "student", "samples", "labels"]
    run(place, "--only", "labels", "--only", "orm")
    assert calls(place) == ["orm"]


def test_an_edited_output_is_not_taken_for_the_made_one(place: Path) -> None:
    run(place)
    file = place / "work" / "labels" / "samples.jsonl"
    file.write_text("{}\n")
    line = error_line(*RUN, cwd=place)
    assert "work/labels/samples.jsonl was edited after it was made; remove work/labels, and the same" in line
    shutil.rmtree(file.parent)
    run(place)
    assert calls(place) == ["labels"]
    shutil.rmtree(file.parent)
    shutil.copytree(place / "work" / "samples", file.parent)
    line = error_line(*RUN, cwd=place)
    assert "work/labels is the output of 'collect', and stage 'labels' does 'label'; remove it" in line
    shutil.rmtree(place / "work" / "samples")
    shutil.rmtree(file.parent)
    shutil.copytree(place / "work" / "gold", place / "work" / "samples")
    assert "work/samples was replaced or edited since the recipe made it" in error_line(*RUN, cwd=place)
    shutil.rmtree(place / "work" / "samples")
    (place / "work" / "results" / "runs" / "grid" / "traces.jsonl").write_text("{}\n")
    assert "work/results/runs/grid was replaced or edited" in error_line(*RUN, cwd=place)
    assert calls(place) == ["labels"], "no error came after work"


def test_a_record_of_stages_that_cannot_be_read(place: Path) -> None:
    run(place, "--only", "gold")
    for text in ("stages: [", "stages: {gold: {color: red}}", "- 1"):
        (place / "work" / "recipe.yaml").write_text(text)
        line = error_line(*RUN, cwd=place)
        assert "work/recipe.yaml cannot be read" in line
        assert "remove it to make every stage again" in line


def test_a_failing_stage_ends_the_recipe_which_goes_on_from_there(place: Path) -> None:
    (place / "fail-samples").touch()
    (place / "calls").unlink(missing_ok=True)
    done = refine_eval(*RUN, cwd=place, expect=1)
    assert done.stderr.splitlines()[-1] == (
        "Error: Stage 'samples' failed (exit code 1: There is no paper left; buy some); its log is "
        "work/logs/samples.log. Mend that and type the same command again: finished stages and all that was generated "
        "are kept."
    )
    assert calls(place) == ["gold", "student", "samples"]
    (place / "fail-samples").unlink()
    run(place)
    assert calls(place) == ALL[2:]


@pytest.mark.parametrize("ended", [True, False], ids=["the stage ended", "the stage was killed too"])
def test_a_recipe_that_was_killed_takes_what_its_stage_made_to_the_end(ended: bool, place: Path) -> None:
    run(place)
    change(place, "rollouts: 2", "rollouts: 3")
    found = recipe(place, (place / "recipe.yaml").read_text())
    work, labels = Work(place / "work", found.stages), found.stages[3]
    words = command_of(labels, work, [])
    work.begin(labels, work.digests(found.stages), "refine-eval label")
    if ended:
        fake = [sys.executable, str(HERE / "fake_stages.py")]
        subprocess.run([*fake, *words], cwd=place, check=True, stdout=subprocess.DEVNULL)
        (place / "calls").unlink()
    assert states(refine_eval(*RUN, "--dry-run", cwd=place))["labels"] == ("ready" if ended else "missing")
    run(place)
    assert calls(place) == ([] if ended else ["labels"])
    assert run(place).stdout == "0 of 6 stages made, 6 were ready: work\n"


def test_what_only_makes_a_stage_faster_makes_nothing_stale(place: Path) -> None:
    run(place)
    change(place, "rollouts: 2", "workers: 2, rollouts: 2")
    assert run(place).stdout == "0 of 6 stages made, 6 were ready: work\n"


PAIR = "jobs: 2\nstages: {one: {do: collect}, two: {do: collect, seed: 1}, three: {do: label, on: $one}}"


def test_stages_run_side_by_side(place: Path) -> None:
    (place / "recipe.yaml").write_text("threads: 3\n" + PAIR)
    (place / "meet").touch()
    started = time.monotonic()
    run(place)
    assert time.monotonic() - started < 15, "the first two waited for each other"
    assert sorted(calls(place)[:2]) == ["one", "two"]
    (row,) = read_folder(place / "work" / "one", "collect").rows("samples.jsonl")
    assert row["threads"] == "3"


# What a script starts with `&` ignores Ctrl-C, and so does all that this starts itself.
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN], ids=["heeded", "ignored"])
def test_when_a_stage_fails_the_others_are_stopped(ctrl_c: Any, place: Path) -> None:
    (place / "recipe.yaml").write_text(PAIR)
    for name in ("wait-two", "fail-three", "meet"):
        (place / name).touch()
    usual = signal.signal(signal.SIGINT, ctrl_c)
    try:
        done = refine_eval(*RUN, cwd=place, expect=1)
        assert signal.getsignal(signal.SIGINT) is ctrl_c
    finally:
        signal.signal(signal.SIGINT, usual)
    assert "Error: Stage 'three' failed" in done.stderr
    assert (place / "stopped-two").exists()
    for name in ("wait-two", "fail-three", "meet"):
        (place / name).unlink()
    run(place)
    assert sorted(calls(place)) == ["three", "two"]


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_recipe_stops_its_stages_and_goes_on(
    how: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "wait-student").touch()
    pause = time.sleep

    def sleep(seconds: float) -> None:
        if not Path("began-student").exists():
            return pause(seconds)
        patched.undo()  # once: whoever waits for the stage sleeps, too
        if how == "Ctrl-C":
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", sleep)
        done = refine_eval(*RUN, cwd=place, expect=130)
    assert "to go on, type again:\n    refine-eval recipe run recipe.yaml --work work" in done.stderr
    assert (place / "stopped-student").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    spent = yaml.safe_load((place / "work" / "recipe.yaml").read_text())["stages"]["student"]
    assert spent["digest"] == ""
    (place / "wait-student").unlink()
    run(place)
    assert calls(place) == ALL[1:]


def test_one_recipe_at_a_time_works_in_a_folder(place: Path) -> None:
    found = recipe(place)
    with Work(place / "work", found.stages).locked():
        assert "Another `recipe run` works in work" in error_line(*RUN, cwd=place)
    run(place, "--only", "gold")


def test_a_full_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr("refine_eval.recipes.work.os.replace", full)
        line = error_line(*RUN, cwd=place)
    assert "work/recipe.yaml cannot be written" in line
    assert "No space left on device" in line
    run(place, "--only", "gold")
    assert calls(place) == ["gold"]


def test_logs_that_cannot_be_written(place: Path) -> None:
    (place / "work").mkdir()
    (place / "work" / "logs").touch()
    assert "work/logs/gold.log cannot be written" in error_line(*RUN, cwd=place)


def test_a_log_without_space_does_not_hold_its_stage_up() -> None:
    read, write = os.pipe()
    printed: list[str] = []
    with open(write, "w") as process:
        process.write("a line\nthe summary\n")
    with open(read) as stdout, open("/dev/full", "w", buffering=1) as log:
        making._read(stdout, log, printed)
    assert printed == ["the summary"]


# What a dry run shows.


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


def costs(done: Done) -> dict[str, list[str]]:
    """Of `--dry-run`: what stands in the columns behind each stage's."""
    lines = done.stdout.splitlines()
    at = lines[0].index("tokens written")
    return {line[: lines[0].index("state")].strip(): line[at:].split() for line in lines[1:]}


ASSUME = """
assume: {problems: 100, question_tokens: 60, solution_tokens: 40, steps_per_solution: 7, wrong_share: 0.25,
         generated_tokens_per_second: 8, trained_tokens_per_second: 1000}
"""


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


def test_a_suite_in_a_recipe_leaves_the_records_that_it_names(place: Path) -> None:
    (place / "suites").mkdir()
    suite = place / "suites" / "two.yaml"
    suite.write_text("runs: {of-a-suite: {refiner: [local]}}")
    (place / "recipe.yaml").write_text("stages: {grid: {do: run, suite: suites/two.yaml, limit: 3}}")
    run(place)
    assert calls(place) == ["of-a-suite"]
    (stage,) = recipe(place, (place / "recipe.yaml").read_text()).stages
    assert stage.records == ("of-a-suite",)
    assert run(place).stdout.startswith("0 of 1")
    suite.write_text("runs: {of-a-suite: {refiner: [global]}}")
    assert "stale: its settings changed" in run(place).stderr
    suite.write_text("runs: {of-a-suite: {}, another: {}}")
    assert "left nothing" in error_line(*RUN, "-q", cwd=place)


# The commands themselves.


def test_from_samples_to_a_table(tmp_path: Path) -> None:
    """All four commands, on the bundled models."""
    text = f"""
    with: {{base: {STUDENT}, questions: 3}}
    threads: 1
    every: {{collect: {{limit: $questions}}}}
    stages:
      samples: {{do: collect, samples: 4, temperature: 1.3}}
      labels: {{do: label, on: $samples, rollouts: 2}}
      student: {{do: train sft, on: $samples, base: $base, steps: 1, batch-size: 2}}
      table: {{do: run, model-args: {{pretrained: $student}}, critic: calculator, refiner: resample, limit: 2}}
    """
    (tmp_path / "recipe.yaml").write_text(text)
    done = refine_eval(*RUN, "-q", cwd=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["samples", "labels", "student", "table", "4"]
    assert done.stderr == ""
    assert "12 samples of 3 questions" in done.stdout
    work = tmp_path / "work"
    assert store_path(work / "results").is_file()
    assert read_run(work / "results" / "runs" / "table").rows
    labels, samples = read_folder(work / "labels", "label"), read_folder(work / "samples", "collect")
    assert labels.inputs == {"samples": samples.digest}
    shown = costs(refine_eval(*RUN, "--dry-run", cwd=tmp_path))
    assert shown["labels"][0] == f"{labels.counts['rollout_tokens']:,}"
    assert all(cells[-1] == "measured" for name, cells in shown.items() if name != "still to make")
    assert int(shown["table"][0]) > 0
    assert int(shown["student"][1]) > 0
    assert refine_eval(*RUN, cwd=tmp_path).stdout.startswith("0 of 4 stages made")


def test_several_processes_train_one_model_together() -> None:
    alone = [sys.executable, "-P", "-m", "refine_eval"]
    assert making.program("train", 1) == making.program("collect", 4) == alone
    together = making.program("train", 4)
    assert together[-3:] == ["--nproc_per_node=4", "-m", "refine_eval"]
    assert "torch.distributed.run" in together
