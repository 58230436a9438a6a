"""Labels of steps that are not lines: prefixes are kept to the byte, and so they are trained on."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import error_line, refine_eval, student

from refine_eval.data import ChatForm, Request
from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.formats import BAD, PromptForm, prompt_text, student_prompt
from refine_eval.models.chat import ChatTemplate
from refine_eval.plugin.registry import registry
from refine_eval.stages.folder import read_folder
from refine_eval.stages.rows import labels_from_json, labels_to_json, read_samples, training_data
from refine_eval.tasks.prompting import Prompting
from refine_eval.tasks.task import LmEvalTask
from refine_eval.testing import toy_tokenizer
from refine_eval.training import critic_example
from refine_eval.training.trainers import ExpertIterationTrainer
from refine_eval_refiners.trainers import local_pair

FIRST = "Add them:\n\\[\n  2+3=5\n\\]\n\n"
GOLD = f"{FIRST}  Then multiply.\n5*4=20\n\n\n#### 20"
WRONG = f"{FIRST}Then multiply.\n5*4=21\n\n#### 21"
REST = "So 5*4=20\n\n#### 20"


def scripted(request: Request) -> str:
    """Draws a right and a wrong sample; goes on rightly from what has no wrong step, to the byte."""
    if request.purpose == "sample":
        return (GOLD, WRONG)[request.sample]
    kept = prompt_text(request.prompt).removeprefix(prompt_text(request.problem.prompt))
    return REST if kept == FIRST else "#### 0"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    row = json.dumps({"question": "Ann has 2 apples.", "answer": "#### 20"}) + "\n"
    for split in ("train", "test"):
        (tmp_path / "data" / "gsm8k" / f"{split}.jsonl").write_text(row)
    with student(scripted, "stages.collect", "stages.label"):
        yield tmp_path


COLLECT = ("collect", "--task", "gsm8k_zero_shot", "--data-dir", "data", "-q", "--samples", "2", "--out", "samples")
LABEL = ("label", "samples", "--data-dir", "data", "-q", "--rollouts", "1", "--no-consistent", "--out", "labels")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "labels" / "labels.jsonl").open()]


def settings(folder: Path, stage: str) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / stage / "stage.yaml").read_text())["settings"])


@pytest.mark.parametrize("said", ["collect", "label"])
def test_prefixes_are_kept_to_the_byte(place: Path, said: str) -> None:
    chosen = ("--steps", "paragraphs")
    refine_eval(*COLLECT, *(chosen if said == "collect" else ()), cwd=place)
    refine_eval(*LABEL, *(chosen if said == "label" else ()), cwd=place)
    assert settings(place, "samples").get("steps") == ("paragraphs" if said == "collect" else None)
    assert settings(place, "labels")["steps"] == "paragraphs"
    drawn = [sample for row in (place / "samples" / "samples.jsonl").open() for sample in json.loads(row)["samples"]]
    pieces = [[s["text"][a:b] for a, b in pairwise(s.get("cuts", ()))] for s in drawn]
    assert [p[:1] for p in pieces] == ([[FIRST], [FIRST]] if said == "collect" else [[], []])
    by_text = {"".join(row["steps"]): row for row in rows(place)}
    assert by_text.keys() == {GOLD, WRONG}
    assert by_text[WRONG]["labels"] == [1, 0, 0]
    assert by_text[WRONG]["steps"][0] == FIRST
    assert by_text[WRONG]["verified"]["1"] == ["So 5*4=20\n\n", "#### 20"]
    assert all(row["exact"] is True and labels_to_json(labels_from_json(row)) == row for row in rows(place))


def test_lines_leave_no_mark(place: Path) -> None:
    refine_eval(*COLLECT, "--steps", "lines", cwd=place)
    refine_eval(*LABEL, cwd=place)
    assert not {"steps"} & (settings(place, "samples").keys() | settings(place, "labels").keys())
    assert not any("exact" in row for row in rows(place))
    assert ["Add them:", "\\[", "2+3=5", "\\]"] in [row["steps"][:4] for row in rows(place)]


def test_an_unknown_splitter_is_one_sentence(place: Path) -> None:
    assert "'clauses'" in error_line(*COLLECT, "--steps", "clauses", cwd=place)
    refine_eval(*COLLECT, cwd=place)
    assert "'clauses'" in error_line(*LABEL, "--steps", "clauses", cwd=place)


def test_they_are_trained_on_as_they_are_read_when_running() -> None:
    steps = (FIRST, "Then multiply.\n\n", "#### 21")
    pair = local_pair("q", steps, [1, 0, 0], {1: ["So 5*4=20\n\n", "#### 20"]}, exact=True)
    assert pair is not None
    assert pair.prompt == f"Question: q\nDraft:\n{FIRST}{BAD}Then multiply.\n\n#### 21\nAnswer:\n{FIRST}"
    assert pair.completion == REST
    tokenizer = toy_tokenizer()
    stripped = critic_example(tokenizer, "q", [step.strip() for step in steps], [1, 0, 0])
    assert critic_example(tokenizer, "q", steps, [1, 0, 0]) == stripped


@pytest.fixture
def chats(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place, and the student reads messages."""

    def made(*_: Any) -> ScriptedEngine:
        engine = ScriptedEngine.from_function(scripted)
        engine.chat = ChatForm()
        return engine

    monkeypatch.setattr("refine_eval.stages.collect.make_student", made)
    return place


def test_samples_of_plain_prompts_do_not_say_what_was_asked(place: Path) -> None:
    refine_eval(*COLLECT, "--task", "gsm8k_chat", cwd=place)
    assert "asked" not in (place / "samples" / "samples.jsonl").read_text()


@pytest.mark.parametrize("gold", [False, True], ids=["samples", "gold"])
def test_samples_of_messages_say_what_was_asked(chats: Path, gold: bool) -> None:
    chat = (*COLLECT, "--apply-chat-template", *(("--gold",) if gold else ()))
    for task in ("gsm8k_chat", "gsm8k_zero_shot"):
        refine_eval(*chat, "--task", task, "--out", task, cwd=chats)
    (row,) = read_samples(read_folder(chats / "gsm8k_chat", "collect"))
    assert row.asked is not None
    assert row.asked.startswith("Ann has 2 apples.\n\nPlease reason step by step")
    (row,) = read_samples(read_folder(chats / "gsm8k_zero_shot", "collect"))
    assert row.asked is None, "it is the prompt of a fine-tuned student"


def test_a_student_learns_to_answer_what_the_run_asks(chats: Path) -> None:
    refine_eval(*COLLECT, "--task", "gsm8k_chat", "--apply-chat-template", cwd=chats)
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}({{ m.content }}){% endfor %}assistant("
    data = training_data({"collect": [read_folder(chats / "samples", "collect")]})
    trainer = ExpertIterationTrainer()
    trainer.form = PromptForm(messages=True)
    (example,) = trainer.examples(data, tokenizer, 0)
    (problem,) = LmEvalTask(
        "gsm8k_chat", registry().benchmarks(), data_dir=chats / "data", prompting=Prompting(apply_chat_template=True)
    ).questions("train")
    asked = ChatTemplate("it", tokenizer, ChatForm()).text_of(problem.prompt)
    assert tokenizer.decode(example.input_ids).startswith(asked)
    trainer.form = PromptForm()
    (plain,) = trainer.examples(data, tokenizer, 0)
    assert tokenizer.decode(plain.input_ids).startswith(student_prompt(problem.question))
