"""How good labels by rollout are: against the exact truth of steps that the bundled task knows, by K and by way.

    python benchmarks/findings/label_quality.py --out results/label-quality.json

Samples come from the bundled student on training questions, one wrong and one right distinct sample of each question at
most. A step is truly good if no step up to it is wrong. "tokens" are the rollouts' generated ones; "as naive" is the
share of labels equal to those of the plain way with as many rollouts. "agreement" is the share of labels equal to the
truth; its 95 % interval is clustered by question. Prints a table; `--out` writes settings and rows as JSON for
benchmarks/findings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refine_eval.data import Candidate, Problem, Solution
from refine_eval.formats import join_steps
from refine_eval.plugin.registry import registry
from refine_eval.runs.assembly import make_student
from refine_eval.runs.session import session
from refine_eval.runs.settings import SessionSettings
from refine_eval.stages.collect import collect
from refine_eval.stages.label import Labeller, chosen_samples
from refine_eval.stages.settings import LabelSettings
from refine_eval.statistics.intervals import Estimate, rate
from refine_eval.terminal import Progress
from refine_eval.training_rows import LabelledSample

if TYPE_CHECKING:
    from refine_eval.tasks.task import LmEvalTask


def truth(task: LmEvalTask, problem: Problem, sample: LabelledSample) -> list[int]:
    """1 for each step before the first wrong one, 0 from it on."""
    text = join_steps(sample.steps)
    solution = Solution(text=text, steps=sample.steps, answer=None, finish_reason="stop", tokens=0)
    candidate = Candidate(
        id="sample", problem=problem, solution=solution, origin="draft", component="student", sample=0
    )
    first = task.first_bad_step(candidate)
    return [int(first is None or at < first) for at in range(len(sample.steps))]


def quality(
    labels: Sequence[Sequence[float]], truths: Sequence[Sequence[int]], wrong: Sequence[bool]
) -> dict[str, float]:
    """Shares: of equal labels, of wrong samples with the same first bad step, of bad steps called good and good bad."""
    pairs = [(int(a > 0), b) for row, true in zip(labels, truths, strict=True) for a, b in zip(row, true, strict=True)]
    bad, good = ([a for a, b in pairs if b == which] for which in (0, 1))
    firsts = [
        _first_bad(row) == _first_bad(true)
        for row, true, is_wrong in zip(labels, truths, wrong, strict=True)
        if is_wrong
    ]
    return {
        "agreement": sum(a == b for a, b in pairs) / len(pairs),
        "first error": sum(firsts) / len(firsts),
        "false positives": sum(bad) / len(bad),
        "false negatives": good.count(0) / len(good),
    }


def agreement(samples: Sequence[LabelledSample], truths: Sequence[Sequence[int]]) -> Estimate:
    """The share of right labels, with an interval over questions, whose steps and samples stand or fall together."""
    cases: dict[str, tuple[float, float]] = {}
    for sample, true in zip(samples, truths, strict=True):
        right, of = cases.get(sample.id, (0.0, 0.0))
        equal = sum(int(label > 0) == good for label, good in zip(sample.labels, true, strict=True))
        cases[sample.id] = (right + equal, of + len(true))
    found = rate([cases])
    assert found is not None, "no sample was labelled"
    return found


def _first_bad(labels: Sequence[float]) -> int:
    return next((at for at, label in enumerate(labels) if label <= 0), len(labels))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--rollouts", default="1,2,4,8,16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write settings and rows here, as JSON")
    given = parser.parse_args()

    progress = Progress(quiet=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = SessionSettings(task="apples", seed=given.seed, results=Path(folder))
        student = make_student(settings, registry(), progress)
        with session(settings, student, registry(), progress) as (task, runtime):
            problems = task.questions("train", given.questions)
            drawn = collect(runtime, task, problems, samples=given.samples, temperature=given.temperature)
            by_id = {problem.id: problem for problem in problems}
            samples = chosen_samples(list(drawn), by_id, 1)
            for count in map(int, given.rollouts.split(",")):
                ways: dict[str, list[LabelledSample]] = {}
                for way in ("naive", "cheap"):
                    how = LabelSettings(rollouts=count, temperature=given.temperature, naive=way == "naive")
                    labeller = Labeller(runtime, task, how)
                    labelled = ways[way] = list(labeller.label(samples))
                    labels = [sample.labels for sample in labelled]
                    same = [
                        a == b
                        for one, other in zip(labelled, ways["naive"], strict=True)
                        for a, b in zip(one.labels, other.labels, strict=True)
                    ]
                    truths = [truth(task, by_id[sample.id], sample) for sample in labelled]
                    figures = quality(labels, truths, [not sample.correct for sample in labelled])
                    interval = agreement(labelled, truths)
                    rows.append(
                        {
                            "K": count,
                            "way": way,
                            "tokens": labeller.tokens,
                            "as naive": sum(same) / len(same),
                            **figures,
                            "agreement low": interval.low,
                            "agreement high": interval.high,
                        }
                    )
            steps = sum(len(sample.labels) for sample in labelled)
    wrong = sum(not right for *_, right in samples)
    print(f"{len(samples)} samples, {wrong} of them wrong, {steps} steps")
    names = ["K", "way", "tokens", "as naive", "agreement", "first error", "false positives", "false negatives"]
    print("".join(f"{name:>16}" for name in names))
    for row in rows:
        cells = [f"{100 * v:.1f} %" if isinstance(v := row[name], float) else f"{v}" for name in names]
        print("".join(f"{cell:>16}" for cell in cells))
    if given.out:
        asked = {name: value for name, value in vars(given).items() if name != "out"}
        report = {
            "student": student.identity(),
            "settings": asked,
            "samples": len(samples),
            "wrong": wrong,
            "steps": steps,
            "rows": rows,
        }
        given.out.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
