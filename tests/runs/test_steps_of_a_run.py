"""--steps in a run: how texts are cut, what the record, the store and the traces keep of it, and what never changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from chat_solutions import COLONS, NUMBERED
from in_process import error_line, refine_eval
from made_tasks import NUMBER, benchmark
from small_run import PROBLEMS, SmallRun

from refine_eval.data import Generation, Solution, Trace
from refine_eval.errors import PluginError
from refine_eval.formats import BAD, marked_prompt, prompt_text
from refine_eval.plugin.components import Splitter
from refine_eval.plugin.contract import read_refinements
from refine_eval.plugin.registry import Registry
from refine_eval.plugin.runtime import Runtime
from refine_eval.results.traces import dumps, outcome_from_json, outcome_to_json, trace_from_json, trace_to_json
from refine_eval.results.typed import Fault
from refine_eval.runs.pipeline import _critique_key
from refine_eval.splitters.bundled import NumberedSplitter, ParagraphsSplitter
from refine_eval.testing import toy_judged
from refine_eval_refiners.local_refiner import LocalRefiner

QUESTIONS = [{"question": f"How many are {n} tens?", "answer": f"{n}0"} for n in range(1, 5)]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run of a made task, whose own steps are paragraphs, on recorded chat solutions."""
    yaml = f'generation_kwargs: {{until: ["</s>"], do_sample: false}}\n{NUMBER}'
    made = replace(benchmark(tmp_path / "task", yaml, {"test": QUESTIONS}), steps="paragraphs")
    monkeypatch.setattr(Registry, "benchmarks", mock.Mock(return_value={"made": made}))
    rows = [{"question": doc["question"], "said": NUMBERED, "more": COLONS} for doc in QUESTIONS]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return [
        *("run", "--tasks", "made", "--data-dir", str(tmp_path), "--model", "recorded", "--critic", "agreement"),
        *("--model-args", f"path={tmp_path / 'said.jsonl'},field=said,samples=more", "--refiner", "resample"),
        *("--resample-samples", "1", "--agreement-samples", "1", "--selector", "rerank", "-q"),
    ]


