"""What the critic judge costs on an engine, and how it is run on one of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reward_models
import tiny_models as tiny
import yaml
from in_process import refine_eval
from small_run import PlainEngine, SmallRun
from stub_server import Reply, StubServer, completion

from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.errors import RefineEvalError
from refine_eval.plugin.registry import registry
from refine_eval_judge.critic import JudgeCritic, JudgeOptions

# What it costs.


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersEngine]:
    tokenizer = reward_models.chatml()
    tokenizer.add_tokens(["Yes", "No"])  # one token each, as in the vocabulary of any real model
    folder = reward_models.save(tmp_path_factory.mktemp("judge"), "LlamaForCausalLM", tokenizer, {})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    made = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    yield made
    made.close()


def test_a_verdict_is_one_reading_and_steps_at_most_half_as_much_again(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    steps = [
        f"Step {n}: She had {n} apples and buys {n + 1} more, so she has {2 * n + 1} apples now." for n in range(8)
    ]
    candidates = [tiny.candidate(reward_models.QUESTION, "\n".join(steps[:length]), length) for length in (4, 8)]
    read: dict[str, int] = {}
    for chat in ("on", "off"):
        for form in ("verdict", "steps"):
            with_engine = SmallRun(tmp_path / f"{form} {chat}", engine, JudgeCritic())
            critic = JudgeCritic(JudgeOptions(prompt=form, chat=chat))
            critic.open(with_engine.runtime.for_component(critic))
            before = engine._decoder.prompt_tokens_read
            for candidate in candidates:
                (found,) = critic.critique([candidate])
                assert found.unscored is None
            read[form] = engine._decoder.prompt_tokens_read - before
            (usage,) = with_engine.runtime.usage.by_model()
            assert (usage.prompt_tokens - usage.cached_tokens, usage.tokens) == (read[form], 0)
            if form == "verdict":
                assert (usage.texts, usage.cached_tokens) == (2, 0)
            with_engine.store.close()
        assert read["steps"] <= 1.5 * read["verdict"]


# On an engine of its own.


def with_engine(folder: Path, *, student: PlainEngine | None = None, **options: Any) -> SmallRun:
    parts = SmallRun(folder, student or PlainEngine(), JudgeCritic(JudgeOptions(**options)))
    parts.runtime.registry = registry()
    return parts


def test_a_student_of_texts_alone_is_judged_by_probabilities_of_another_engine(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    folder = engine.options.pretrained
    parts = with_engine(tmp_path, engine="transformers", engine_args={"pretrained": folder, "dtype": "float32"})
    score = parts.traces()[0].critiques["draft"]["when"].score
    assert 0 < score < 1
    assert parts.runtime.models["critic judge"].startswith("transformers:"), "for the record"
    named = with_engine(tmp_path / "named", engine="transformers", engine_args={"dtype": "float32"}, model=folder)
    assert named.traces()[0].critiques["draft"]["when"].score == score
    other = with_engine(tmp_path, engine="transformers", engine_args={"pretrained": folder, "dtype": "bfloat16"})
    assert other.traces()[0].critiques["draft"]["when"].score != score, "the store knows one engine from another"


def test_a_server_judges_a_student_that_runs_here(tmp_path: Path) -> None:
    with StubServer(lambda body, number: Reply(body=completion(" No, it is not."))) as server:
        given = f"base_url={server.url},model=student"
        words = ("--critic", "judge", "--judge-engine", "server", "--judge-engine-args", given, "--judge-read", "text")
        common = ("--tasks", "apples", "--limit", "2", "--name", "r", "-q")
        refine_eval("run", *common, "--refiner", "resample", *words, cwd=tmp_path)
        asked = len(server.requests)
        assert asked
        refine_eval("run", *common, "--refiner", "resample", *words, cwd=tmp_path)
        assert len(server.requests) == asked, "the second run has the verdicts from the store"
    run = yaml.safe_load((tmp_path / "results" / "runs" / "r" / "run.yaml").read_text("utf-8"))
    assert run["when"]["options"]["engine"] == "server"
    assert run["when"]["options"]["engine_args"] == {"base_url": server.url, "model": "student"}
    assert run["when"]["model"].startswith("server:")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine_args": {"pretrained": "x"}}, "^--judge-engine-args are for an engine of the judge's own"),
        ({"engine": "transformer"}, "^No engine is called 'transformer'. Did you mean 'transformers'"),
        ({"engine": "transformers"}, "The engine transformers needs a model: pass --judge-engine-args pretrained=NAME"),
        ({"engine": "server"}, "The engine server needs an address: pass --judge-engine-args base_url="),
        ({"engine": "transformers", "engine_args": {"pretraind": "x"}}, "has no option 'pretraind'"),
        ({"engine": "recorded", "model": "x"}, "The engine 'recorded' takes no model by name: leave out --judge-model"),
    ],
    ids=["arguments alone", "no engine", "no model", "no address", "no option", "no models"],
)
def test_engines_that_cannot_judge(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RefineEvalError, match=message) as raised:
        with_engine(tmp_path, **options).traces()
    assert "\n" not in str(raised.value)
