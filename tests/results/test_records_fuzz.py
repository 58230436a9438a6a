"""Damaged records: every reader gives the figures that were written, or one sentence."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml
from fuzz import Accepted, Refused, accepted_or_refused, as_json, broken_bytes, broken_tree, fuzz
from hypothesis import strategies as st
from records import SETTINGS, write
from traces import judged, trace

from refine_eval.data import Trace
from refine_eval.results import leaderboard, viewer
from refine_eval.results.ledger import rows
from refine_eval.results.manifest import MANIFEST, write_manifest
from refine_eval.results.published import publish, read_outcomes
from refine_eval.results.records import read_run, read_runs_in, read_traces
from refine_eval.runs.library import load_run
from refine_eval.statistics.critic_quality import ranking, step_cases

SEEN = {"where": judged(0.9, 0.2, 0.1), "choose": judged(0.8, 0.3, 0.2)}
TEXTS = [
    trace(
        number,
        {
            "draft": (["1+1=2", "2+2=5", "#### 5"], number % 3 == 0),
            "1.global.0": (["1+1=2", "2+2=4", "#### 4"], number % 2 == 0),
            "1.local.0": (["1+1=2", "#### 2"], True),
        },
        {"draft": SEEN, "1.global.0": {"choose": judged(0.1, 0.2, 0.3)}, "1.local.0": {"choose": judged(0.7, 0.6)}},
        ["draft", "1.global.0", "1.local.0"][number % 3],
    )
    for number in range(5)
]
MADE = {**SETTINGS, "rounds": 1, "seed": 0, "refine_below": None, "refiners": [{"name": "local", "options": {}}]}
FILES = ["run.yaml", "metrics.json", "results_lm_eval.json", MANIFEST, "traces.jsonl"]


@cache
def valid(kind: str) -> Mapping[str, bytes]:
    """The files of a record: one's "own", "published", or of an "old" version, without hashes."""
    results = Path(mkdtemp())
    try:
        folder = write(results, traces=TEXTS, settings=MADE)
        if kind == "published":
            folder = publish(folder, results, {found.problem.id: 1 for found in TEXTS}, with_traces=True)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    finally:
        shutil.rmtree(results)
    if kind == "old":
        del files[MANIFEST]
        files["run.yaml"] = files["run.yaml"].removeprefix(b"format: 1\n")
    return files


