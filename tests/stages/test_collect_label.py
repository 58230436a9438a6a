"""`refine-eval collect` and `label`: what they write, go on from, and refuse."""

import errno
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from in_process import error_line, refine_eval, student

from refine_eval.data import Request
from refine_eval.errors import TaskError
from refine_eval.formats import prompt_text
from refine_eval.plugin.registry import registry
from refine_eval.stages.folder import read_folder, write_folder
from refine_eval.tasks.task import LmEvalTask

GOLD = "2+3=5\n5*4=20\n#### 20"
LATE = "2+3=5\n5*4=21\n#### 21"
EARLY = "2+3=6\n6*4=24\n#### 24"
SAMPLES = [GOLD, LATE, EARLY, LATE]
QUESTIONS = ["Ann has 2 apples.", "Bob has 2 pears."]


def write_data(folder: Path, questions: list[str], answer: str = GOLD) -> None:
    """GSM8K's files with these questions, which all have one answer."""
    (folder / "gsm8k").mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"question": question, "answer": answer}) + "\n" for question in questions)
    for split in ("train", "test"):
        (folder / "gsm8k" / f"{split}.jsonl").write_text(lines)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to work in, with data of two questions."""
    write_data(tmp_path / "data", QUESTIONS)
    return tmp_path


def scripted(request: Request) -> str:
    """Draws `SAMPLES`; finishes what has no wrong step as the gold solution does."""
    if request.purpose == "sample":
        return SAMPLES[request.sample]
    steps = prompt_text(request.prompt).removeprefix(prompt_text(request.problem.prompt)).splitlines()
    gold = GOLD.splitlines()
    return "\n".join(gold[len(steps) :]) if steps == gold[: len(steps)] else "#### 0"


@pytest.fixture
def commands() -> Iterator[None]:
    with student(scripted, "stages.collect", "stages.label"):
        yield


TASK = ("--task", "gsm8k_zero_shot")
DATA = ("--data-dir", "data", "-q")
COLLECT = ("collect", *TASK, *DATA, "--samples", "4", "--out", "samples")
LABEL = ("label", "samples", *DATA, "--rollouts", "2", "--out", "labels")


def counts(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "stage.yaml").read_text())["counts"])


def labels(folder: Path) -> list[list[float]]:
    return [row["labels"] for row in map(json.loads, (folder / "labels.jsonl").open())]


def stored(place: Path) -> int:
    with sqlite3.connect(place / "results" / "store.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM generations").fetchone()[0])


@pytest.mark.usefixtures("commands")
def test_collect_writes_samples_with_their_grades_and_counts(place: Path) -> None:
    done = refine_eval(*COLLECT, cwd=place)
    assert done.stdout == (
        "8 samples of 2 questions, 25.0 % right; 0 questions never, 0 always; "
        f"{2 * sum(len(text.split()) for text in SAMPLES)} tokens: samples\n"
    )
    rows = [json.loads(line) for line in (place / "samples" / "samples.jsonl").open()]
    assert [row["question"] for row in rows] == QUESTIONS
    assert [row["id"] for row in rows] == ["gsm8k_zero_shot:train/0", "gsm8k_zero_shot:train/1"]
    for row in rows:
        assert [(sample["text"], sample["right"]) for sample in row["samples"]] == [(t, t == GOLD) for t in SAMPLES]
    tokens = sum(sample["tokens"] for row in rows for sample in row["samples"])
    assert counts(place / "samples") == {
        "questions": 2,
        "samples": 8,
        "right": 2,
        "questions_never_right": 0,
        "questions_always_right": 0,
        "tokens": tokens,
        "generated_now": 8,
    }
    assert sorted(path.name for path in place.iterdir()) == ["data", "results", "samples"]


@pytest.mark.usefixtures("commands")
def test_collect_again_generates_nothing_and_more_samples_only_the_new_ones(place: Path) -> None:
    refine_eval(*COLLECT, "--samples", "2", cwd=place)
    before = (place / "samples" / "samples.jsonl").read_bytes()
    refine_eval(*COLLECT, "--samples", "2", cwd=place)
    assert counts(place / "samples")["generated_now"] == 0
    assert (place / "samples" / "samples.jsonl").read_bytes() == before
    refine_eval(*COLLECT, cwd=place)
    assert counts(place / "samples")["generated_now"] == 4


def test_interrupted_collect_leaves_no_folder_and_goes_on_from_the_store(place: Path) -> None:
    def interrupted(request: Request) -> str:
        if request.problem.id.endswith("/1") and request.sample == 2:
            raise KeyboardInterrupt
        return scripted(request)

    # Of one name, so that they are one student to the store.
    interrupted.__qualname__, interrupted.__module__ = scripted.__qualname__, scripted.__module__
    with student(interrupted, "stages.collect"):
        done = refine_eval(*COLLECT, cwd=place, expect=130)
    assert "to continue, run:\n    refine-eval collect --task gsm8k_zero_shot" in done.stderr
    assert sorted(path.name for path in place.iterdir()) == ["data", "results"]
    assert stored(place) == 6
    with student(scripted, "stages.collect"):
        refine_eval(*COLLECT, cwd=place)
    assert counts(place / "samples")["generated_now"] == 2


@pytest.mark.usefixtures("commands")
def test_labels_are_those_worked_out_by_hand(place: Path) -> None:
    refine_eval(*COLLECT, cwd=place)
    refine_eval(*LABEL, cwd=place)
    rows = [json.loads(line) for line in (place / "labels" / "labels.jsonl").open()]
    # Of each question the distinct samples, wrong ones first.
    assert [row["steps"] for row in rows] == [text.splitlines() for text in (LATE, EARLY, GOLD)] * 2
    assert [row["right"] for row in rows] == [False, False, True] * 2
    assert labels(place / "labels") == [[1, 0, 0], [0, 0, 0], [1, 1, 1]] * 2
    gold = GOLD.splitlines()
    assert [row["verified"] for row in rows[:3]] == [{"1": gold[1:]}, {"0": gold}, {}]
    # LATE: one after step 1, two after step 2. EARLY: two after step 1, one from the start.
    found = counts(place / "labels")
    assert (found["rollouts"], found["generated_now"]) == (12, 12)
    assert (found["samples"], found["wrong"], found["steps"], found["positive_steps"]) == (6, 4, 18, 8)
    refine_eval(*LABEL, cwd=place)
    assert counts(place / "labels")["generated_now"] == 0
    info = yaml.safe_load((place / "labels" / "stage.yaml").read_text())
    assert info["inputs"] == {"samples": read_folder(place / "samples", "collect").digest}


@pytest.mark.usefixtures("commands")
def test_the_plain_way_gives_the_same_labels_for_more_rollouts(place: Path) -> None:
    refine_eval(*COLLECT, cwd=place)
    for more in ((), ("--no-monotone",), ("--soft",)):
        refine_eval(*LABEL, "--naive", *more, cwd=place)
        assert labels(place / "labels") == [[1, 0, 0], [0, 0, 0], [1, 1, 1]] * 2, more
        assert counts(place / "labels")["rollouts"] == 2 * 9 * 2, "two of each of 9 prefixes of 2 questions"


def test_rule_one_and_soft_labels_differ_where_rollouts_do(place: Path) -> None:
    def unsteady(request: Request) -> str:
        """From LATE: nothing after step 1, and once in three after step 2."""
        if request.purpose == "sample":
            return SAMPLES[request.sample]
        steps = prompt_text(request.prompt).removeprefix(prompt_text(request.problem.prompt)).splitlines()
        return "21-1=20\n#### 20" if steps == LATE.splitlines()[:2] and request.sample == 0 else "#### 0"

    with student(unsteady, "stages.collect", "stages.label"):
        refine_eval(*COLLECT, "--limit", "1", cwd=place)
        for flags, expected in (
            (("--naive",), [1, 1, 0]),
            (("--naive", "--no-monotone"), [0, 1, 0]),
            (("--naive", "--soft"), [0, 1 / 3, 0]),
            ((), [0, 0, 0]),  # bisection asks after step 1 first
        ):
            refine_eval(*LABEL, "--rollouts", "3", *flags, cwd=place)
            assert labels(place / "labels")[0] == expected, flags


@pytest.mark.usefixtures("commands")
def test_limits_of_label(place: Path) -> None:
    refine_eval(*COLLECT, cwd=place)
    refine_eval(*LABEL, "--limit", "1", "--per-question", "1", cwd=place)
    assert labels(place / "labels") == [[1, 0, 0], [1, 1, 1]]


def test_questions_without_a_right_sample_can_be_left_out(place: Path) -> None:
    def unsolved(request: Request) -> str:
        """Bob's question is never solved by a sample, and by no rollout."""
        if request.problem.question != QUESTIONS[1]:
            return scripted(request)
        return LATE if request.purpose == "sample" else "#### 0"

    with student(unsolved, "stages.collect", "stages.label"):
        refine_eval(*COLLECT, cwd=place)
        refine_eval(*LABEL, cwd=place)
        assert labels(place / "labels") == [[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]]
        refine_eval(*LABEL, "--solved", cwd=place)
        assert labels(place / "labels") == [[1, 0, 0], [0, 0, 0], [1, 1, 1]]
    assert read_folder(place / "labels", "label").settings["solved"] is True


