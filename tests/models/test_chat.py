"""Models with a chat template: what people are told of it, once."""

import json
from pathlib import Path

import pytest
import tiny_models as tiny
from in_process import refine_eval

from refine_eval.engines.lm_eval_engine import LmEvalEngine
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.models.chat import TRAINED_HERE
from refine_eval.plugin.options import make_options

ADVICE = "has a chat template, which is not applied"
RUN = ("--limit", "1", "--max-gen-toks", "2", "--critic", "calculator", "--refiner", "resample", "--selector", "vote")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.chat_model(tmp_path_factory.mktemp("models") / "chatty")


def test_a_model_with_a_chat_template_gets_one_line_of_advice(folder: Path, tmp_path: Path) -> None:
    model = ("--model-args", f"pretrained={folder}", "--device", "cpu")
    twice = refine_eval("run", *RUN, *model, "--tasks", "apples,gsm8k", "--data-dir", _data(tmp_path), cwd=tmp_path)
    (line,) = (line for line in twice.stderr.splitlines() if ADVICE in line)
    assert line.startswith(f"Note: the model {folder} {ADVICE}")
    again = refine_eval("run", *RUN, *model, "--json", cwd=tmp_path)
    assert ADVICE in again.stderr, "also where every text was stored before"
    assert ADVICE not in refine_eval("run", *RUN, *model, "-q", cwd=tmp_path).stderr


def _data(folder: Path) -> str:
    """GSM8K with eight invented problems a split."""
    (folder / "gsm8k").mkdir()
    rows = [
        json.dumps({"question": f"Ann has {n} pears and gets 3. How many?", "answer": f"{n}+3={n + 3}\n#### {n + 3}"})
        for n in range(16)
    ]
    for split, some in (("train", rows[:8]), ("test", rows[8:])):
        (folder / "gsm8k" / f"{split}.jsonl").write_text("\n".join(some) + "\n")
    return str(folder)


def test_the_bundled_student_gets_no_advice(tmp_path: Path) -> None:
    assert ADVICE not in refine_eval("run", *RUN, cwd=tmp_path).stderr


def test_a_model_that_was_trained_here_on_plain_prompts_gets_no_advice(tmp_path: Path) -> None:
    folder = tiny.chat_model(tmp_path / "student")
    assert ADVICE in _advice(folder)
    (folder / TRAINED_HERE).write_text("{}")
    assert _advice(folder) == ""


def test_lm_evals_own_class_gets_the_same_advice(folder: Path, tmp_path: Path) -> None:
    for model, expected in ((folder, True), (tiny.language_model(tmp_path / "plain"), False)):
        engine = LmEvalEngine(make_options(LmEvalEngine, {"model": "hf", "pretrained": str(model)}))
        engine.open(tiny.CPU)
        assert (ADVICE in engine.advice) is expected


def _advice(folder: Path) -> str:
    engine = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    engine.open(tiny.CPU)
    engine.close()
    return engine.advice
