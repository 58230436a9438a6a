"""One odd text costs that text: it is left out, counted and shown, and every problem stays in every row."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import refine_eval

from refine_eval.costs import LeftOut
from refine_eval.data import AnswerGroup, Candidate, Critique, Generation, Problem, Request, ScoredCandidate, Solution
from refine_eval.engines.scripted import ScriptedEngine
from refine_eval.errors import GenerationError, ModelError, PluginError
from refine_eval.plugin.components import Critic, Engine, Refiner, Selector
from refine_eval.plugin.registry import Registry
from refine_eval.results.traces import trace_from_json, trace_to_json
from refine_eval.runs.pipeline import Pipeline, Strategy
from refine_eval.runs.runtime import RunRuntime
from refine_eval.runs.store import Store
from refine_eval.runs.usage import count_left_out
from refine_eval.terminal import Progress
from refine_eval.testing import ToyRuntime, toy_solution
from refine_eval_refiners.critics import AgreementCritic
from refine_eval_refiners.resample import ResampleOptions, ResampleRefiner

PROBLEMS = [Problem(id=f"toy/{i}", task="toy", question=f"{i}?", prompt=f"{i}?") for i in range(4)]
ODD = "toy/2"
LONG = "longer than its context (900 tokens of 512); use another"


class Filtered(Engine):
    """Writes nothing for the odd problem where the purpose is in `held`; the reason differs from text to text."""

    name = "filtered"
    accepts_pretrained = False

    def __init__(self, *held: str, all_problems: bool = False) -> None:
        super().__init__()
        self.held, self.all_problems = held, all_problems
        self.asked: list[str] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
        for index, request in enumerate(requests):
            self.asked.append(request.problem.id)
            if request.purpose in self.held and (self.all_problems or request.problem.id == ODD):
                yield index, Generation.without_text(f"held back (case {index}\n\ud83d\x1b[2J); ask otherwise")
            else:
                yield index, Generation(text=f"a\n#### {request.sample}", tokens=3, finish_reason="stop")


class Short(Critic):
    """Has no score for the odd problem, or for any where `all_problems`."""

    name = "short"
    all_problems = False

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        self.seen = [candidate.problem.id for candidate in batch]
        return [
            Critique.without_score(candidate, LONG)
            if self.all_problems or candidate.problem.id == ODD
            else Critique(score=0.7, step_scores=(0.7,) * len(candidate.solution.steps), first_bad_step=0)
            for candidate in batch
        ]


class Own(Refiner):
    """Continues the student's draft by a text of its own, and cannot do so for a problem that it names."""

    name = "own"
    refused = "toy/1"

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        problems = [judged.candidate.problem for judged in batch]
        written = self.runtime.generate(problems, [f"refine {p.id}" for p in problems], purpose="own")
        return [
            [Solution.without_text("a table, which it does not read (of 9 rows)")]
            if problem.id == self.refused
            else [self.runtime.solution(problem, text, prefix="kept\n") for text in texts]
            for problem, texts in zip(problems, written, strict=True)
        ]


class Best(Selector):
    """The highest score."""

    name = "best"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int]:
        return [max(range(len(found)), key=lambda at: found[at].critique.score) for found in batch]


