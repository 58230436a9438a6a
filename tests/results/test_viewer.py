"""The page on runs: what it says without a script, the data of its browser, and the commands that write it."""

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from in_process import error_line, refine_eval
from records import HOSTILE, SETTINGS, TRACES, write

from refine_eval.costs import ModelUsage
from refine_eval.data import Critique, Trace
from refine_eval.errors import TaskError
from refine_eval.results import flow
from refine_eval.results.decisions import count_ends
from refine_eval.results.published import read_outcomes
from refine_eval.results.records import read_run, read_traces
from refine_eval.results.viewer import Viewed, page

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"


class Tags(HTMLParser):
    """Collects tags, attributes and text; `data` is what the page's script reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data: Any = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][1].get("id") == "data" and data.strip():
            self.data = self.data or json.loads(data)
        else:
            self.texts.append(data.strip())


def with_steps(ledger_trace: Trace, draft: tuple[str, ...], refined: tuple[str, ...]) -> Trace:
    like = ledger_trace.candidates[0].solution
    solutions = [replace(like, steps=steps, text="\n".join(steps)) for steps in (draft, refined)]
    candidates = (
        replace(ledger_trace.candidates[0], solution=solutions[0]),
        replace(ledger_trace.candidates[1], solution=solutions[1], parent="draft"),
    )
    sure = Critique(score=0.2, step_scores=(1.0, 0.2))
    critiques = {
        "draft": {"where": Critique(score=0.0, step_scores=(1.0, 0.0), first_bad_step=1), "when": sure, "choose": sure},
        "1.local.0": {"choose": Critique.without_score(candidates[1], "too long")},
    }
    return replace(ledger_trace, candidates=candidates, critiques=critiques)


CRITICS = {"when": {"name": "orm"}, "where": {"name": "sorm"}, "choose": {"name": "orm"}}


def parsed(folder: Path, *traces: Trace, known: Any = None) -> Tags:
    run = write(folder, traces=list(traces), settings={**SETTINGS, **CRITICS})
    return Tags(page([Viewed(record=read_run(run), traces=read_traces(run), known=known or {})]))


def test_the_browser_gets_steps_scores_and_outcomes(tmp_path: Path) -> None:
    found = parsed(tmp_path, with_steps(TRACES[0], ("1+1=2", "2+2=5"), ("1+1=2", "2+2=4")))
    (problem,) = found.data["runs"][0]["problems"]
    assert (problem["id"], problem["fate"]) == ("t/0", "won")
    assert problem["chosen"] == {"rerank": "1.local.0", "gate": "draft"}
    draft, refined = problem["candidates"]
    assert draft["steps"] == ["1+1=2", "2+2=5"]
    assert draft["critiques"] == [
        {"critic": "sorm", "roles": ["where"], "score": 0.0, "steps": [1.0, 0.0], "bad": 1},
        {"critic": "orm", "roles": ["when", "choose"], "score": 0.2, "steps": [1.0, 0.2]},
    ], "two roles of one critic stand together"
    assert refined["parent"] == "draft"
    assert refined["critiques"] == [{"critic": "orm", "roles": ["choose"], "unscored": "too long"}]
    assert sum(tag == "circle" for tag, _ in found.tags) >= 4, "a dot for each row of the table"
    assert "Calibration: orm (choose, when)" in found.texts


def test_what_is_before_the_steps_is_a_thought(tmp_path: Path) -> None:
    trace = with_steps(TRACES[0], ("1+1=2", "2+2=5"), ("1+1=2", "2+2=4"))
    thought = replace(trace.candidates[0].solution, text="<think>h\x1bm</think>\n1+1=2\n2+2=5", cuts=(19, 25, 30))
    endless = replace(trace.candidates[1].solution, text="<think>and on", steps=(), cuts=None)
    candidates = tuple(map(lambda c, s: replace(c, solution=s), trace.candidates, (thought, endless)))
    run = Viewed(record=read_run(write(tmp_path)), traces=[replace(trace, candidates=candidates, critiques={})])
    draft, refined = Tags(page([run])).data["runs"][0]["problems"][0]["candidates"]
    assert (draft["thought"], draft["steps"]) == ("<think>h�m</think>", ["1+1=2", "2+2=5"])
    assert (refined["thought"], refined["steps"]) == ("<think>and on", [])


def test_feedback_goes_with_its_critic_without_control_characters(tmp_path: Path) -> None:
    said = Critique(score=0.5, step_scores=(), feedback="Look\nat \x1b[2Jit")
    silent = Critique(
        score=0.0, step_scores=(), unscored="no verdict", parsed=False, feedback="Hm.", verdicts=5, unread=5
    )
    trace = replace(TRACES[0], critiques={"draft": {"when": said, "choose": silent}})
    found = parsed(tmp_path, trace).data["runs"][0]["problems"][0]["candidates"][0]["critiques"]
    assert [critique["feedback"] for critique in found] == ["Look\nat \N{REPLACEMENT CHARACTER}[2Jit", "Hm."]
    assert found[1]["unscored"] == "no verdict"
    assert found[1]["unread"] == "5 of 5 verdicts could not be read"
    assert "unread" not in found[0]


def test_what_each_model_read_and_wrote_is_shown(tmp_path: Path) -> None:
    record = read_run(write(tmp_path))
    student = ModelUsage(
        name="<b>student", parameters=None, texts=7, prompt_tokens=1234, cached_tokens=200, tokens=55, unknown=1
    )
    text = page([Viewed(record=replace(record, usage=(student,)), traces=TRACES)])
    assert {"<b>student", "-", "7", "1,234", "200", "55"} <= set(Tags(text).texts)
    assert "<b>" not in text.partition('id="data"')[0]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>"
    trace = with_steps(TRACES[0], ("ok", HOSTILE.replace("\u2028", "")), ("ok", evil))
    run = write(tmp_path, traces=[trace], settings={**SETTINGS, "command": evil})
    known = {"t/0": Known(f"line\u2028{evil}", "1")}
    text = page([Viewed(record=read_run(run), traces=read_traces(run), known=known)])
    found = Tags(text)
    assert [tag for tag, _ in found.tags if tag in ("script", "img")] == ["script", "script"]
    assert found.data["runs"][0]["problems"][0]["candidates"][1]["steps"] == ["ok", evil]
    assert "\x1b" not in text
    assert "\u2028" not in text.partition('id="data"')[2]
    (policy,) = (a["content"] for tag, a in found.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2]


class Known(NamedTuple):
    question: str
    gold: str


def test_question_and_gold_answer_are_shown_where_they_are_at_hand(tmp_path: Path) -> None:
    trace = with_steps(TRACES[0], ("1+1=3", "#### 3"), ("1+1=2", "#### 2"))
    (problem,) = parsed(tmp_path, trace, known={"t/0": Known("<b>How many\x1b[2J?</b>", "1+1=2\n#### 2")}).data["runs"][
        0
    ]["problems"]
    assert problem["question"].startswith("<b>How many")
    assert "\x1b" not in problem["question"]
    assert problem["gold"] == "1+1=2\n#### 2"
    (without,) = parsed(tmp_path, trace).data["runs"][0]["problems"]
    assert not {"question", "gold"} & without.keys()


@pytest.mark.parametrize(
    ("right", "chosen", "refined", "key"),
    [
        ({"draft": False}, "draft", False, "let_through"),
        ({"draft": False, "1.local.0": False}, "1.local.0", True, "unrepaired"),
        ({"draft": False, "1.local.0": True}, "draft", True, "missed"),
        ({"draft": False, "1.local.0": True}, "1.local.0", True, "won"),
        ({"draft": True, "1.local.0": False}, "1.local.0", True, "lost"),
        ({"draft": True, "1.local.0": False}, "draft", True, "held"),
        ({"draft": True}, "draft", False, "kept"),
    ],
)
def test_each_way_from_draft_to_answer_has_a_name(right: dict[str, bool], chosen: str, refined: bool, key: str) -> None:
    from records import ledger_trace

    trace = replace(ledger_trace(0, right, {"rerank": chosen}), refined=refined)
    found = asdict(count_ends([([trace], "strict")]))
    assert {name: count for name, count in found.items() if count} == {key: 1}


@pytest.mark.parametrize("name", sorted(path.name for path in PUBLISHED.iterdir())[::9])
def test_what_is_won_less_what_is_lost_is_the_gain_of_the_answers(name: str) -> None:
    if not (PUBLISHED / name / "outcomes.jsonl.gz").exists():
        pytest.skip(f"{name} is published without outcomes")
    record, traces = read_run(PUBLISHED / name), read_outcomes(PUBLISHED / name).traces
    choice = next(row for row in record.rows if row.kind == "selector")
    found = asdict(count_ends([(traces, record.filter)]))
    assert sum(found.values()) == choice.problems
    assert (found["won"], found["lost"]) == (choice.gained, choice.lost)
    wrong = ("won", "missed", "unrepaired", "let_through")
    assert sum(found[key] for key in wrong) == choice.problems - record.rows[0].correct[record.filter]


def test_the_picture_has_a_stream_for_each_way_as_thick_as_it_has_problems() -> None:
    nothing = dict.fromkeys((each.key for each in flow.FATES), 0)
    drawn = flow.picture({**nothing, "won": 30, "held": 60, "let_through": 10})
    assert sorted(re.findall(r'data-fate="([\w-]+)"', drawn)) == sorted(["won", "held", "let_through"] * 2)
    heights = [float(height) for height in re.findall(r'height="([\d.]+)" fill="#2a9d5c"', drawn)]
    assert max(heights) == pytest.approx(1.5 * heights[0], rel=0.01), "90 right answers, 60 right drafts"
    assert flow.picture(nothing).startswith("<svg"), "no problem, no error"


def test_the_command_shows_questions_of_a_task_that_is_at_hand(tmp_path: Path) -> None:
    from refine_eval_benchmarks.apples import generate

    at_hand = replace(TRACES[0], problem=replace(TRACES[0].problem, id="apples/0", task="apples"))
    write(tmp_path, traces=[at_hand], settings={**SETTINGS, "task": {"name": "apples"}})
    assert refine_eval("report", "runs/one", cwd=tmp_path).stdout == "wrote runs/one/report.html\n"
    text = (tmp_path / "runs" / "one" / "report.html").read_text("utf-8")
    assert Tags(text).data["runs"][0]["problems"][0]["question"] == generate("test", 1)[0]["question"]
    refine_eval("view", "runs/one", "-o", "other.html", cwd=tmp_path)
    assert (tmp_path / "other.html").read_text("utf-8") == text


def test_a_report_without_data_is_made_and_says_what_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFINE_EVAL_DATA", raising=False)

    def offline(*_: object) -> None:
        raise TaskError("The data of task 'svamp' is not available.")

    monkeypatch.setattr("refine_eval.tasks.truth.known_problems", offline)
    write(tmp_path, settings={**SETTINGS, "task": {"name": "svamp"}})
    said = refine_eval("report", "runs/one", cwd=tmp_path).stdout
    assert "without questions and gold answers" in said
    assert "pass --data-dir DIR (or set REFINE_EVAL_DATA) with a folder that has DIR/svamp/" in said
    assert (tmp_path / "runs" / "one" / "report.html").is_file()


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refine_eval.tasks.truth.known_problems", lambda *_: {})


@pytest.mark.usefixtures("no_data")
def test_several_runs_are_one_page_that_a_browser_opens_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    for name in ("one", "two"):
        write(tmp_path, name)
    assert refine_eval("view", "runs/one", "runs/two", cwd=tmp_path).stdout == "wrote view.html\n"
    assert opened == [], "this is no terminal"
    refine_eval("view", "runs/one", "runs/two", "--browser", cwd=tmp_path)
    assert opened == [(tmp_path / "view.html").as_uri()]
    data = Tags((tmp_path / "view.html").read_text("utf-8")).data
    assert [run["name"] for run in data["runs"]] == ["one", "two"]


@pytest.mark.usefixtures("no_data")
def test_bad_runs_are_one_sentence(tmp_path: Path) -> None:
    write(tmp_path, "one")
    write(tmp_path / "elsewhere", "one")
    said = error_line("view", "runs/one", "elsewhere/runs/one", cwd=tmp_path, expect=2)
    assert "Two of the runs are called one" in said
    assert "There is no run record 'runs/nothing'" in error_line("view", "runs/nothing", cwd=tmp_path)
    (tmp_path / "runs" / "one" / "traces.jsonl").write_text("{}")
    assert "is corrupt (it was edited or cut short" in error_line("view", "runs/one", cwd=tmp_path)
    assert not (tmp_path / "view.html").exists()
