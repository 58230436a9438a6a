"""docs/reference/file-formats.md lists exactly the keys that real commands write."""

import gzip
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from gated import write_gated
from in_process import refine_eval
from labelled import ROWS, row, write_lines

from refine_eval.errors import RunError
from refine_eval.results.label_files import read_label_files
from refine_eval_benchmarks.apples import generate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "file-formats.md").read_text("utf-8")
STUDENT = ROOT / "benchmarks" / "refine_eval_benchmarks" / "models" / "student"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what small runs of all commands wrote."""
    folder = tmp_path_factory.mktemp("written")
    refine_eval("run", "-q", "--limit", "2", "--name", "toy", cwd=folder)
    refine_eval("collect", "-q", "--limit", "3", "--samples", "2", "--out", "samples", cwd=folder)
    refine_eval("label", "-q", "samples", "--rollouts", "1", "--out", "labels", cwd=folder)
    refine_eval("train", "sorm", "labels", "-q", "--base", str(STUDENT), "--steps", "1", "--out", "sorm", cwd=folder)
    return folder


def documented(*sections: str) -> set[str]:
    """The keys in the tables of these sections."""
    found = set()
    for section in sections:
        text = re.search(rf"^##+ {re.escape(section)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
        assert text, f"the page has no section {section!r}"
        found |= set(re.findall(r"^\| `([^`]+)` \|", text[1], re.MULTILINE))
    return found


def keys(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value that is not a mapping or a list of mappings; `[]` follows the name of such a list."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from keys(inner, (*path, str(name)))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from keys(inner, (*path[:-1], f"{path[-1]}[]"))
    else:
        # An empty mapping says nothing of the keys that it could have.
        yield (*path, "") if isinstance(value, dict) else path


def fits(found: tuple[str, ...], key: str) -> bool:
    """Whether a path is the documented key: `<name>` stands for any name, an empty mapping for any keys in it."""
    parts = key.split(".")
    if found[-1] == "":
        found = found[:-1]
        if parts[-1] != "<option>" and len(parts) <= len(found):
            return False
        parts = parts[: len(found)]
    return len(parts) == len(found) and all(
        part == name or part.startswith("<") for part, name in zip(parts, found, strict=True)
    )


def check(values: list[Any], *sections: str) -> None:
    """Each key that is there is documented, and each documented key is there."""
    known = documented(*sections)
    assert known
    found = {path for value in values for path in keys(value)}
    undocumented = sorted(".".join(path) for path in found if not any(fits(path, key) for key in known))
    assert undocumented == [], f"not in the section {sections[-1]} of file-formats.md"
    never_written = sorted(key for key in known if not any(fits(path, key) for path in found))
    assert never_written == [], f"in the section {sections[-1]} of file-formats.md, but never written"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_run_yaml(written: Path) -> None:
    check([yaml.safe_load((written / "results/runs/toy/run.yaml").read_text("utf-8"))], "run.yaml")


def test_metrics(written: Path) -> None:
    check([json.loads((written / "results/runs/toy/metrics.json").read_text("utf-8"))], "metrics.json")


def test_traces(written: Path) -> None:
    check(lines(written / "results/runs/toy/traces.jsonl"), "traces.jsonl")


def check_own(runs: Sequence[Path], section: str, *files: str) -> None:
    """All keys are documented, and those of a section that only some runs have are there."""
    readers = {"run.yaml": lambda text: [yaml.safe_load(text)], "metrics.json": lambda text: [json.loads(text)]}
    found: set[tuple[str, ...]] = set()
    for path in (run / file for run in runs for file in files):
        values = readers[path.name](path.read_text("utf-8")) if path.name in readers else lines(path)
        found |= {each for value in values for each in keys(value)}
    known = documented(*files, section)
    assert [path for path in sorted(found) if not any(fits(path, key) for key in known)] == []
    assert [key for key in sorted(documented(section)) if not any(fits(path, key) for path in found)] == []


def test_several_drafts_and_curves(tmp_path: Path) -> None:
    sampled = ("--critic", "agreement", "--refiner", "resample", "--draft-temperature", "0.7", "--drafts", "2")
    refine_eval("run", "-q", "--limit", "2", "--name", "two", *sampled, cwd=tmp_path)
    run = tmp_path / "results/runs/two"
    check_own([run], "Several drafts, and curves", "run.yaml", "metrics.json", "traces.jsonl")


def test_rounds_and_selectors_that_ask(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Question: {{ question }}\nAnswer:\n1")  # words that the student knows
    asking = ("--selector", "select-by-prompt", "--select-by-prompt-template", "prompt.txt")
    rounds = ("--rounds", "2", "--refine-below", "1", "--until-accepted", "2")
    refine_eval("run", "-q", "--limit", "2", "--name", "asked", *asking, *rounds, cwd=tmp_path)
    run = tmp_path / "results/runs/asked"
    check_own([run], "Rounds, and selectors that ask a model", "run.yaml", "traces.jsonl")


def test_tuned_thresholds(tmp_path: Path) -> None:
    write_gated(tmp_path / "results", "eight")
    for on in ("halves", "same"):
        refine_eval("replay", "eight", "--tune-on", on, "--name", on, cwd=tmp_path)
    runs = [tmp_path / "results/runs" / on for on in ("halves", "same")]
    check_own(runs, "Tuned thresholds", "run.yaml", "metrics.json")


def test_manifest(written: Path) -> None:
    check([json.loads((written / "results/runs/toy/manifest.json").read_text("utf-8"))], "manifest.json")


def test_outcomes_differ_from_traces_as_the_page_says() -> None:
    outcomes = ROOT / "results" / "published" / "apples-glore" / "outcomes.jsonl.gz"
    with gzip.open(outcomes, "rt", encoding="utf-8") as file:
        found = {path for line in file for path in keys(json.loads(line))}
    known = documented("traces.jsonl")
    assert {path for path in found if not any(fits(path, key) for key in known)} == {("first_bad",)}
    missing = {key for key in known if not any(fits(path, key) for path in found)}
    assert missing == {"candidates[].answer"}


def test_samples(written: Path) -> None:
    check(lines(written / "samples/samples.jsonl"), "samples.jsonl")


def test_labels(written: Path) -> None:
    check(lines(written / "labels/labels.jsonl"), "labels.jsonl")


@pytest.mark.parametrize(("folder", "command"), [("samples", "collect"), ("labels", "label"), ("sorm", "train")])
def test_stage_yaml(written: Path, folder: str, command: str) -> None:
    check(
        [yaml.safe_load((written / folder / "stage.yaml").read_text("utf-8"))], "stage.yaml", f"stage.yaml of {command}"
    )


def test_training(written: Path) -> None:
    check([json.loads((written / "sorm/training.json").read_text("utf-8"))], "training.json")


def test_labelled_solutions(tmp_path: Path) -> None:
    """Every documented key is read: what is no value of it is complained of."""
    known = documented("Labelled solutions")
    assert known == set(ROWS["plain"]) | {"labels"}
    for key in known:
        with pytest.raises(RunError, match=key):
            read_label_files([write_lines(tmp_path / "file.jsonl", [row("plain", **{key: 0.5})])], "plain")


def test_critics(tmp_path: Path) -> None:
    apples = [
        row("plain", question=each["question"], steps=each["answer"].splitlines(), solution=..., problem=str(at))
        for at, each in enumerate(generate("test", 2))
    ]
    file = write_lines(tmp_path / "plain.jsonl", [*apples, row("plain"), row("plain")])
    evaluate = ("critics", "eval", "-q", "--json", "--critic", "sorm")
    of_file = refine_eval(*evaluate, "--data", str(file), cwd=tmp_path)
    of_drafts = refine_eval(*evaluate, "--task", "apples", "--limit", "2", cwd=tmp_path)
    check([json.loads(of_file.stdout), json.loads(of_drafts.stdout)], "critics.json")


def test_ensembles(tmp_path: Path) -> None:
    members = ("--critic", "sorm", "--critic", "calculator")
    fit = ("critics", "fit", "-q", "--task", "apples:validation", "--limit", "20", "-o", "weights.json")
    refine_eval(*fit, *members, cwd=tmp_path)
    check([json.loads((tmp_path / "weights.json").read_text("utf-8"))], "Weights of critics")
    ensemble = ("--critic", "ensemble", "--ensemble-of", "sorm+calculator")
    refine_eval("run", "-q", "--limit", "2", "--name", "both", *ensemble, cwd=tmp_path)
    check_own([tmp_path / "results/runs/both"], "Critics that combine others", "run.yaml")


def test_recipe_yaml(place: Path) -> None:
    refine_eval("recipe", "run", "recipe.yaml", "--work", "work", cwd=place)
    check([yaml.safe_load((place / "work" / "recipe.yaml").read_text("utf-8"))], "recipe.yaml")


def test_the_store(written: Path) -> None:
    database = sqlite3.connect(written / "results" / "store.sqlite")
    section = PAGE[PAGE.index("## store.sqlite") :]
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert tables
    for table in tables:
        columns = ", ".join(f"`{row[1]}`" for row in database.execute(f"PRAGMA table_info({table})"))
        assert f"`{table}` ({columns})" in " ".join(section.split())


def test_the_comparison_can_fail() -> None:
    known = documented("samples.jsonl")
    row = {"id": 1, "question": "q", "samples": [{"text": "t", "right": True, "tokens": 1}]}
    assert all(any(fits(path, key) for key in known) for path in keys(row))
    assert not any(fits(path, key) for key in known for path in keys({"new": 1}))
    assert not any(fits(path, "samples[].text") for path in keys({"samples": [{"right": True}]}))
    with pytest.raises(AssertionError, match="never written"):
        check([{"id": 1}], "samples.jsonl")
    with pytest.raises(AssertionError, match=r"not in the section samples\.jsonl"):
        check([{**row, "new": 1}], "samples.jsonl")