def lay(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A results folder with one record of these files, and nothing of an example before."""
    shutil.rmtree(folder, ignore_errors=True)
    record = folder / "runs" / "one"
    record.mkdir(parents=True)
    for name, content in files.items():
        (record / name).write_bytes(content)
    return record


def table(record: Any) -> object:
    """The figures of a table that its traces tell."""
    return record.filter, [
        replace(row, seconds=0.0, read_tokens=None, flops=None, needs_gold=False) for row in record.rows
    ]


def of_critics(traces: list[Trace]) -> object:
    first_bad = {found.problem.id: 1 for found in traces}
    scores = {found.problem.id: found.critiques["draft"]["where"] for found in traces}
    return step_cases(traces, scores, first_bad, 0.5), ranking(traces, "choose", "strict")


def show(record: Path) -> None:
    """Makes the pages, whose figures are those of the readers before."""
    viewer.page([viewer.Viewed(record=read_run(record), traces=read_traces(record))])
    leaderboard.files(read_runs_in(record.parent), (), "markdown")
    run = load_run(record)
    assert str(run)
    assert run._repr_html_()


READERS: dict[str, Callable[[Path], object]] = {
    "table": lambda record: table(read_run(record)),
    "traces": lambda record: rows(read_traces(record), "strict"),
    "outcomes": lambda record: rows(read_outcomes(record).traces, "strict"),
    "library": lambda record: rows(load_run(record).traces, "strict"),
    "pages": show,
}
HASHED: dict[str, Callable[[Path], object]] = {
    **READERS,
    "table": lambda record: read_run(record).rows,
    "texts": read_traces,
    "critics": lambda record: of_critics(list(read_outcomes(record).traces)),
}


@cache
def expected(kind: str) -> Mapping[str, object]:
    folder = Path(mkdtemp())
    try:
        return {name: read(lay(folder, valid(kind))) for name, read in readers(kind).items()}
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What readers import, scipy among it, is imported before examples are timed."""
    for kind in ("own", "published", "old"):
        assert expected(kind)


def readers(kind: str) -> dict[str, Callable[[Path], object]]:
    return READERS if kind == "old" else HASHED


def check(kind: str, record: Path) -> None:
    for name, read in readers(kind).items():
        found = accepted_or_refused(lambda read=read: read(record))  # type: ignore[misc]
        assert found == Accepted(expected(kind)[name]) or isinstance(found, Refused), (name, found)


def name_in(kind: str, name: str) -> str:
    return f"{name}.gz" if kind == "published" and name == "traces.jsonl" else name


KINDS = st.sampled_from(["own", "published", "old"])


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[str, dict[str, bytes]]:
    """Bytes of one file, compressed ones inside or outside, or one file lost."""
    kind = draw(KINDS)
    files = dict(valid(kind))
    name = draw(st.sampled_from(sorted(files)))
    how = draw(st.sampled_from(["bytes", "bytes", "inside", "lost"]))
    if how == "lost":
        del files[name]
    elif how == "inside" and name.endswith(".gz"):
        files[name] = gzip.compress(draw(broken_bytes(gzip.decompress(files[name]))), mtime=0)
    else:
        files[name] = draw(broken_bytes(files[name]))
    return kind, files


@st.composite
def damaged_trees(draw: st.DrawFn) -> tuple[str, dict[str, bytes]]:
    """One value of one file, or two, where it is still JSON or YAML."""
    kind = draw(KINDS)
    files = dict(valid(kind))
    name = draw(st.sampled_from(sorted(files)))
    if name.endswith(".yaml"):
        files[name] = yaml.safe_dump(draw(broken_tree(yaml.safe_load(files[name])))).encode("utf-8", "replace")
    elif name.endswith(".json"):
        files[name] = as_json(draw(broken_tree(json.loads(files[name]))))
    else:
        pack = gzip.compress if name.endswith(".gz") else bytes
        text = gzip.decompress(files[name]) if name.endswith(".gz") else files[name]
        lines = draw(broken_tree([json.loads(line) for line in text.splitlines()]))
        found = [as_json(line) for line in lines] if isinstance(lines, list) else [as_json(lines)]
        files[name] = pack(b"".join(line + b"\n" for line in found))
    return kind, files


@fuzz(drawn=damaged_files())
def test_damaged_bytes(tmp_path: Path, drawn: tuple[str, dict[str, bytes]]) -> None:
    kind, files = drawn
    check(kind, lay(tmp_path / "results", files))


@fuzz(drawn=damaged_trees())
def test_damaged_values(tmp_path: Path, drawn: tuple[str, dict[str, bytes]]) -> None:
    kind, files = drawn
    check(kind, lay(tmp_path / "results", files))


@fuzz(drawn=damaged_trees())
def test_hostile_records_with_hashes_of_their_own(tmp_path: Path, drawn: tuple[str, dict[str, bytes]]) -> None:
    """Somebody else's record may say what it likes; no reader fails for it."""
    record = lay(tmp_path / "results", {name: content for name, content in drawn[1].items() if name != MANIFEST})
    write_manifest(record)
    for read in (*READERS.values(), lambda path: publish(path, tmp_path / "elsewhere", None, with_traces=True)):
        accepted_or_refused(lambda read=read: read(record))  # type: ignore[misc]


PLACES: dict[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a link to what was there": lambda path: path.symlink_to(f"{path.name}.moved"),
}


@pytest.mark.parametrize("kind", ["own", "published", "old"])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file(kind: str, place: str, tmp_path: Path) -> None:
    for name in valid(kind):
        record = lay(tmp_path / "results", valid(kind))
        (record / name).rename(record / f"{name}.moved")
        PLACES[place](record / name)
        check(kind, record)