def record(folder: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    place = folder / "results" / "runs" / name
    lines = (place / "traces.jsonl").read_text("utf-8").splitlines()
    return yaml.safe_load((place / "run.yaml").read_text("utf-8"))["task"], [json.loads(line) for line in lines]


def test_a_task_names_its_splitter_and_another_one_is_in_the_record(typed: list[str], tmp_path: Path) -> None:
    refine_eval(*typed, "--name", "own", cwd=tmp_path)
    refine_eval(*typed, "--name", "said", "--steps", "paragraphs", cwd=tmp_path)
    refine_eval(*typed, "--name", "other", "--steps", "numbered", cwd=tmp_path)
    refine_eval(*typed, "--name", "lines", "--steps", "lines", cwd=tmp_path)
    found = {name: record(tmp_path, name) for name in ("own", "said", "other", "lines")}
    assert [task.get("steps") for task, _ in found.values()] == [None, None, "numbered", "lines"]
    assert found["own"] == found["said"]
    cuts = {name: [len(c.get("cuts", ())) for c in traces[0]["candidates"]] for name, (_, traces) in found.items()}
    assert cuts == {"own": [7, 2], "said": [7, 2], "other": [5, 4], "lines": [0, 0]}
    for name, (_, traces) in found.items():
        for row in traces:
            assert dumps(trace_to_json(trace_from_json(row))) == dumps(row), name


def test_the_record_of_other_steps_is_not_replaced(typed: list[str], tmp_path: Path) -> None:
    refine_eval(*typed, "--name", "one", cwd=tmp_path)
    refine_eval(*typed, "--name", "one", cwd=tmp_path)
    line = error_line(*typed, "--name", "one", "--steps", "numbered", cwd=tmp_path)
    assert "holds another run, with task.steps None and not 'numbered'" in line


def test_an_unknown_splitter_is_one_sentence_before_anything_is_loaded(typed: list[str], tmp_path: Path) -> None:
    with mock.patch("refine_eval.tasks.task.LmEvalTask", side_effect=AssertionError("loaded")):
        line = error_line(*typed, "--steps", "numbred", cwd=tmp_path)
    assert "'numbred'" in line
    assert "Did you mean 'numbered'?" in line


def small(folder: Path, splitter: Splitter | None) -> list[Trace]:
    found = SmallRun(folder)
    found.runtime.splitter = splitter
    return [replace(each, correct={c.id: {"none": True} for c in each.candidates}) for each in found.traces()]


def test_lines_leave_no_mark(tmp_path: Path) -> None:
    """Bytes and keys of runs by lines are what they were before there were splitters."""
    [first, *_] = small(tmp_path, None)
    assert first.draft.solution.cuts is None
    assert "cuts" not in dumps(trace_to_json(first))
    key = _critique_key("critic", first.draft).hex()
    assert key == "ea8a9e1204d93155be8b57eebd3bc1d7"


def test_scores_of_other_steps_are_other_scores(tmp_path: Path) -> None:
    [lines, *_] = small(tmp_path, None)
    [paragraphs, *_] = small(tmp_path, ParagraphsSplitter())
    assert lines.draft.solution.text == paragraphs.draft.solution.text
    assert (len(lines.draft.solution.steps), len(paragraphs.draft.solution.steps)) == (2, 1)
    assert _critique_key("c", lines.draft) != _critique_key("c", paragraphs.draft)


class Loses(Splitter):
    """Loses a character, or fails."""

    name = "loses"

    def split(self, batch: Sequence[str]) -> list[list[str]]:
        return [[text[1:]] for text in batch]


class Fails(Loses):
    def split(self, batch: Sequence[str]) -> list[list[str]]:
        raise SystemExit(3)


class OneForAll(Loses):
    def split(self, batch: Sequence[str]) -> list[list[str]]:
        return list(batch)  # type: ignore[arg-type]


class DoesNotOpen(Loses):
    def open(self, runtime: Runtime) -> None:
        raise ValueError("no luck")


@pytest.mark.parametrize(
    ("kind", "because"),
    [
        (Loses, "joined, the pieces must be the text"),
        (Fails, "SystemExit"),
        (OneForAll, "joined, the pieces must be the text"),
        (DoesNotOpen, "no luck"),
    ],
)
def test_a_broken_splitter_is_named(kind: type[Splitter], because: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="Splitter 'loses'") as raised:
        small(tmp_path, kind())
    assert because in str(raised.value)


Cut = Callable[[str, Splitter | None], Solution]


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[Cut]:
    """A text as a solution, as a run makes it."""
    run = SmallRun(tmp_path)
    view = run.runtime.for_component(run.runtime.student)

    def solution(text: str, splitter: Splitter | None) -> Solution:
        run.runtime.splitter = splitter
        return view.solution(PROBLEMS[0], Generation(text=text, tokens=1, finish_reason="stop"))

    yield solution
    run.store.close()


@pytest.mark.parametrize("splitter", [NumberedSplitter(), None], ids=["numbered", "lines"])
def test_what_stands_before_a_step_is_kept_to_the_byte(cut: Cut, splitter: Splitter | None) -> None:
    solution = cut(NUMBERED, splitter)
    before = [solution.before(step) for step in range(len(solution.steps) + 1)]
    assert (before[0], before[-1]) == ("", NUMBERED)
    for step, (kept, more) in zip(solution.steps, pairwise(before), strict=True):
        assert NUMBERED.startswith(more)
        assert more.removeprefix(kept).strip() == step
    for empty in ("", " \n\n"):
        assert (cut(empty, splitter).steps, cut(empty, splitter).before(0)) == ((), "")


def test_the_local_refiner_keeps_what_stands_before_the_step(cut: Cut) -> None:
    solution = cut(NUMBERED, NumberedSplitter())
    judged = toy_judged(1)[0]
    judged = replace(
        judged,
        candidate=replace(judged.candidate, solution=solution),
        critique=replace(judged.critique, first_bad_step=2),
    )
    task = LocalRefiner().task(judged)
    assert task is not None
    kept = NUMBERED[: NUMBERED.index("2. **Subtract")]
    assert task.kept == kept
    prompt = prompt_text(task.prompt)
    assert prompt.endswith(f"Answer:\n{kept}")
    assert f"Draft:\n{NUMBERED.replace(kept, kept + BAD)}Answer:" in prompt
    assert marked_prompt("q", "a\n", "b") == f"Question: q\nDraft:\na\n{BAD}b\nAnswer:\na\n"


def with_cuts(trace: Trace, cuts: object) -> Any:
    row = json.loads(dumps(trace_to_json(trace)))
    row["candidates"][0]["cuts"] = cuts
    return row


def test_cuts_of_a_trace_that_do_not_fit_are_a_fault(tmp_path: Path) -> None:
    [trace, *_] = small(tmp_path, ParagraphsSplitter())
    whole = len(trace.draft.solution.text)
    assert trace_from_json(with_cuts(trace, [0, 3, whole])).draft.solution.steps == ("so", "it is\n#### 0")
    for cuts in (
        [0],
        [0, whole + 1],
        [0, 3, 3, whole],
        [0, 2, 3, whole],
        [0, whole - 1],
        [-1, whole],
        ["0", whole],
        7,
        None,
    ):
        with pytest.raises(Fault):
            trace_from_json(with_cuts(trace, cuts))


def test_outcomes_have_no_cuts(tmp_path: Path) -> None:
    [trace, *_] = small(tmp_path, ParagraphsSplitter())
    row = outcome_to_json(trace, None)
    assert "cuts" not in row["candidates"][0]
    assert outcome_from_json(json.loads(dumps(row))).trace.selected == trace.selected


@pytest.mark.parametrize("cuts", [(0,), (0, 5), (0, 2, 7), (6, 0), (0, "6"), "06", 6, (0, 0, 6)])
def test_cuts_of_a_refiner_that_do_not_fit_are_its_fault(cuts: object) -> None:
    judged = toy_judged(1)
    made = Solution(text="a\n\nb.", steps=("a", "b."), answer=None, finish_reason="stop", tokens=1)
    with pytest.raises(PluginError, match="whose cuts do not fit its text and its 2 steps"):
        read_refinements(LocalRefiner(), judged, [[replace(made, text="a\n\nb. ", cuts=cuts)]])  # type: ignore[arg-type]
    assert read_refinements(LocalRefiner(), judged, [[replace(made, cuts=(0, 3, 5))]])[0][0].cuts == (0, 3, 5)
