"""Published records: small, the same for statistics, and honest about what was edited."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from records import SETTINGS, write
from traces import judged, trace

from refine_eval.cli.leaderboard import leaderboard
from refine_eval.cli.report import report
from refine_eval.data import Trace
from refine_eval.errors import RunError
from refine_eval.results.ledger import rows
from refine_eval.results.published import publish, read_outcomes, read_published
from refine_eval.results.records import OUTCOMES, read_run, read_traces
from refine_eval.statistics.critic_quality import ranking, step_cases

KNOWS = {"where": judged(0.9, 0.2, 0.1), "choose": judged(0.5)}
TRACES = [
    trace(
        number,
        {
            "draft": (["1+1=2", "2+2=5", "#### 5"], False),
            "1.global.0": (["1+1=2", "2+2=4", "#### 4"], True),
            "1.local.0": (["1+1=2", "2+2=4", "#### 4"], True),
        },
        {
            "draft": KNOWS,
            "1.global.0": {"choose": judged(0.1 * number)},
            "1.local.0": {"choose": judged(0.1 * number)},
        },
        "1.local.0",
    )
    for number in range(10)
]
FIRST_BAD = {found.problem.id: 1 for found in TRACES}
MADE = {**SETTINGS, "command": "refine-eval recipe run tiny --work DIR", "stage": "glore"}


def published(folder: Path, with_traces: bool = False, settings: object = MADE) -> Path:
    return publish(write(folder, traces=TRACES, settings=settings), folder, FIRST_BAD, with_traces)


def measured(traces: list[Trace], first_bad: dict[str, int | None]) -> tuple[object, ...]:
    scores = {found.problem.id: found.critiques["draft"]["where"] for found in traces}
    return step_cases(traces, scores, first_bad, 0.5), ranking(traces, "choose", "strict"), rows(traces, "strict")


def test_outcomes_hold_no_text_and_give_the_same_figures(tmp_path: Path) -> None:
    folder = published(tmp_path)
    text = gzip.decompress((folder / OUTCOMES).read_bytes()).decode()
    assert "2+2" not in text
    assert "####" not in text
    found = read_outcomes(folder)
    assert found.first_bad == FIRST_BAD
    assert measured(list(found.traces), dict(found.first_bad)) == measured(TRACES, dict(FIRST_BAD))
    assert read_outcomes(tmp_path / "runs" / "one").first_bad is None, "a run's own record does not say"
    for given, told in zip(TRACES, found.traces, strict=True):
        answers = [candidate.solution.answer for candidate in given.candidates]
        kept = [candidate.solution.answer for candidate in told.candidates]
        assert list(map(answers.index, answers)) == list(map(kept.index, kept)), "equal where they were"
        assert [answer is None for answer in answers] == [answer is None for answer in kept]


def test_what_is_published_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in published(tmp_path / "a", with_traces=True).iterdir()}
    again = {path.name: path.read_bytes() for path in published(tmp_path / "b", with_traces=True).iterdir()}
    assert first == again
    assert "traces.jsonl.gz" in first
    assert read_traces(tmp_path / "a" / "published" / "one") == read_traces(tmp_path / "a" / "runs" / "one")


def test_a_report_without_texts_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"keeps no texts; .*: refine-eval recipe run tiny --work DIR --only glore$"):
        CliRunner().invoke(report, [str(published(tmp_path))], catch_exceptions=False)


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "edited": lambda content: content.replace(b"strict", b"loose").replace(b"2 cores", b"3").replace(b'": "', b'": "0'),
    "recompressed": lambda content: gzip.compress(gzip.decompress(content).replace(b"0.9", b"0.8"), mtime=0),
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
}


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, how) for name in ("run.yaml", "metrics.json") for how in ("edited", "truncated", "empty")),
        *((name, how) for name in ("traces.jsonl.gz", OUTCOMES) for how in ("recompressed", "truncated", "empty")),
        *(("manifest.json", how) for how in ("edited", "truncated", "empty")),
    ],
)
def test_an_edited_record_is_one_sentence(name: str, how: str, tmp_path: Path) -> None:
    folder = published(tmp_path, with_traces=True)
    (folder / name).write_bytes(EDITS[how]((folder / name).read_bytes()))
    with pytest.raises(RunError, match=r"one.* is corrupt \(.*\): restore it, or") as raised:
        read_all(folder)
    assert "\n" not in str(raised.value)


def read_all(folder: Path) -> None:
    read_run(folder)
    read_traces(folder)
    read_outcomes(folder)


def test_the_leaderboard_shows_what_is_published_or_ones_own(tmp_path: Path) -> None:
    folder = published(tmp_path)
    write(tmp_path, "mine")
    assert [record.name for record in read_published(tmp_path)] == ["one"]
    for own, page in (([], tmp_path / "leaderboard.md"), (["--own"], tmp_path / "runs" / "leaderboard.md")):
        words = ["--results", str(tmp_path), *own]
        CliRunner().invoke(leaderboard, words, catch_exceptions=False)
        text = page.read_text("utf-8")
        assert ("[mine](" in text) is bool(own)
        assert "Stage `glore` of that recipe." in page.with_name("leaderboard-runs.md").read_text("utf-8")
        assert CliRunner().invoke(leaderboard, [*words, "--check"]).exit_code == 0
    assert folder.is_dir()


def test_published_again_replaces_the_old_record(tmp_path: Path) -> None:
    published(tmp_path, with_traces=True)
    run = write(tmp_path, traces=[replace(TRACES[0], refined=False)], settings=MADE)
    folder = publish(run, tmp_path, None, False)
    assert not (folder / "traces.jsonl.gz").exists()
    assert [found.refined for found in read_outcomes(folder).traces] == [False]
