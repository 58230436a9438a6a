"""Thoughts and texts that were cut off: told apart as lm-eval does it, kept, and unanswered where they never end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from fuzz import HOSTILE_TEXTS, fuzz
from hypothesis import strategies as st
from in_process import error_line, refine_eval
from lm_eval.models.utils import postprocess_generated_text
from made_tasks import NUMBER, benchmark
from small_run import PROBLEMS, PlainEngine, SmallRun

from refine_eval.data import ChatForm, Generation, Request, Solution, Thinking, Trace
from refine_eval.errors import PluginError
from refine_eval.models.chat import ChatTemplate
from refine_eval.plugin.registry import Registry
from refine_eval.results.traces import dumps, outcome_from_json, outcome_to_json, trace_from_json, trace_to_json
from refine_eval.results.typed import Fault
from refine_eval.runs.pipeline import _critique_key
from refine_eval.runs.thoughts import parted
from refine_eval.splitters.bundled import ParagraphsSplitter

THINK = Thinking(end="</think>")
AT_ONCE = Thinking(end="</think>", at_once=True)
CHANNELS = Thinking(end="assistantfinal")


@pytest.mark.parametrize(
    ("written", "thinking", "thought", "text", "ended"),
    [
        ("<think>\n1+1\n</think>\n\n#### 2", THINK, "<think>\n1+1\n</think>\n\n", "#### 2", True),
        ("a</think>b</think> c", THINK, "a</think>b</think> ", "c", True),
        ("a</think>", AT_ONCE, "a</think>", "", True),
        ("#### 2", THINK, None, "#### 2", True),  # it answered at once
        ("#### 2", AT_ONCE, None, "#### 2", False),
        ("\n<think>\nthe answer is 2", THINK, None, "<think>\nthe answer is 2", False),
        ("analysisIt is 2.assistantfinal2", CHANNELS, "analysisIt is 2.assistantfinal", "2", True),
        ("analysisIt is 2.", CHANNELS, None, "analysisIt is 2.", False),
        ("a[/end]b", Thinking(end="[/end]"), "a[/end]", "b", True),
        ("<think>a</think>b", None, None, "<think>a</think>b", True),
        ("", THINK, None, "", True),
    ],
)
def test_a_text_in_two(written: str, thinking: Thinking | None, thought: str | None, text: str, ended: bool) -> None:
    found = parted(written, thinking)
    assert (found.thought, found.text, found.ended) == (thought, text, ended)


PARTS = st.lists(st.sampled_from(["</think>", "<think>", "\n", " ", "a", "</thi", "nk>"]), max_size=12).map("".join)


@fuzz(written=HOSTILE_TEXTS | PARTS)
def test_what_is_graded_is_lm_evals(written: str) -> None:
    found = parted(written, THINK)
    assert found.text == postprocess_generated_text(written, None, "</think>")
    assert ((found.thought or "") + found.text) in (written, written.lstrip())


def test_a_refinement_of_another_model_is_no_thought() -> None:
    assert parted("#### 2", AT_ONCE, starts=False).ended
    assert not parted("<think>#### 2", AT_ONCE, starts=False).ended


class Says(PlainEngine):
    """Writes one text for every draft, and another for every sample."""

    name = "says"

    def __init__(self, draft: str, sample: str = "#### 7", finish_reason: str = "stop") -> None:
        super().__init__()
        self.texts, self.finish_reason = {True: draft, False: sample}, finish_reason

    def one(self, request: Request) -> Any:
        text = self.texts[request.purpose == "draft"]
        return Generation(text=text, tokens=5, finish_reason=self.finish_reason)


Run = Callable[..., Trace]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    number = iter(range(100))

    def first(engine: PlainEngine, **how: Any) -> Trace:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        made = SmallRun(folder, engine)
        for name, value in how.items():
            setattr(made.runtime, name, value)
        [trace, *_] = made.traces()
        return replace(trace, correct={c.id: {"none": True} for c in trace.candidates})

    return first


TWO = "<think>\nfirst\n\n#### 3\n</think>\n\nSo it is.\n\n#### 2"


def test_a_thought_is_kept_and_is_no_step(run: Run) -> None:
    found = run(Says(TWO), _think_end_token="</think>").draft.solution
    assert found.thought == "<think>\nfirst\n\n#### 3\n</think>\n\n"
    assert (found.text, found.steps, found.answer) == ("So it is.\n\n#### 2", ("So it is.", "#### 2"), "2")
    assert (found.written, found.before(0), found.before(2), found.tokens) == (TWO, found.thought, TWO, 5)
    assert found.cuts is None
    assert found.before(1) == f"{found.thought}So it is.\n\n"


def test_by_paragraphs(run: Run) -> None:
    found = run(Says(TWO), _think_end_token="</think>", splitter=ParagraphsSplitter()).draft.solution
    assert found.steps == ("So it is.", "#### 2")
    assert [found.before(step) for step in (0, 1, 2)] == [found.thought, f"{found.thought}So it is.\n\n", TWO]


@pytest.mark.parametrize("splitter", [ParagraphsSplitter(), None], ids=["paragraphs", "lines"])
def test_thoughts_are_judged_where_that_is_wanted(run: Run, splitter: Any) -> None:
    trace = run(Says(TWO), _think_end_token="</think>", splitter=splitter, judge_thoughts=True)
    found = trace.draft.solution
    assert (found.answer, found.text, found.before(0), found.before(len(found.steps))) == (
        "2",
        "So it is.\n\n#### 2",
        "",
        TWO,
    )
    assert found.steps[-2:] == ("So it is.", "#### 2")
    assert found.steps[0].startswith("<think>")
    row = json.loads(dumps(trace_to_json(trace)))
    assert trace_from_json(row).draft.solution == found


@pytest.mark.parametrize(
    ("says", "token"),
    [
        (Says("<think>\nso the answer is\n#### 2"), "</think>"),
        (Says("so the answer is\n#### 2"), "</think>"),
        (Says("so the answer is\n#### 2", finish_reason="length"), "</think>"),
    ],
    ids=["begun", "at once", "cut off"],
)
def test_a_thought_that_never_ends_has_no_answer_and_no_steps(run: Run, says: Says, token: str) -> None:
    trace = run(says, _think_end_token=token)
    found = trace.draft.solution
    assert (found.answer, found.steps, found.thought, found.text) == (None, (), None, says.texts[True])
    assert trace_from_json(json.loads(dumps(trace_to_json(trace)))).draft.solution == found


def test_a_text_cut_off_at_its_limit_has_no_answer(run: Run) -> None:
    found = run(Says("so it is\n#### 2", finish_reason="length")).draft.solution
    assert (found.answer, found.steps, found.thought) == (None, ("so it is", "#### 2"), None)


def test_such_texts_have_no_vote(tmp_path: Path) -> None:
    made = SmallRun(tmp_path, Says("#### 2"))
    view = made.runtime.for_component(made.runtime.student)

    def solution(text: str, finish_reason: str) -> Solution:
        return view.solution(PROBLEMS[0], Generation(text=text, tokens=1, finish_reason=finish_reason))

    solutions = [
        solution("#### 1", "length"),
        solution("#### 2", "stop"),
        solution("#### 1", "length"),
        solution("#### 2", "stop"),
    ]
    [groups] = view.answer_groups(PROBLEMS[:1], [solutions])
    assert [(group.members, group.best_spelt) for group in groups] == [((1, 3), 1)]
    made.store.close()


def test_the_answer_in_the_thought_only_is_none(run: Run) -> None:
    found = run(Says("<think>\n#### 2\n</think>\n"), _think_end_token="</think>").draft.solution
    assert (found.text, found.answer, found.steps, found.before(0)) == ("", None, (), found.written)


def test_records_have_a_thought_only_where_there_is_one(run: Run) -> None:
    trace = run(Says(TWO), _think_end_token="</think>")
    row = json.loads(dumps(trace_to_json(trace)))
    assert row["candidates"][0]["thought"] == trace.draft.solution.thought
    assert "thought" not in row["candidates"][1]
    assert dumps(trace_to_json(trace_from_json(row))) == dumps(row)
    outcome = json.loads(dumps(outcome_to_json(trace, None)))
    assert "thought" not in dumps(outcome)
    outcome_from_json(outcome)
    row["candidates"][0]["thought"] = 3
    with pytest.raises(Fault, match="'thought' is 3 and not a text"):
        trace_from_json(row)
    other = run(Says(TWO.replace("first", "other")), _think_end_token="</think>")
    assert _critique_key("c", trace.draft) != _critique_key("c", other.draft)


class Tokenizer:
    """Renders messages as one chat template or another."""

    def __init__(self, template: str | None, end: str = "") -> None:
        self.chat_template, self.end = template, end

    def apply_chat_template(self, turns: Sequence[dict[str, str]], **_: Any) -> str:
        return f"<user>{turns[0]['content']}<assistant>{self.end}"


@pytest.mark.parametrize(
    ("tokenizer", "thinking"),
    [
        (Tokenizer("{{ x }} plain"), None),
        (Tokenizer("... content.split('</think>') ..."), THINK),
        (Tokenizer("... '</think>' ...", "<think>\n"), AT_ONCE),
        (Tokenizer("... '</think>' ...", "<think>\n\n</think>\n\n"), THINK),
        (Tokenizer("<|channel|>final"), CHANNELS),
        (Tokenizer(None), None),
    ],
    ids=["plain", "qwen3", "deepseek-r1", "no thinking", "gpt-oss", "no template"],
)
def test_a_chat_template_tells_how_its_model_thinks(tokenizer: Tokenizer, thinking: Thinking | None) -> None:
    assert ChatTemplate("m", tokenizer, ChatForm()).thinking == thinking
    assert ChatTemplate("m", tokenizer, None).thinking is None


def test_an_engine_says_how_its_model_thinks(run: Run) -> None:
    engine = Says(TWO)
    engine.thinking = THINK
    assert run(engine).draft.solution.text == "So it is.\n\n#### 2"
    engine = Says(TWO)
    engine.thinking = "</think>"  # type: ignore[assignment]
    with pytest.raises(PluginError, match="must have a Thinking or None as its thinking, not '</think>'"):
        run(engine)


QUESTIONS = [{"question": f"How many are {n} tens?", "answer": f"{n}0"} for n in range(1, 4)]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run on recorded texts that think: right, right in the thought only, never ended."""
    made = benchmark(tmp_path / "task", NUMBER, {"test": QUESTIONS})
    monkeypatch.setattr(Registry, "benchmarks", mock.Mock(return_value={"made": made}))
    said = ["<think>7</think>\n10", "<think>20</think>\n7", "<think>30"]
    rows = [{"question": doc["question"], "said": text} for doc, text in zip(QUESTIONS, said, strict=True)]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [
        *("run", "--tasks", "made", "--data-dir", str(tmp_path), "--model", "recorded", "--critic", "agreement"),
        *("--model-args", f"path={tmp_path / 'said.jsonl'},field=said,samples=said", "--refiner", "resample", "-q"),
        *("--resample-samples", "1", "--agreement-samples", "1", "--selector", "vote", "--name", "one"),
    ]


