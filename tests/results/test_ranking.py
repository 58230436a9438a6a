"""The leaderboard pools seeds, ranks strategies, and is safe to open whatever names stand in records."""

import csv
import io
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from in_process import error_line, refine_eval
from records import SETTINGS, TRACES, write

from refine_eval.errors import RunError
from refine_eval.results.leaderboard import FORMS, files
from refine_eval.results.ranking import LEFT_OUT, REPORTED, SECOND_HAND, Line, rankings, read_reported
from refine_eval.results.records import TRACES as TRACES_FILE
from refine_eval.results.records import RunRecord, read_runs
from refine_eval.results.table import UPPER_BOUND

CRITICS = {role: {"name": name} for role, name in (("when", "orm"), ("where", "sorm"), ("choose", "orm"))}


def settings(seed: int, **others: Any) -> dict[str, Any]:
    return {**SETTINGS, **CRITICS, "refiners": [{"name": "local"}], "seed": seed, **others}


WORSE = [
    replace(trace, correct={**trace.correct, "draft": {"strict": False, "flexible": True}}) if number == 3 else trace
    for number, trace in enumerate(TRACES)
]
"""The same problems, of which one draft more is wrong, and the choice with it."""


def by_strategy(records: list[RunRecord]) -> dict[str, Line]:
    (table,) = rankings(records)
    return {line.strategy: line for line in table.lines}


def test_seeds_of_equal_settings_are_one_line_with_their_mean(tmp_path: Path) -> None:
    for seed, traces in enumerate((TRACES, WORSE, TRACES)):
        write(tmp_path, f"glore-{seed}", traces, settings(seed))
    lines = by_strategy(read_runs(tmp_path))
    assert {name: line.seeds for name, line in lines.items()} == {
        "draft": 3,
        "local alone": 3,
        "local → rerank": 3,
        "local → gate": 3,
    }
    draft, rerank = lines["draft"], lines["local → rerank"]
    assert draft.accuracy == pytest.approx((2 + 1 + 2) / 12)
    assert draft.gain is None
    assert rerank.accuracy == pytest.approx((3 + 2 + 3) / 12)
    assert rerank.gain == pytest.approx(1 / 4)
    assert rerank.low is not None
    assert rerank.high is not None
    assert rerank.low < rerank.accuracy < rerank.high
    assert (rerank.gained, rerank.lost, rerank.critics) == (1, 0, "orm/sorm/orm")
    assert rerank.runs == ("glore-0", "glore-1", "glore-2")


@pytest.mark.parametrize(
    "other",
    [settings(1, rounds=2), settings(1, refine_below=0.5), settings(0), settings(1, task={"name": "toy", "limit": 4})],
    ids=["rounds", "gate", "the same seed again", "limit"],
)
def test_records_that_differ_in_more_than_the_seed_stay_apart(other: Any, tmp_path: Path) -> None:
    write(tmp_path, "a", settings=settings(0))
    write(tmp_path, "b", WORSE, settings=other)
    assert {line.seeds for table in rankings(read_runs(tmp_path)) for line in table.lines} == {1}


def test_a_recipes_stages_are_pooled_though_each_seed_trains_its_own_models(tmp_path: Path) -> None:
    for seed in (0, 1):
        command = f"refine-eval recipe run tiny --work DIR --set seed={seed}"
        model = {"name": "transformers", "options": {"pretrained": "student"}, "identity": f"hash {seed}"}
        made = settings(seed, command=command, stage="glore", model=model)
        write(tmp_path, f"tiny-{seed}", settings=made)
        write(tmp_path, f"own-{seed}", settings={name: value for name, value in made.items() if name != "stage"})
    tables = rankings(read_runs(tmp_path))
    assert [(table.identities, table.lines[0].seeds) for table in tables] == [
        (("hash 0", "hash 1"), 2),
        (("hash 0",), 1),
        (("hash 1",), 1),
    ]


def test_seeds_over_other_problems_are_refused_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, "a", settings=settings(0))
    write(tmp_path, "b", TRACES[:3], settings=settings(1))
    with pytest.raises(RunError, match=r"two seeds are not over the same problems \(4 and 3; t/3 is in one only\)"):
        rankings(read_runs(tmp_path))