class Tasks:
    """Answers are what follows "#### "."""

    def answers(self, problem: Problem, texts: Sequence[str]) -> list[str | None]:
        return [text.rpartition("#### ")[2] or None for text in texts]

    def answer_groups(self, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> list[list[AnswerGroup]]:
        solutions = [[toy_solution(text) for text in some] for some in texts]
        return ToyRuntime().answer_groups(problems, solutions)

    def sampling(self, problem: Problem) -> Any:
        return ToyRuntime().sampling(problem)

    def is_correct(self, candidate: Candidate) -> bool:
        return True

    def first_bad_step(self, candidate: Candidate) -> int | None:
        return None


def pipeline(place: Path, engine: Engine, critic: Critic | None = None, *refiners: Refiner) -> Pipeline:
    critic = critic or AgreementCritic()
    runtime = RunRuntime(
        student=engine,
        registry=Registry([]),
        store=Store(place / "s.sqlite"),
        tasks=Tasks(),
        progress=Progress(quiet=True),
    )
    strategy = Strategy(
        when=critic, where=critic, choose=critic, refiners=refiners or (Own(),), selectors=(Best(),), refine_below=0.5
    )
    return Pipeline(strategy, runtime)


def test_a_draft_that_cannot_be_written_stays_as_an_empty_one_and_is_asked_for_again(tmp_path: Path) -> None:
    engine = Filtered("draft")
    run = pipeline(tmp_path, engine)
    traces = run.run(PROBLEMS)
    assert [trace.problem.id for trace in traces] == [problem.id for problem in PROBLEMS]
    draft = traces[2].draft.solution
    assert (draft.text, draft.steps, draft.answer, draft.tokens) == ("", (), None, 0)
    assert draft.finish_reason == "unwritten"
    assert str(draft.unwritten).isprintable(), "somebody's reason goes to terminals and files"
    assert traces[2].refined, "a refinement may be better than nothing"
    assert run.left_out[0] == LeftOut(component="filtered", verb="write", texts=1, of=4, reason="held back")
    assert run.runtime.generated == 3 + 4 * 5 + 4, "drafts, samples of the critic, and refinements"
    again = pipeline(tmp_path, engine)
    before = len(engine.asked)
    again.run(PROBLEMS)
    assert engine.asked[before:] == [ODD], "it alone is in no store: another day may bring a text"
    assert again.runtime.generated == 0


def test_samples_that_cannot_be_written_have_no_vote(tmp_path: Path) -> None:
    run = pipeline(tmp_path, Filtered("sample"), None, ResampleRefiner(ResampleOptions(samples=2)))
    traces = run.run(PROBLEMS)
    assert str(traces[2].critiques["draft"]["when"].unscored) == "no sample of its problem could be written"
    assert [len(trace.candidates) for trace in traces] == [3, 3, 1, 3]
    assert [(each.component, each.verb, each.texts, each.of) for each in run.left_out] == [
        ("agreement", "write", 5, 20),
        ("resample", "write", 2, 8),
        ("agreement", "score", 1, 10),
    ]


def test_a_critic_without_a_score_for_one_text_ranks_it_last_and_is_asked_again(tmp_path: Path) -> None:
    critic = Short()
    run = pipeline(tmp_path, Filtered(), critic)
    traces = run.run(PROBLEMS)
    assert traces[2].critiques["draft"]["when"] == Critique(score=0.0, step_scores=(0.0, 0.0), unscored=LONG)
    assert [trace.refined for trace in traces] == [False, False, True, False], "the gate lets through what has no score"
    assert run.left_out == (LeftOut(component="short", verb="score", texts=2, of=5, reason="longer than its context"),)
    pipeline(tmp_path, Filtered(), critic).run(PROBLEMS)
    assert critic.seen == [ODD], "a score that there is none of is not stored"
    graded = {candidate.id: {"strict": False} for candidate in traces[2].candidates}
    row = json.loads(json.dumps(trace_to_json(replace(traces[2], correct=graded))))
    assert trace_from_json(row).critiques["draft"]["when"].unscored == LONG
    assert "unscored" not in json.dumps(trace_to_json(traces[0])), "other records are as they were"
    assert "unwritten" not in json.dumps(trace_to_json(traces[0]))


def test_refinements_that_cannot_be_written_are_none_and_a_refiner_can_say_so_itself(tmp_path: Path) -> None:
    class Low(Short):
        """Everything is to be refined."""

        def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
            return [Critique(score=0.1, step_scores=(0.1,) * len(c.solution.steps)) for c in batch]

    run = pipeline(tmp_path, Filtered("own"), Low())
    traces = run.run(PROBLEMS)
    assert [len(trace.candidates) for trace in traces] == [2, 1, 1, 2]
    assert run.left_out == (
        LeftOut(component="own", verb="write", texts=1, of=4, reason="held back"),
        LeftOut(component="own", verb="refine", texts=1, of=4, reason="a table, which it does not read"),
    ), "one text is counted once"


@pytest.mark.parametrize("stage", ["draft", "sample", "own"])
def test_where_no_text_of_any_problem_can_be_written_the_set_up_is_wrong(tmp_path: Path, stage: str) -> None:
    class Low(AgreementCritic):
        def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
            super().critique(batch)
            return [Critique(score=0.1, step_scores=(0.1,) * len(c.solution.steps)) for c in batch]

    with pytest.raises(GenerationError) as raised:
        pipeline(tmp_path, Filtered(stage, all_problems=True), Low()).run(PROBLEMS)
    message = str(raised.value)
    assert f"'filtered' can write none of {20 if stage == 'sample' else 4} texts (stage '{stage}')" in message
    assert "problem toy/0: held back (case 0" in message
    assert message.endswith("; ask otherwise.")


def test_the_only_text_to_refine_may_be_the_odd_one(tmp_path: Path) -> None:
    run = pipeline(tmp_path, Filtered("own"), Short())
    assert [len(trace.candidates) for trace in run.run(PROBLEMS)] == [1, 1, 1, 1]


def test_where_no_text_of_any_problem_can_be_scored_the_set_up_is_wrong(tmp_path: Path) -> None:
    critic = Short()
    critic.all_problems = True
    with pytest.raises(
        ModelError, match=r"Critic 'short' can score none of 4 texts, the first of problem toy/0: longer"
    ):
        pipeline(tmp_path, Filtered(), critic).run(PROBLEMS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unscored": " "}, "did not say why; it must be a text, not ' '"),
        ({"unscored": 3}, "did not say why; it must be a text, not 3"),
        ({"score": 0.3}, r"and scored it; make the critique with Critique\.without_score"),
        ({"step_scores": (0.0, 0.1)}, "and scored it"),
        ({"first_bad_step": 0}, "and scored it"),
    ],
)
def test_a_text_is_scored_or_it_is_not(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    class Torn(Short):
        def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
            fields: dict[str, Any] = {"score": 0.0, "step_scores": (0.0, 0.0), "unscored": "why"} | changes
            return [Critique(**fields) for _ in batch]

    with pytest.raises(PluginError, match=message):
        pipeline(tmp_path, Filtered(), Torn()).run(PROBLEMS)


def test_reasons_are_counted_by_their_kind() -> None:
    reasons = ["too long (9 of 8)", None, "too long (10 of 8); cut it", "(odd)", None]
    assert count_left_out("toy", "score", reasons) == [
        LeftOut(component="toy", verb="score", texts=1, of=5, reason="(odd)"),
        LeftOut(component="toy", verb="score", texts=2, of=5, reason="too long"),
    ]


def test_a_run_shows_what_it_left_out(tmp_path: Path) -> None:
    from refine_eval_benchmarks.apples import generate

    rows = [
        {"question": row["question"], "draft": "3+4=7\n" * 400 if at == 1 else row["answer"], "again": row["answer"]}
        for at, row in enumerate(generate("test", 3))
    ]
    (tmp_path / "solutions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    typed = (
        "run",
        "--limit",
        "3",
        "--model",
        "recorded",
        "--model-args",
        "path=solutions.jsonl,field=draft,samples=again",
    )
    chosen = ("--critic", "orm", "--refiner", "resample", "--resample-samples", "1", "--name", "odd", "-q")
    note = "orm could not score 1 of 6 texts: longer than the critic's context"
    assert f"\n{note}\n" in refine_eval(*typed, *chosen, cwd=tmp_path).stdout
    (found,) = json.loads(refine_eval(*typed, *chosen, "--json", cwd=tmp_path).stdout)
    assert [row["problems"] for row in found["rows"]] == [3] * len(found["rows"])
    assert found["left_out"] == [
        {"component": "orm", "verb": "score", "texts": 1, "of": 6, "reason": "longer than the critic's context"}
    ]
    record = json.loads((tmp_path / "results/runs/odd/metrics.json").read_text())
    assert record["left_out"] == found["left_out"]
    refine_eval("report", "results/runs/odd", cwd=tmp_path)
    page = (tmp_path / "results/runs/odd/report.html").read_text()
    assert "orm could not score 1 of 6 texts: longer than the critic&#39;s context" in page
    assert '"unscored":"longer than the critic' in page
    refine_eval("publish", "results/runs/odd", cwd=tmp_path)
    refine_eval("leaderboard", cwd=tmp_path)
    assert f"\n- {note}\n" in (tmp_path / "results/leaderboard-runs.md").read_text()


def test_a_script_may_leave_a_text_unwritten(tmp_path: Path) -> None:
    (tmp_path / "script.jsonl").write_text(json.dumps({"id": "toy/0", "texts": {"draft": None}}) + "\n")
    engine = ScriptedEngine(ScriptedEngine.Options(path=str(tmp_path / "script.jsonl")))
    engine.open(ToyRuntime())
    request = Request(
        problem=PROBLEMS[0],
        prompt="",
        sampling=ToyRuntime().sampling(PROBLEMS[0]),
        purpose="draft",
        sample=0,
        seed=0,
    )
    assert list(engine.generate([request])) == [(0, Generation.without_text("the script says so"))]