@pytest.mark.usefixtures("commands")
def test_rollouts_of_another_student_are_noted(place: Path) -> None:
    refine_eval(*COLLECT, cwd=place)
    with student(lambda request: scripted(request), "stages.label"):
        done = refine_eval(*(word for word in LABEL if word != "-q"), cwd=place)
    assert "the samples are of another student than the rollouts" in done.stderr


@pytest.mark.parametrize("flag", ["--soft", "--no-monotone"])
def test_what_needs_all_rollouts_says_so(flag: str, tmp_path: Path) -> None:
    line = error_line(*LABEL, flag, cwd=tmp_path, expect=2)
    assert f"{flag} needs all rollouts of every prefix: add --naive." in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EARLY, "The student never succeeds: collect has no right sample, .* at a lower temperature"),
        (GOLD, "The student always succeeds: collect has no wrong sample, .* at a higher temperature"),
    ],
)
def test_labels_need_both_outcomes(text: str, message: str, place: Path) -> None:
    with student(lambda request: text, "stages.collect", "stages.label"):
        refine_eval(*COLLECT, cwd=place)
        line = error_line(*LABEL, cwd=place)
    assert re.search(message, line)
    assert not (place / "labels").exists()


@pytest.mark.usefixtures("commands")
def test_label_refuses_samples_that_are_not_what_collect_wrote(place: Path) -> None:
    assert "samples holds no finished collect output; make it with: refine-eval collect" in error_line(
        *LABEL, cwd=place
    )
    refine_eval(*COLLECT, cwd=place)
    refine_eval(*LABEL, cwd=place)
    assert "is the output of 'label', and one of 'collect' is needed" in error_line(
        "label", "labels", *DATA, "--out", "more", cwd=place
    )
    samples = place / "samples" / "samples.jsonl"
    text = samples.read_text()
    samples.write_text(text.replace("#### 21", "#### 20", 1))
    assert "samples.jsonl was edited after it was made; make it again with" in error_line(*LABEL, cwd=place)
    samples.unlink()
    assert "cannot be read (FileNotFoundError" in error_line(*LABEL, cwd=place)
    samples.write_text(text)
    (place / "samples" / "stage.yaml").write_text("- no\n- mapping\n")
    assert "stage.yaml cannot be read" in error_line(*LABEL, cwd=place)


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize("questions", [["Ann has 3 apples.", QUESTIONS[1]], QUESTIONS[:1]], ids=["changed", "fewer"])
def test_label_refuses_other_data_than_collected(questions: list[str], place: Path) -> None:
    refine_eval(*COLLECT, cwd=place)
    write_data(place / "data", questions)
    number = 1 if len(questions) == 1 else 0
    line = error_line(*LABEL, cwd=place)
    assert f"samples was made from other data: question gsm8k_zero_shot:train/{number} reads differently now" in line


