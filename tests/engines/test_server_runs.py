"""Whole runs with a model behind a server."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stub_server import Reply, StubServer, completion, error

from refine_eval.cli import cli
from refine_eval.engines.server_engine import KEY_VARIABLE
from refine_eval.errors import GenerationError, RunError
from refine_eval.results.records import read_run
from refine_eval_benchmarks.apples import generate

pytest.importorskip("aiohttp")

KEY = "sk-very-secret-0123456789"
pytestmark = pytest.mark.usefixtures("no_server_key")

LIMIT = 5


def run(server: StubServer, results: Path, more: str = "") -> Result:
    arguments = [
        *("run", "--model", "server", "--limit", str(LIMIT), "--json", "--results", str(results), "--name", "mine"),
        *("--model-args", f"base_url={server.url},max_retries=0,num_concurrent=1{more}"),
        *("--critic", "calculator", "--refiner", "resample", "--resample-samples", "1"),
    ]
    return CliRunner().invoke(cli, arguments)


def test_a_run_goes_on_after_the_server_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    gold = {row["question"]: row["answer"] for row in generate("test", LIMIT)}

    def solution(body: dict[str, Any]) -> Reply:
        question = next(question for question in gold if question in body["prompt"])
        return Reply(body=completion(gold[question] if body["temperature"] else "#### -1", 7))

    with StubServer(lambda body, number: error(500, "out of order") if number == 3 else solution(body)) as server:
        failed = run(server, tmp_path)
        assert isinstance(failed.exception, GenerationError)
        assert "3 of 5 texts are written and stored" in str(failed.exception)
        assert not (tmp_path / "runs").exists()
        done = run(server, tmp_path)
        assert done.exit_code == 0, done.output
        assert f"Bearer {KEY}" in server.headers
        outcome = json.loads(done.stdout)[0]
        # A draft and a sample each; the failed one was asked for twice.
        assert outcome["generated"] == 2 * LIMIT - 3
        assert len(server.requests) == 2 * LIMIT + 1
        assert json.loads(run(server, tmp_path).stdout)[0]["generated"] == 0
    rows = {row["name"]: row for row in outcome["rows"]}
    assert (rows["draft"]["accuracy"], rows["resample"]["accuracy"]) == (0.0, 1.0)
    folder = tmp_path / "runs" / "mine"
    assert f"identity: server:{server.url}:student" in (folder / "run.yaml").read_text()
    assert read_run(folder).rows[0].problems == LIMIT
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes()


def test_texts_of_a_server_that_moved_are_not_written_again_if_the_user_says_which_model_it_is(tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        with StubServer(lambda *_: Reply(body=completion("#### 7", 3))) as server:
            done = run(server, tmp_path, ",identity=mine")
            assert done.exit_code == 0, done.output
            written.append((json.loads(done.stdout)[0]["generated"], len(server.requests)))
    assert written == [(2 * LIMIT, 2 * LIMIT), (0, 0)]


@pytest.mark.parametrize(
    ("more", "told"), [("", "model.options.base_url"), (",identity=other", "model.options.identity")]
)
def test_a_record_is_not_replaced_by_that_of_a_server_that_is_another(more: str, told: str, tmp_path: Path) -> None:
    with StubServer(lambda *_: Reply(body=completion("#### 7", 3))) as server:
        assert run(server, tmp_path, more and ",identity=mine").exit_code == 0
    with StubServer(lambda *_: Reply(body=completion("#### 8", 3))) as server:
        error = run(server, tmp_path, more).exception
        assert isinstance(error, RunError)
        assert f"mine holds another run, with {told}" in str(error)
        assert not server.requests
