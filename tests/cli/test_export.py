"""`refine-eval export`: other tools' files read back, and no text in them is a formula."""

import csv
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import error_line, refine_eval
from records import HOSTILE, SETTINGS, TRACES, write
from traces import judged

from refine_eval.data import Critique
from refine_eval.results.frames import FRAMES
from refine_eval.results.records import read_run, read_traces
from refine_eval.results.sheets import csv_bytes, parquet_bytes

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
RUN = "apples-sorm-local"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a published record that keeps its texts."""
    folder = tmp_path_factory.mktemp("exports")
    shutil.copytree(PUBLISHED / RUN, folder / "results" / "published" / RUN)
    return folder


def exported(place: Path, form: str, *words: str, run: str = RUN) -> list[Path]:
    done = refine_eval("export", run, "--to", form, *words, cwd=place)
    return [place / line.removeprefix("wrote ") for line in done.stdout.splitlines()]


def test_lm_evals_files_read_back_as_the_run(place: Path) -> None:
    results, samples = exported(place, "lm-eval", "-o", "lm-eval")
    record = json.loads((PUBLISHED / RUN / "results_lm_eval.json").read_text())
    found = json.loads(results.read_text())
    assert found["results"] == record["results"], "what lm-eval said of the choice when the run was made"
    assert found["n-samples"] == record["n-samples"]
    from lm_eval.utils import get_results_filenames, get_sample_results_filenames, make_table

    assert "|exact_match|" in make_table(found).replace(" ", "")
    paths = [str(results), str(samples)]
    assert (get_results_filenames(paths), get_sample_results_filenames(paths)) == (paths[:1], paths[1:])
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    texts = {t.problem.id: t.choice.solution.text for t in read_traces(PUBLISHED / RUN)}
    assert {f"apples/{row['doc_id']}": row["resps"][0][0] for row in rows} == texts
    assert all(row["doc"]["question"] in row["arguments"]["gen_args_0"]["arg_0"] for row in rows)
    compared = json.loads(refine_eval("compare", RUN, str(samples), "--json", cwd=place).stdout)[0]
    assert (compared["difference"], compared["won"], compared["lost"]) == (0, [], [])


def test_another_row_goes_to_lm_eval_by_its_name(place: Path) -> None:
    _, samples = exported(place, "lm-eval", "-o", "rows", run=f"{RUN}:draft")
    assert samples.parent.name == f"{RUN}-draft"
    compared = json.loads(refine_eval("compare", f"{RUN}:draft", str(samples), "--json", cwd=place).stdout)[0]
    assert (compared["difference"], compared["won"], compared["lost"]) == (0, [], [])


def test_answers_that_the_tasks_data_does_not_bear_out_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from refine_eval.tasks.task import LmEvalTask

    monkeypatch.setattr(LmEvalTask, "grade", lambda self, problem, text: dict.fromkeys(self.filters, False))
    line = error_line("export", RUN, "--to", "lm-eval", "-o", "other", cwd=place)
    assert "is graded otherwise than in the run: the data of apples is not what it was then" in line
    assert not (place / "other").exists()


def test_logs_of_inspect_read_back(place: Path) -> None:
    log = pytest.importorskip(
        "inspect_ai.log", reason="inspect-ai is not installed: pip install 'refine-eval[inspect]'"
    )
    for suffix in ("eval", "json"):
        (path,) = exported(place, "inspect", "-o", f"run.{suffix}", run=f"{RUN}:draft")
        found = log.read_eval_log(str(path))
        record = read_run(PUBLISHED / RUN)
        assert found.status == "success"
        assert (found.eval.task, found.eval.model) == ("apples", f"{RUN}:draft")
        traces = {trace.problem.id: trace for trace in read_traces(PUBLISHED / RUN)}
        assert {sample.id for sample in found.samples} == traces.keys()
        for sample in found.samples:
            trace = traces[sample.id]
            assert sample.output.completion == trace.draft.solution.text
            assert {name: score.value == "C" for name, score in sample.scores.items()} == trace.correct["draft"]
            assert list(sample.scores)[0] == record.filter  # noqa: RUF015
            assert sample.input.endswith("?")
            assert "####" in sample.target
        accuracies = {score.name: score.metrics["accuracy"].value for score in found.results.scores}
        assert accuracies == {name: record.rows[0].accuracy(name) for name in record.rows[0].correct}
        compared = json.loads(refine_eval("compare", str(path), str(path), "--json", cwd=place).stdout)[0]
        assert compared["difference"] == 0
        assert compared["accuracy"] == [record.rows[0].accuracy(record.filter)] * 2
    assert not list(place.glob(".run*"))


def test_inspect_needs_its_extra_and_a_file_of_its_kind(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = error_line("export", RUN, "--to", "inspect", "-o", "folder", cwd=place, expect=2)
    assert "A log of Inspect is a file such as run.eval or run.json, not 'folder'." in line
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    line = error_line("export", RUN, "--to", "inspect", "-o", "run.eval", cwd=place)
    assert "pip install 'refine-eval[inspect]'" in line


def test_sheets_hold_all_candidates_critiques_and_steps(place: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert [path.name for path in exported(place, "parquet", "-o", "sheets")] == [f"{name}.parquet" for name in FRAMES]
    exported(place, "csv", "-o", "sheets")
    traces = read_traces(PUBLISHED / RUN)
    record = read_run(PUBLISHED / RUN)
    counts = {
        "candidates": sum(len(t.candidates) for t in traces),
        "critiques": sum(len(roles) for t in traces for roles in t.critiques.values()),
        "steps": sum(len(c.solution.steps) for t in traces for c in t.candidates),
    }
    for name, frame in FRAMES.items():
        rows = parquet.read_table(place / "sheets" / f"{name}.parquet").to_pylist()
        assert len(rows) == counts[name]
        assert rows == list(frame.rows(record, traces))
        with (place / "sheets" / f"{name}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert [line["problem"] for line in lines] == [row["problem"] for row in rows]
        assert list(lines[0]) == list(rows[0]) == list(frame.columns)
    steps = parquet.read_table(place / "sheets" / "steps.parquet").to_pylist()
    first = traces[0].critiques["draft"]["where"].step_scores
    assert [row["where"] for row in steps[: len(first)]] == list(first)


def test_no_text_of_a_sheet_is_a_formula_or_an_escape(tmp_path: Path) -> None:
    evil = [
        '=HYPERLINK("http://e")',
        "+1+1",
        "-cmd|' /C calc'!A0",
        "@SUM(1)",
        " =1",
        "\t=1",
        "\r=1",
        HOSTILE,
        'a\nb,"c',
    ]
    content = csv_bytes(
        {"x": "text", "n": "whole"}, [{"x": text, "n": None} for text in [*evil, "-5", "+2.5", "plain"]]
    )
    _, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    cells = [row[0] for row in rows]
    assert not [cell for cell in cells[: len(evil)] if cell.lstrip("\t \r").startswith(("=", "+", "-", "@"))]
    assert cells[-3:] == ["-5", "+2.5", "plain"], "numbers and words are what they were"
    assert cells[len(evil) - 1] == 'a\nb,"c'
    assert "\x1b" not in content.decode()
    assert {row[1] for row in rows} == {""}
    folder = write(tmp_path, "evil", [replace_texts(trace, evil[n]) for n, trace in enumerate(TRACES)])
    for form in ("csv", "parquet"):
        for path in exported(tmp_path, form, "-o", "out", run=str(folder)):
            assert path.stat().st_size > 0


def replace_texts(trace: Any, text: str) -> Any:
    candidates = tuple(
        replace(c, solution=replace(c.solution, text=text, steps=(text.strip(),), answer=text))
        for c in trace.candidates
    )
    unscored = Critique(score=0.0, step_scores=(0.0,), unscored="=too long")
    return replace(trace, candidates=candidates, critiques={"draft": {"when": unscored, "choose": judged(0.25)}})


def test_a_critic_that_has_no_score_has_none_in_frames(tmp_path: Path) -> None:
    folder = write(tmp_path, "one", [replace_texts(TRACES[0], "x"), *TRACES[1:]])
    record, traces = read_run(folder), read_traces(folder)
    critiques = list(FRAMES["critiques"].rows(record, traces))
    assert [(row["role"], row["score"], row["unscored"]) for row in critiques] == [
        ("when", None, "=too long"),
        ("choose", 0.25, None),
    ]
    step, *_ = FRAMES["steps"].rows(record, traces)
    assert (step["when"], step["where"], step["choose"]) == (None, None, 0.25)


def test_empty_tables_have_their_columns() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for frame in FRAMES.values():
        assert csv_bytes(frame.columns, []).decode() == ",".join(frame.columns) + "\n"
        table = parquet.read_table(io.BytesIO(parquet_bytes(frame.columns, [])))
        assert (table.num_rows, table.column_names) == (0, list(frame.columns))


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["nobody", "--to", "csv", "-o", "x"], "There is no run record 'nobody'", 1),
        ([f"{RUN}:nobody", "--to", "inspect", "-o", "x.eval"], f"The run {RUN} has no row 'nobody'; it has draft", 1),
        ([f"{RUN}:draft", "--to", "csv", "-o", "x"], "--to csv writes all candidates of a run, so it takes no row", 2),
        ([f"{RUN},{RUN}", "--to", "csv", "-o", "x"], "names several runs; name one", 1),
        ([RUN, "--to", "csv", "-o", "file/x"], "candidates.csv cannot be written (", 1),
        ([RUN, "--to", "lm-eval", "-o", "file/x"], "lm-eval did not write", 1),
        (["old", "--to", "csv", "-o", "x"], "keeps no texts; make the run again with: refine-eval run", 1),
    ],
    ids=["no run", "no row", "a row of a sheet", "several", "no folder", "no folder for lm-eval", "no texts"],
)
def test_what_cannot_be_exported(words: list[str], says: str, code: int, place: Path) -> None:
    (place / "file").write_text("")
    folder = place / "results" / "runs" / "old"
    if not folder.exists():
        (write(place / "results", "old", settings={**SETTINGS}) / "traces.jsonl").unlink()
    assert says in error_line("export", *words, cwd=place, expect=code)
