"""Runs of mathematical tasks over recorded texts: votes count values, and no text of a model holds them up."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import refine_eval
from invented_data import halves, write

pytest.importorskip("math_verify", reason="pip install 'refine-eval[math]'")

VOTE = ("--critic", "agreement", "--refiner", "resample", "--selector", "vote")
HOSTILE = (
    "$9^9^9^9$",
    "$\\boxed{9^{9^{9^{9}}}}$",
    "$" + "(" * 10_000 + "1" + ")" * 10_000 + "$",
    "$\\boxed{" + "{" * 10_000 + "1" + "}" * 10_000 + "}$",
    "$\\frac$",
    "\\boxed{\\frac}",
    "\\boxed{3}" * 10_000,
    "\\boxed{" * 10_000,
    "$10^{10^{10}}!$",
    "",
)


def run(folder: Path, task: str, *texts: tuple[str, ...]) -> dict[str, Any]:
    """A run over the halves of 1, 3, ...; each problem's first text is its draft, the others its samples."""
    data = write(folder / "data")
    names = [f"sample{n}" for n in range(len(texts[0]) - 1)]
    rows = [
        {"question": row["problem"], **dict(zip(("draft", *names), some, strict=True))}
        for row, some in zip(halves(), texts, strict=False)
    ]
    (folder / "recorded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recorded = f"path=recorded.jsonl,field=draft,samples={'+'.join(names)}"
    done = refine_eval(
        *("run", "--tasks", task, "--data-dir", str(data), "--limit", str(len(texts))),
        *("--model", "recorded", "--model-args", recorded, "--resample-samples", str(len(names)), *VOTE, "--json"),
        cwd=folder,
    )
    (found,) = json.loads(done.stdout)
    traces = [json.loads(line) for line in (Path(folder, found["record"]) / "traces.jsonl").read_text().splitlines()]
    return {**found, "stderr": done.stderr, "traces": traces}


def test_a_half_however_it_is_written_is_one_answer(tmp_path: Path) -> None:
    one = ("$3$", "so $1/2$", "$0.50$", "It is $\\frac{2}{4}$.", "$3$", "$7$")
    other = ("$1$", "$1.5$", "$3/2$", "$1$", "so $\\dfrac32$", "$7$")
    found = run(tmp_path, "hendrycks_math500", one, other)
    assert found["rows"][0]["accuracy"] == 0.0
    assert found["rows"][-1]["accuracy"] == 1.0, "as texts, 3 and 1 would have the most votes"


def test_hostile_texts_hold_no_vote_up_and_lose_nothing(tmp_path: Path) -> None:
    start = time.monotonic()
    found = run(tmp_path, "hendrycks_math500", ("$\\frac12$", *HOSTILE, "$0.5$"))
    assert time.monotonic() - start < 120
    (trace,) = found["traces"]
    assert len(trace["candidates"]) == 2 + len(HOSTILE)
    assert found["rows"][-1]["accuracy"] == 1.0
    assert "Traceback" not in found["stderr"]
    assert len(found["stderr"]) < 2_000, "no text of a model is printed whole"
