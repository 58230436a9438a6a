"""Recipes: what is made, and what is not made again; mostly with commands that only pretend."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import warm
import yaml
from chain_recipe import ALL, FAKE, RUN, calls, change, costs, recipe, run, snapshot, states
from in_process import error_line, refine_eval
from signals import handled

from refine_eval import __version__ as refine_eval_version
from refine_eval.recipes import making
from refine_eval.recipes.making import command_of
from refine_eval.recipes.work import WorkFolder
from refine_eval.results.records import read_run
from refine_eval.runs.store import store_path
from refine_eval.stages.folder import read_folder

STUDENT = Path(__file__).parents[2] / "benchmarks/refine_eval_benchmarks/models/student"


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
    assert "grid/traces.jsonl is corrupt (it was edited or cut short" in error_line(*RUN, cwd=place)
    assert calls(place) == ["labels"], "no error came after work"


def test_a_record_of_stages_that_cannot_be_read(place: Path) -> None:
    run(place, "--only", "gold")
    for text in ("stages: [", "stages: {gold: {color: red}}", "- 1"):
        (place / "work" / "recipe.yaml").write_text(text)
        line = error_line(*RUN, cwd=place)
        assert "work/recipe.yaml cannot be read" in line
        assert "move it away to make every stage again" in line


def test_a_recipe_in_the_place_of_the_record_of_stages_is_left_alone(place: Path) -> None:
    before = (place / "recipe.yaml").read_bytes()
    line = error_line("recipe", "run", "recipe.yaml", "--work", ".", cwd=place)
    assert "recipe.yaml is a recipe, and in its place the work folder keeps what it knows of its stages" in line
    assert "name another --work, or the recipe" in line
    assert (place / "recipe.yaml").read_bytes() == before


def test_a_failing_stage_ends_the_recipe_which_goes_on_from_there(place: Path) -> None:
    (place / "fail-samples").touch()
    (place / "calls").unlink(missing_ok=True)
    done = refine_eval(*RUN, cwd=place, expect=1)
    assert done.stderr.splitlines()[-1] == (
        "Error: Stage 'samples' failed (exit code 1: There is no paper left; buy some); its log is "
        "work/logs/samples.log. Fix that, then run the same command again: finished stages and all that was generated "
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
    work, labels = WorkFolder(place / "work", found.stages), found.stages[3]
    words = command_of(labels, work, [])
    work.begin(labels, work.digests(found.stages), "refine-eval label")
    if ended:
        subprocess.run([*FAKE, *words], cwd=place, check=True, stdout=subprocess.DEVNULL)
        (place / "calls").unlink()
    assert states(refine_eval(*RUN, "--dry-run", cwd=place))["labels"] == ("ready" if ended else "missing")
    run(place)
    assert calls(place) == ([] if ended else ["labels"])
    assert run(place).stdout == "0 of 6 stages made, 6 were ready: work\n"


def test_a_model_that_was_replaced_in_its_place_makes_its_readers_stale(place: Path) -> None:
    base = place / "a" / "model"
    tiny_models.language_model(base)
    run(place)
    assert set(yaml.safe_load((place / "work" / "recipe.yaml").read_text())["stages"]["student"]["models"]) == {"model"}
    assert run(place).stdout.startswith("0 of 6 stages made")
    tiny_models.critic(base)
    shown = states(refine_eval(*RUN, "--dry-run", cwd=place))
    assert (shown["gold"], shown["student"]) == ("ready", "stale: the model `model` was replaced")
    assert run(place).stderr.splitlines()[0] == "student  train sft (stale: the model `model` was replaced)"
    assert calls(place)[0] == "student"
    assert run(place).stdout.startswith("0 of 6 stages made")
    (base / "model.safetensors").unlink()
    (base / "config.json").unlink()
    assert run(place).stdout.startswith("0 of 6 stages made"), "what was made needs it no more"


def test_a_model_that_a_suite_names_and_one_in_an_option(place: Path) -> None:
    for name in ("student", "critic"):
        tiny_models.language_model(place / "models" / name)
    (place / "suite.yaml").write_text("runs: {of-a-suite: {critic: orm, orm-model: models/critic}}")
    grid = "{do: run, suite: suite.yaml, limit: 3, model-args: {pretrained: models/student, dtype: float32}}"
    (place / "recipe.yaml").write_text(f"stages: {{grid: {grid}}}")
    run(place)
    for name in ("student", "critic"):
        assert run(place).stdout.startswith("0 of 1")
        tiny_models.critic(place / "models" / name)
        assert run(place).stderr == f"grid  run (stale: the model `{name}` was replaced)\n"


def test_what_another_version_made_is_kept_and_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(place)
    record = place / "work" / "recipe.yaml"
    known = yaml.safe_load(record.read_text())
    for name in ("gold", "student"):  # as one wrote it that said neither
        del known["stages"][name]["models"], known["stages"][name]["version"]
    record.write_text(yaml.safe_dump(known))
    with monkeypatch.context() as patched:
        patched.setattr("refine_eval.__version__", "9.9.9")
        done, dry = run(place), refine_eval(*RUN, "--dry-run", cwd=place)
        change(place, "rollouts: 2", "rollouts: 3")
        stale = run(place).stderr.splitlines()[0]
    names = "`gold` and `student` and `samples` and `labels` and `orm` and `grid`"
    by = f"an earlier version, {refine_eval_version}"
    note = f"Note: {names} were made by refine-eval {by} and kept; remove a stage's output to make it again with 9.9.9."
    assert done.stdout.startswith("0 of 6 stages made")
    assert done.stderr == dry.stderr == f"{note}\n"
    assert stale == (
        f"labels   label (stale: its settings changed, or 9.9.9 reads them otherwise than {refine_eval_version})"
    )
    run(place, "--only", "labels")
    assert yaml.safe_load(record.read_text())["stages"]["labels"]["version"] == "9.9.9"


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
    with handled(signal.SIGINT, ctrl_c):
        done = refine_eval(*RUN, cwd=place, expect=1)
        assert signal.getsignal(signal.SIGINT) is ctrl_c
    assert "Error: Stage 'three' failed" in done.stderr
    assert (place / "stopped-two").exists()
    for name in ("wait-two", "fail-three", "meet"):
        (place / name).unlink()
    run(place)
    assert sorted(calls(place)) == ["three", "two"]


@pytest.fixture
def usual_end() -> Iterator[None]:
    """SIGTERM ends this process, as it does a command's; Ray, once started in it, catches the signal."""
    with handled(signal.SIGTERM, signal.SIG_DFL):
        yield