def test_a_run_with_thoughts(typed: list[str], tmp_path: Path) -> None:
    found = json.loads(refine_eval(*typed, "--think-end-token", "</think>", "--json", cwd=tmp_path).stdout)[0]
    # The last one is a thought that never ended; lm-eval grades it, and so do we.
    assert found["rows"][0]["correct"] == {"last": 2}
    folder = tmp_path / "results" / "runs" / "one"
    task = yaml.safe_load((folder / "run.yaml").read_text())["task"]
    assert (task["think_end_token"], "judge_thoughts" in task) == ("</think>", False)
    traces = [json.loads(line)["candidates"][0] for line in (folder / "traces.jsonl").read_text().splitlines()]
    assert [(row["text"], row["answer"], row.get("thought")) for row in traces] == [
        ("10", "10", "<think>7</think>\n"),
        ("7", "7", "<think>20</think>\n"),
        ("<think>30", None, None),
    ]
    line = error_line(*typed, cwd=tmp_path)
    assert "holds another run, with task.think_end_token '</think>' and not None" in line
    line = error_line(*typed, "--think-end-token", "</think>", "--judge-thoughts", cwd=tmp_path)
    assert "holds another run, with task.judge_thoughts None and not True" in line


def test_an_empty_token_is_refused(typed: list[str], tmp_path: Path) -> None:
    line = error_line(*typed, "--think-end-token", "", cwd=tmp_path, expect=2)
    assert "--think-end-token is empty; name what ends the model's thoughts, such as </think>." in line
