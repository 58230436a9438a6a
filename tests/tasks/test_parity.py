"""The draft row is what lm-eval's own hf model gets, up to last bits of float32."""

import json
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

import refine_eval_benchmarks
from refine_eval.plugin.registry import registry
from refine_eval.runs.execute import execute
from refine_eval.runs.settings import RunSettings
from refine_eval.terminal import Progress

PACKAGE = Path(refine_eval_benchmarks.__file__).parent
STUDENT = PACKAGE / "models" / "student"
PROBLEMS = 50


def test_drafts_score_as_lm_evals_hf_model_does(tmp_path: Path) -> None:
    theirs = simple_evaluate(
        HFLM(pretrained=str(STUDENT), dtype="float32", device="cpu", batch_size=PROBLEMS),
        tasks=["apples"],
        task_manager=TaskManager(include_path=PACKAGE / "tasks", include_defaults=False),
        limit=PROBLEMS,
        bootstrap_iters=0,
    )
    settings = RunSettings(
        task="apples",
        when="calculator",
        where="calculator",
        choose="calculator",
        refiners=(),
        selectors=("draft",),
        limit=PROBLEMS,
        device="cpu",
        dtype="float32",
        results=tmp_path,
    )
    draft = execute(settings, registry(), Progress(quiet=True)).rows[0]
    for name in ("strict-match", "flexible-extract"):
        their_right = round(theirs["results"]["apples"][f"exact_match,{name}"] * PROBLEMS)
        assert abs(draft.correct[name] - their_right) <= 1
    assert draft.correct["flexible-extract"] > 0, "a model that gets nothing right would prove nothing"
    assert json.loads((next((tmp_path / "runs").glob("apples*")) / "metrics.json").read_text())["rows"]