@pytest.mark.usefixtures("usual_end")
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
    assert "to continue, run:\n    refine-eval recipe run recipe.yaml --work work" in done.stderr
    assert (place / "stopped-student").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    spent = yaml.safe_load((place / "work" / "recipe.yaml").read_text())["stages"]["student"]
    assert spent["digest"] == ""
    (place / "wait-student").unlink()
    run(place)
    assert calls(place) == ALL[1:]


def test_one_recipe_at_a_time_works_in_a_folder(place: Path) -> None:
    found = recipe(place)
    with WorkFolder(place / "work", found.stages).locked():
        assert "Another `recipe run` works in work" in error_line(*RUN, cwd=place)
    run(place, "--only", "gold")


def test_a_full_disk(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr("os.replace", full)
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


def test_from_samples_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four commands, on the bundled models."""
    monkeypatch.setattr(making, "subprocess", warm.SUBPROCESS)
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


def test_runs_are_told_the_recipes_command_and_their_stage(place: Path) -> None:
    run(place, "--set", f"base={place / 'models' / 'base'}")
    record = read_run(place / "work" / "results" / "runs" / "grid").settings
    assert record["command"] == "refine-eval recipe run recipe.yaml --work DIR --set base=base"
    assert record["stage"] == "grid"
    assert str(place) not in (place / "work" / "recipe.yaml").read_text()