def test_a_record_whose_outcomes_are_gone_is_a_line_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "a", settings=settings(0))
    (write(tmp_path, "b", settings=settings(1)) / TRACES_FILE).unlink()
    assert {line.seeds for line in by_strategy(read_runs(tmp_path)).values()} == {1}


def test_methods_are_ranked_and_upper_bounds_are_not(tmp_path: Path) -> None:
    write(tmp_path, "one", settings=settings(0))
    (table,) = rankings(read_runs(tmp_path))
    gate = next(line for line in table.lines if line.strategy.endswith("gate"))
    assert gate.marks == (UPPER_BOUND,)
    assert not gate.is_method
    assert gate.p_value is None
    assert [line.accuracy for line in table.lines] == sorted((line.accuracy for line in table.lines), reverse=True)
    page = files(read_runs(tmp_path), (), "markdown")["leaderboard.md"].decode()
    first_cells = [line.split(" | ")[0].strip("| ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert sorted(first_cells) == ["", "1", "2", "3"]


def test_left_out_texts_mark_a_line(tmp_path: Path) -> None:
    record = read_runs(write(tmp_path, "one", settings=settings(0)).parent.parent)[0]
    marked = replace(record, left_out=("something",))  # type: ignore[arg-type]
    assert all(LEFT_OUT in line.marks for line in by_strategy([marked]).values())


@pytest.mark.parametrize("form", FORMS)
def test_read_tokens_and_flops_are_shown_where_they_are_known(form: str, tmp_path: Path) -> None:
    (record,) = read_runs(write(tmp_path, "one", settings=settings(0)).parent.parent)
    known = replace(record, rows=tuple(replace(row, read_tokens=1234.56, flops=7.891e9) for row in record.rows))
    some = replace(known, rows=(replace(known.rows[0], flops=None), *known.rows[1:]))
    pages = [b"".join(files([each], (), form).values()) for each in (record, known, some)]
    if form == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        tables = [parquet.read_table(io.BytesIO(page)).to_pylist() for page in pages]
        assert {row["flops"] for row in tables[0]} == {None}
        assert {(row["read_tokens"], row["flops"]) for row in tables[1]} == {(1234.56, 7.891e9)}
        return
    old, new, partly = (page.decode() for page in pages)
    figures = ("1234.56", "7891000000.0") if form == "csv" else ("1234.6", "7.89e+09")
    assert all(figure in new and figure not in old for figure in figures)
    assert ("FLOPs" in old) is False
    assert ("flops" if form == "csv" else "FLOPs") in new
    assert partly.count(figures[1]) == new.count(figures[1]) - 1


def test_seeds_of_which_one_does_not_say_what_it_read_say_nothing(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, f"mine-{seed}", settings=settings(seed))
    one, other = read_runs(tmp_path)
    one, other = (
        replace(each, rows=tuple(replace(row, read_tokens=read, flops=None) for row in each.rows))
        for each, read in ((one, 10.0), (other, 30.0))
    )
    assert {line.read_tokens for line in by_strategy([one, other]).values()} == {20.0}
    assert {line.flops for line in by_strategy([one, other]).values()} == {None}


REPORT = {"task": "toy", "student": "LLaMA-2", "strategy": "draft", "accuracy": 0.53, "source": "a paper"}


def test_reported_figures_are_marked_and_have_no_rank(tmp_path: Path) -> None:
    path = tmp_path / "reported.json"
    path.write_text(json.dumps([{**REPORT, "second_hand": False}, {**REPORT, "strategy": "x", "second_hand": True}]))
    (table,) = rankings([], read_reported(path))
    assert {line.strategy: line.marks for line in table.lines} == {"draft": (REPORTED,), "x": (SECOND_HAND,)}
    assert not any(line.is_method for line in table.lines)
    page = files([], read_reported(path), "markdown")["leaderboard.md"].decode()
    assert "| draft (reported) |  " not in page
    assert "draft (reported) | – | 53.0 | – |" in page
    assert "x (reported, second-hand) |" in page


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", json.dumps([REPORT]), json.dumps([{**REPORT, "second_hand": False, "accuracy": 53}]), "[NaN]"],
    ids=["empty", "an object", "a number", "nothing of second hand", "per cent", "NaN"],
)
def test_a_bad_file_of_reported_figures_is_one_sentence(content: str, tmp_path: Path) -> None:
    write(tmp_path / "results", "mine")
    (tmp_path / "results" / "reported.json").write_text(content)
    assert "reported.json is not a list of reported figures (" in error_line("leaderboard", cwd=tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_each_format_is_checked_and_the_same_bytes_again(form: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / "results", f"mine-{seed}", settings=settings(seed))
    words = ("leaderboard", "--format", form)
    written = refine_eval(*words, cwd=tmp_path).stdout.removeprefix("wrote ").strip()
    before = (tmp_path / written).read_bytes()
    assert "up to date" in refine_eval(*words, "--check", cwd=tmp_path).stdout
    refine_eval(*words, cwd=tmp_path)
    assert (tmp_path / written).read_bytes() == before
    (tmp_path / written).write_bytes(before + b" ")
    again = "" if form == "markdown" else f" --format {form}"
    assert f"write it again: refine-eval leaderboard --results results{again}" in error_line(
        *words, "--check", cwd=tmp_path
    )


EVIL = '=1+1|<img src=x onerror=alert(1)>{\\input{x}}%$&#_^~ [l](http://e)\u2028\x1b[2J"'


def evil(folder: Path) -> list[RunRecord]:
    names = {"task": {"name": EVIL}, "model": {"name": EVIL}, "machine": EVIL, "command": EVIL, "stage": EVIL}
    (record,) = read_runs(write(folder, "one", settings=settings(0, **names, refiners=[{"name": EVIL}])).parent.parent)
    return [replace(record, name=EVIL, rows=tuple(replace(row, name=EVIL) for row in record.rows))]


def test_no_name_is_a_tag_or_a_script_of_the_page(tmp_path: Path) -> None:
    found: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(tag)
            assert not [name for name, _ in attrs if name.startswith("on")]

    page = files(evil(tmp_path), (), "html")["leaderboard.html"].decode()
    Tags().feed(page)
    assert "img" not in found
    assert found.count("script") == 1
    assert "\x1b" not in page
    assert "Content-Security-Policy" in page


def test_no_name_is_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    text = files(evil(tmp_path), (), "csv")["leaderboard.csv"].decode()
    head, *lines = csv.reader(io.StringIO(text))
    assert {len(line) for line in lines} == {len(head)}
    assert not [cell for line in lines for cell in line if cell.startswith(("=", "@", "\t"))]
    assert lines[0][head.index("task")].startswith("'=1+1|<img")
    assert float(lines[0][head.index("accuracy")]) > 0


def test_no_name_is_a_command_of_latex(tmp_path: Path) -> None:
    text = files(evil(tmp_path), (), "latex")["leaderboard.tex"].decode()
    assert "\\input" not in text
    assert r"\textbackslash{}input\{x\}" in text
    plain = text.replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")
    body = text.split("\\midrule\n")[1].split("\n\\bottomrule")[0]
    assert {line.replace(r"\&", "").count("&") for line in body.splitlines()} == {10}


def test_parquet_reads_back(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path, "one", settings=settings(0))
    content = files(read_runs(tmp_path), (), "parquet")["leaderboard.parquet"]
    rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    assert {row["strategy"]: row["accuracy"] for row in rows}["local → rerank"] == 0.75
    assert [row["marks"] for row in rows if row["rank"] is None] == ["upper bound"]


def test_parquet_without_pyarrow_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "results", "mine")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "needs pyarrow: pip install pyarrow" in error_line("leaderboard", "--format", "parquet", cwd=tmp_path)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("metrics.json", "was edited or cut short"),
        ("run.yaml", "was edited or cut short"),
        ("manifest.json", "missing"),
    ],
)
def test_an_edited_or_incomplete_record_is_refused_with_the_reason(file: str, why: str, tmp_path: Path) -> None:
    path = write(tmp_path / "results", "mine") / file
    if file == "manifest.json":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("strict", "Strict") + "\n")
    assert why in error_line("leaderboard", cwd=tmp_path)