@pytest.mark.usefixtures("commands")
def test_a_split_whose_file_is_missing_is_not_collected_as_nothing(place: Path) -> None:
    problem = {"ID": "1", "Body": "Ann has 1 apple.", "Question": "How many?", "Equation": "1 + 1", "Answer": 2}
    (place / "data" / "svamp").mkdir()
    (place / "data" / "svamp" / "SVAMP.json").write_text(json.dumps([problem]))
    line = error_line(*COLLECT, "--task", "svamp", cwd=place)
    assert "The split 'train' of task 'svamp' is empty here; name a folder that has its file (" in line
    assert "train_mawps_asdiv-a.csv" in line
    assert not (place / "samples").exists()


@pytest.mark.usefixtures("commands")
def test_questions_without_gold_and_unknown_splits(place: Path) -> None:
    line = error_line(*COLLECT, "--split", "validation", cwd=place)
    assert "has no split 'validation'; it has: train, test." in line
    line = error_line(*COLLECT, "--split", "dev", cwd=place, expect=2)
    assert "--split must be train, validation or test, not 'dev'." in line
    write_data(place / "data", QUESTIONS, answer=" ")
    line = error_line(*COLLECT, cwd=place)
    assert "Document 0 of the split 'train' of task 'gsm8k_zero_shot' has no gold answer." in line
    assert not (place / "samples").exists()


def test_a_gold_answer_of_zero_is_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = LmEvalTask("gsm8k_zero_shot", registry().benchmarks(), data_dir=place / "data")
    monkeypatch.setattr(task.task, "doc_to_target", lambda doc: 0)
    assert len(task.questions("train")) == 2
    nothings: tuple[object, ...] = (None, [], "")
    for nothing in nothings:
        monkeypatch.setattr(task.task, "doc_to_target", Mock(return_value=nothing))
        with pytest.raises(TaskError, match="no gold answer"):
            task.questions("train")


