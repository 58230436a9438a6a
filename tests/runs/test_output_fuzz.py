"""Whatever a model wrote, a run goes through: traces, grades and a page, the same every time."""

import json
from pathlib import Path

import pytest
from fuzz import fuzz
from hostile_texts import KINDS, hostile_text
from hypothesis import settings
from hypothesis import strategies as st

from refine_eval import evaluate
from refine_eval.results.records import read_run, read_traces
from refine_eval.results.viewer import Viewed, page
from refine_eval_benchmarks.apples import generate

PROBLEMS = generate("test", 20)
TEXTS_A_RUN = 2 * len(PROBLEMS)

PIECES = st.sampled_from(
    [
        *"10-.,$=+*/()%}|\n\r\0½²٣ ",
        *(
            "#### ",
            "####",
            "<<",
            ">>",
            "\\boxed{",
            "1+1=2",
            "1+1=3",
            "Question:",
            "</s>",
            "[BAD]",
            "[bold]",
            "<script>",
        ),
        *("\u2028", "\x0c", "\x1b[2J", "\ud83d", "\u0301", "\u200b", "1e999999", "9" * 5_000, "nan"),
    ]
)
TEXTS = (
    st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join)
    | st.builds(hostile_text, st.sampled_from(KINDS), st.integers(10, 3_000))
    | st.sampled_from([problem["answer"] for problem in PROBLEMS])
)


@pytest.fixture(scope="module", autouse=True)
def lm_eval_is_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It takes seconds, which are no example's."""
    run(tmp_path_factory.mktemp("first"), [""] * TEXTS_A_RUN)


def run(folder: Path, texts: list[str]) -> tuple[bytes, str]:
    """The traces of a run in which a model wrote these texts, two for each problem, and the run's page."""
    rows = zip(PROBLEMS, texts[::2], texts[1::2], strict=True)
    lines = [json.dumps({"question": p["question"], "draft": draft, "other": other}) for p, draft, other in rows]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    made = evaluate(
        task="apples",
        model="recorded",
        model_args={"path": str(folder / "texts.jsonl"), "field": "draft", "samples": "other"},
        critic="calculator",
        refiner="resample",
        refiner_options={"resample": {"samples": 1}},
        selector=["rerank", "vote", "oracle"],
        limit=len(PROBLEMS),
        results=str(folder / "results"),
        name="fuzz",
    )
    traces = read_traces(made.folder)
    assert len(traces) == len(PROBLEMS)
    return (made.folder / "traces.jsonl").read_bytes(), page([Viewed(record=read_run(made.folder), traces=traces)])


@settings(max_examples=max(1, settings().max_examples // TEXTS_A_RUN))
@fuzz(texts=st.lists(TEXTS, min_size=TEXTS_A_RUN, max_size=TEXTS_A_RUN))
def test_whatever_a_model_wrote_is_graded_recorded_and_shown(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    first, shown = run(folder, texts)
    assert shown.count("<script") == 2, "the page's own"
    assert run(folder, texts)[0] == first, "read back from the store it is the same"
