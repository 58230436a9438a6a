"""`refine-eval run` as a user types it: tables, records, errors, and agreement with lm-eval."""

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import error_line, refine_eval

from refine_eval.results.records import read_run, read_traces
from refine_eval_benchmarks.apples import generate

PROBLEMS = 24


def slip(answer: str) -> str:
    """A gold solution with its first result off by one, and every later line as it was but the last."""
    first, *rest = answer.splitlines()
    left, _, result = first.partition("=")
    return "\n".join([f"{left}={int(result) + 1}", *rest[:-1], f"#### {int(rest[-1].split()[-1]) + 1}"])


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drafts: every third has a slip. Samples: one slips, two are right."""
    path = tmp_path_factory.mktemp("script") / "script.jsonl"
    with path.open("w") as file:
        for number, problem in enumerate(generate("test", PROBLEMS)):
            gold = problem["answer"]
            draft = slip(gold) if number % 3 == 0 else gold
            texts = {"draft": draft, "sample": [slip(gold), gold, gold]}
            file.write(json.dumps({"question": problem["question"], "texts": texts}) + "\n")
    return path


@pytest.fixture
def scripted(script: Path) -> list[str]:
    return [
        *("run", "--model", "scripted", "--model-args", f"path={script}", "--limit", str(PROBLEMS)),
        *("--critic", "calculator", "--refiner", "resample", "--selector", "rerank", "--selector", "vote"),
    ]


def test_a_run_prints_its_table_and_leaves_a_record(scripted: list[str], tmp_path: Path) -> None:
    done = refine_eval(*scripted, "--name", "mine", cwd=tmp_path)
    lines = done.stdout.splitlines()
    rows = {line.split("  ")[0]: line.split() for line in lines}
    assert rows["draft"][1:3] == ["16", "66.7"]
    assert "apples, 24 problems, scripted" in lines[0]
    for label in ("resample alone", "chosen: rerank", "chosen: vote", "chosen: gate", "chosen: oracle *"):
        assert label in rows
    record = read_run(tmp_path / "results" / "runs" / "mine")
    by_name = {row.name: row for row in record.rows}
    assert (by_name["draft"].correct["flexible-extract"], by_name["rerank"].correct["flexible-extract"]) == (16, 24)
    assert (by_name["rerank"].gained, by_name["rerank"].lost) == (8, 0)
    assert (by_name["resample"].gained, by_name["resample"].lost) == (0, 16)
    assert by_name["oracle"].needs_gold
    assert not by_name["rerank"].needs_gold
    traces = read_traces(tmp_path / "results" / "runs" / "mine")
    assert len(traces) == PROBLEMS
    assert traces[0].critiques["draft"]["where"].first_bad_step == 0


def test_lm_eval_scores_the_choice_as_the_table_does(scripted: list[str], tmp_path: Path) -> None:
    refine_eval(*scripted, "--name", "mine", cwd=tmp_path)
    folder = tmp_path / "results" / "runs" / "mine"
    theirs = json.loads((folder / "results_lm_eval.json").read_text())["results"]["apples"]
    ours = next(row for row in read_run(folder).rows if row.name == "rerank")
    for name in ("strict-match", "flexible-extract"):
        assert theirs[f"exact_match,{name}"] == ours.accuracy(name)


def test_json_is_what_the_table_shows_and_a_second_run_writes_nothing(scripted: list[str], tmp_path: Path) -> None:
    first, second = (json.loads(refine_eval(*scripted, "--json", cwd=tmp_path).stdout)[0] for _ in range(2))
    assert first["generated"] == 4 * PROBLEMS
    assert second["generated"] == 0
    assert second["record"] == first["record"]
    assert [row["correct"] for row in second["rows"]] == [row["correct"] for row in first["rows"]]


def test_oracles_bound_and_are_marked(script: Path, tmp_path: Path) -> None:
    done = refine_eval(
        *("run", "--model", "scripted", "--model-args", f"path={script}", "--limit", "6", "--json"),
        *("--when", "oracle", "--where", "oracle-steps", "--choose", "calculator"),
        *("--refine-below", "0.5", "--refiner", "resample"),
        cwd=tmp_path,
    )
    outcome = json.loads(done.stdout)[0]
    assert [row["needs_gold"] for row in outcome["rows"]] == [False, True, True, True, True]
    traces = read_traces(tmp_path / outcome["record"])
    assert [trace.refined for trace in traces] == [True, False, False] * 2, "only wrong drafts are refined"
    assert traces[0].critiques["draft"]["where"].first_bad_step == 0


def test_hostile_output_is_kept_as_text_and_shown_harmlessly(tmp_path: Path) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07[bold]<script>alert(1)</script>\n__import__('os').system('true') = 4\n#### 7"
    script = tmp_path / "hostile.jsonl"
    with script.open("w") as file:
        for problem in generate("test", 3):
            texts = {"draft": hostile, "sample": ["", "\x00\ufffe", "9" * 5000]}
            file.write(json.dumps({"question": problem["question"], "texts": texts}) + "\n")
    done = refine_eval(
        *("run", "--model", "scripted", "--model-args", f"path={script}", "--limit", "3", "--name", "hostile"),
        *("--critic", "calculator", "--refiner", "resample"),
        cwd=tmp_path,
    )
    assert "\x1b" not in done.stdout + done.stderr
    traces = read_traces(tmp_path / "results" / "runs" / "hostile")
    assert traces[0].candidates[0].solution.text == hostile
    assert traces[0].candidates[1].solution.answer is None


MODEL = ("--model", "scripted", "--model-args", "path=nowhere.jsonl")


@pytest.mark.parametrize(
    ("arguments", "expect", "message"),
    [
        (["run", "--critic", "sormm"], 1, "No critic is called 'sormm'. Did you mean 'sorm'?"),
        (["run", "--refiner", "locl"], 1, "No refiner is called 'locl'. Did you mean 'local'?"),
        (["run", "--selector", "votes"], 1, "No selector is called 'votes'. Did you mean 'vote'?"),
        (["run", "--model", "transformer"], 1, "Did you mean 'transformers'?"),
        (["run", "--tasks", "appels", *MODEL], 1, "No task is called 'appels'. Did you mean 'apples'?"),
        (["runn"], 2, "No command is called 'runn'. Did you mean 'run'?"),
        (["run", "--critc", "sorm"], 2, "No option is called --critc. Did you mean '--critic'?"),
        (["run", "--critic", "orm", "--sorm-threshold", "0.3"], 2, "--sorm-threshold is an option of critic 'sorm'"),
        (["run", "--model-args", "pretraned=x"], 2, "Did you mean 'pretrained'?"),
        (["run", "--model-args", "pretrained"], 2, "name=value"),
        (["run", "--tasks", "apples", "--filter", "strict", *MODEL], 1, "It has: strict-match, flexible-extract"),
        (["run", "--tasks", "apples", *MODEL], 2, "nowhere.jsonl"),
        (["run", "--tasks", "svamp", "--data-dir", ".", *MODEL], 1, "svamp/SVAMP.json"),
        (["run", "--tasks", "gsm8k", "--data-dir", ".", *MODEL], 1, "gsm8k/t"),
        (["run", "--tasks", "gsm8k", *MODEL], 1, "--data-dir DIR (or set REFINE_EVAL_DATA)"),
        (
            ["run", "--where", "oracle-steps", "--tasks", "gsm8k_zero_shot"],
            1,
            "pass your own with --model-args pretrained=",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_one_sentence(
    arguments: list[str],
    expect: int,
    message: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = str(request.getfixturevalue("data_dir")) if "gsm8k_zero_shot" in arguments else ""
    monkeypatch.setenv("REFINE_EVAL_DATA", data)
    for hub in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{hub}.HF_HUB_OFFLINE", True)
    if data:
        arguments = [*arguments, "--model-args", f"pretrained={bundled_student()}"]
    assert message in error_line(*arguments, cwd=tmp_path, expect=expect)


def bundled_student() -> Path:
    import refine_eval_benchmarks

    return Path(refine_eval_benchmarks.__file__).parent / "models" / "student"


def test_a_corrupt_store_says_to_move_it_away(scripted: list[str], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "store.sqlite").write_bytes(b"no database at all" * 100)
    assert "move it away" in error_line(*scripted, cwd=tmp_path)


def test_an_oracle_of_steps_needs_a_task_that_can_tell(data_dir: Path, tmp_path: Path) -> None:
    recorded = f"path={data_dir}/gsm8k/example_model_solutions.jsonl,field=6b_finetuning,samples=6b_verification"
    line = error_line(
        *("run", "--model", "recorded", "--model-args", recorded, "--tasks", "gsm8k", "--data-dir", str(data_dir)),
        *("--limit", "3", "--critic", "calculator", "--where", "oracle-steps", "--refiner", "resample"),
        *("--resample-samples", "1"),
        cwd=tmp_path,
    )
    assert "'gsm8k' has no exact truth of steps" in line
    assert line.endswith("name a critic that needs none.")


class TestRecordedSolutions:
    """All 1,319 GSM8K test problems with the solutions of four GPT-3 models, which need nothing to be generated."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        place = tmp_path_factory.mktemp("recorded")
        fields = "field=6b_finetuning,samples=6b_verification+175b_finetuning+175b_verification"
        refine_eval(
            *("run", "--model", "recorded"),
            *("--model-args", f"path={data_dir}/gsm8k/example_model_solutions.jsonl,{fields}"),
            *("--tasks", "gsm8k", "--data-dir", str(data_dir), "--critic", "calculator", "--refiner", "resample"),
            *("--selector", "weighted-vote", "--name", "recorded"),
            cwd=place,
        )
        return place / "results" / "runs" / "recorded"

    def test_the_draft_row_is_the_files_own_flags(self, folder: Path) -> None:
        rows = {row.name: row for row in read_run(folder).rows}
        assert rows["draft"].problems == 1319
        assert rows["draft"].correct["flexible-extract"] == 286
        assert rows["oracle"].correct["flexible-extract"] == 887

    def test_the_draft_row_is_lm_evals_own_figure(self, folder: Path, data_dir: Path) -> None:
        """The same drafts given to lm-eval alone."""
        import datasets
        import lm_eval
        from lm_eval.api.model import LM
        from lm_eval.tasks import TaskManager

        rows = [json.loads(line) for line in (data_dir / "gsm8k" / "example_model_solutions.jsonl").open()]
        drafts = {row["question"]: row["6b_finetuning"]["solution"] for row in rows}

        class Recorded(LM):  # type: ignore[misc]
            def generate_until(self, requests: Any) -> list[str]:
                return [drafts[request.doc["question"]] for request in requests]

            def loglikelihood(self, requests: Any) -> Any:
                raise AssertionError

            loglikelihood_rolling = loglikelihood

        splits = {
            split: datasets.Dataset.from_list(
                [json.loads(line) for line in (data_dir / "gsm8k" / f"{split}.jsonl").open()]
            )
            for split in ("train", "test")
        }
        from lm_eval.tasks._yaml_loader import load_yaml

        config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k.yaml")
        task = {**config, "custom_dataset": lambda **_: splits}
        results = lm_eval.simple_evaluate(
            Recorded(), tasks=[task], task_manager=TaskManager(include_defaults=False), bootstrap_iters=0
        )
        theirs = results["results"]["gsm8k"]
        draft = read_run(folder).rows[0]
        for name in ("strict-match", "flexible-extract"):
            assert draft.accuracy(name) == theirs[f"exact_match,{name}"]