def test_a_question_is_never_among_its_own_examples(tmp_path: Path) -> None:
    questions = [f"Ann has {number} apples." for number in range(7)]
    write_data(tmp_path / "data", questions)
    task = LmEvalTask("gsm8k", registry().benchmarks(), data_dir=tmp_path / "data", num_fewshot=5)
    problems = task.questions("train")
    assert [problem.question for problem in problems] == questions
    for problem in problems:
        assert problem.prompt.count(problem.question) == 1
        assert problem.prompt.count("#### 20") == 5
    again = LmEvalTask("gsm8k", registry().benchmarks(), data_dir=tmp_path / "data", num_fewshot=5)
    assert again.questions("train", 3) == problems[:3]


def full_disk(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes one of Path's methods fail in folders that are being written."""
    real: Callable[..., Any] = getattr(Path, what)

    def fails(path: Path, *arguments: Any, **named: Any) -> Any:
        if ".partial" in str(path) and arguments[:1] != ("rb",):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, what, fails)


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize("what", ["mkdir", "open", "write_text", "rename"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    what: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refine_eval(*COLLECT, "--samples", "2", cwd=place)
    before = read_folder(place / "samples", "collect")
    with monkeypatch.context() as patched:
        full_disk(what, patched)
        line = error_line(*COLLECT, cwd=place)
    assert "No space left on device" in line
    assert "run the same command again: what was generated is stored" in line
    assert sorted(path.name for path in place.iterdir()) == ["data", "results", "samples"]
    assert read_folder(place / "samples", "collect") == before
    refine_eval(*COLLECT, cwd=place)
    assert counts(place / "samples")["generated_now"] == 0


@pytest.mark.usefixtures("commands")
def test_only_an_older_output_of_the_stage_is_replaced(place: Path) -> None:
    refine_eval(*COLLECT, cwd=place)
    message = "samples holds the output of 'collect', which the label output would replace"
    assert message in error_line(*LABEL, "--out", "samples", cwd=place)
    for out, message in (
        ("data", "data holds something else, which the collect output would replace"),
        ("data/gsm8k/train.jsonl", "holds something else"),
        (".", "name a folder of its own with --out"),
    ):
        assert message in error_line(*COLLECT, "--out", out, cwd=place)
    assert (place / "data" / "gsm8k" / "train.jsonl").is_file()
    (place / "empty").mkdir()
    write_folder(place / "empty", stage="collect", settings={}, inputs={}, counts={}, rows={"samples.jsonl": []})


def odd(held: Callable[[Request], bool]) -> Callable[[Request], str | None]:
    """The scripted student, which writes nothing where `held`."""

    def says(request: Request) -> str | None:
        return None if held(request) else scripted(request)

    return says


def test_samples_that_cannot_be_written_are_left_out_and_counted(place: Path) -> None:
    with student(
        odd(lambda r: r.purpose == "sample" and r.problem.id.endswith("/1") and r.sample > 1), "stages.collect"
    ):
        done = refine_eval(*COLLECT[:-3], *COLLECT[-3:], cwd=place)
    assert done.stdout.startswith("6 samples of 2 questions, 33.3 % right; ")
    rows = [json.loads(line) for line in (place / "samples" / "samples.jsonl").open()]
    assert [len(row["samples"]) for row in rows] == [4, 2]
    found = counts(place / "samples")
    assert (found["samples"], found["unwritten"], found["generated_now"]) == (6, 2, 6)


@pytest.mark.parametrize(("options", "step"), [((), "5*4=21"), (("--naive",), "2+3=6")])
def test_samples_with_a_rollout_that_cannot_be_written_get_no_labels(
    place: Path, options: tuple[str, ...], step: str
) -> None:
    with student(odd(lambda r: r.purpose == "rollout" and step in r.prompt), "stages.collect", "stages.label"):
        refine_eval(*COLLECT, cwd=place)
        refine_eval(*LABEL, *options, cwd=place)
    rows = [json.loads(line) for line in (place / "labels" / "labels.jsonl").open()]
    assert not any(step in row["steps"] for row in rows), "no label says what no rollout does"
    found = counts(place / "labels")
    assert (found["samples"], found["left_out"]) == (len(rows), 2) == (4, 2)


def test_gold_solutions_that_the_metric_does_not_accept_are_left_out_and_counted(place: Path) -> None:
    line = json.dumps({"question": "Cid has one pear.", "answer": "it is not known"}) + "\n"
    with (place / "data" / "gsm8k" / "train.jsonl").open("a") as file:
        file.write(line)
    refine_eval("collect", *TASK, *DATA, "--gold", "--out", "gold", cwd=place)
    found = counts(place / "gold")
    assert (found["questions"], found["gold_not_right"]) == (2, 1)
