"""The page on a run shows scores, diffs and outcomes, and runs nothing that a model wrote."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from records import HOSTILE, SETTINGS, TRACES, write

from refine_eval.cli.report import report
from refine_eval.data import Critique, Trace
from refine_eval.errors import TaskError
from refine_eval.results.records import read_run, read_traces
from refine_eval.results.report import render


class Tags(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def with_steps(ledger_trace: Trace, draft: tuple[str, ...], refined: tuple[str, ...]) -> Trace:
    like = ledger_trace.candidates[0].solution
    solutions = [replace(like, steps=steps, text="\n".join(steps)) for steps in (draft, refined)]
    candidates = (
        replace(ledger_trace.candidates[0], solution=solutions[0]),
        replace(ledger_trace.candidates[1], solution=solutions[1], parent="draft"),
    )
    critiques = {
        "draft": {"where": Critique(score=0.0, step_scores=(1.0, 0.0), first_bad_step=1)},
        "1.local.0": {"choose": Critique(score=0.9, step_scores=(1.0, 0.9))},
    }
    return replace(ledger_trace, candidates=candidates, critiques=critiques)


def page(folder: Path, ledger_trace: Trace) -> Tags:
    run = write(folder, traces=[ledger_trace])
    return Tags(render(read_run(run), read_traces(run)))


def test_steps_are_coloured_and_refinements_are_diffs(tmp_path: Path) -> None:
    found = page(tmp_path, with_steps(TRACES[0], ("1+1=2", "2+2=5"), ("1+1=2", "2+2=4")))
    lines = [attributes for tag, attributes in found.tags if (attributes.get("class") or "").startswith("line ")]
    assert [(a["class"], a["style"]) for a in lines] == [
        ("line same", "background: hsl(120 70% 85%)"),
        ("line same", "background: hsl(0 70% 85%)"),
        ("line same", "background: hsl(120 70% 85%)"),
        ("line gone", "background: transparent"),
        ("line new", "background: hsl(108 70% 85%)"),
    ]
    assert "Repaired: the draft was wrong, the choice is right (1)" in found.texts
    assert "1.local.0 · scored 0.90 · chosen" in found.texts
    assert sum(tag == "circle" for tag, _ in found.tags) == 4, "a dot for each row of the table"


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    found = page(
        tmp_path, with_steps(TRACES[0], ("ok", HOSTILE.replace("\u2028", "")), ("ok", "<script>alert(1)</script>"))
    )
    assert not {"script", "img"} & {tag for tag, _ in found.tags}
    assert any("<script>alert(1)</script>" in text for text in found.texts)
    assert "\x1b" not in "".join(found.texts)


class Known(NamedTuple):
    question: str
    gold: str


def test_question_and_gold_answer_are_shown_where_they_are_at_hand(tmp_path: Path) -> None:
    run = write(tmp_path, traces=[with_steps(TRACES[0], ("1+1=3", "#### 3"), ("1+1=2", "#### 2"))])
    known = {"t/0": Known("<b>How many\x1b[2J?</b>", "1+1=2\n#### 2")}
    found = Tags(render(read_run(run), read_traces(run), known))
    assert any(text.startswith("<b>How many") for text in found.texts)
    assert "1+1=2\n#### 2" in found.texts
    assert "\x1b" not in "".join(found.texts)
    without = Tags(render(read_run(run), read_traces(run)))
    assert "Gold answer:" not in without.texts


def test_the_command_shows_questions_of_a_task_that_is_at_hand(tmp_path: Path) -> None:
    from refine_eval_benchmarks.apples import generate

    at_hand = replace(TRACES[0], problem=replace(TRACES[0].problem, id="apples/0", task="apples"))
    run = write(tmp_path, traces=[at_hand], settings={**SETTINGS, "task": {"name": "apples"}})
    done = CliRunner().invoke(report, [str(run)], catch_exceptions=False)
    assert done.output == f"wrote {run / 'report.html'}\n"
    assert generate("test", 1)[0]["question"] in " ".join(Tags((run / "report.html").read_text("utf-8")).texts)


def test_a_report_without_data_is_made_and_says_what_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFINE_EVAL_DATA", raising=False)

    def offline(*_: object) -> None:
        raise TaskError("The data of task 'svamp' is not available.")

    monkeypatch.setattr("refine_eval.tasks.truth.known_problems", offline)
    run = write(tmp_path, settings={**SETTINGS, "task": {"name": "svamp"}})
    done = CliRunner().invoke(report, [str(run)], catch_exceptions=False)
    assert "without questions and gold answers" in done.output
    assert "pass --data-dir DIR (or set REFINE_EVAL_DATA) with a folder that has DIR/svamp/" in done.output
    assert (run / "report.html").is_file()
