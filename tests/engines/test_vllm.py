"""vLLM for real, on a CPU: the engine, LoRA adapters, and what goes wrong. `.ci/vllm` runs these.

Each start of vLLM takes half a minute, so tests share what they can.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("REFINE_EVAL_CI_VLLM"):
    pytest.importorskip("vllm", reason="vLLM is not installed here; .ci/vllm makes an environment with it")

import tiny_models as tiny
from vllm_served import (
    QUESTIONS,
    SMALL,
    STUDENT,
    chats,
    drafts,
    merged,
    outcome,
    random_adapters,
    texts,
    written_by_transformers,
)

from refine_eval.data import Message
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.engines.vllm_engine import VllmEngine, VllmOptions
from refine_eval.errors import GenerationError, ModelError, UsageError
from refine_eval.formats import prompt_text
from refine_eval.plugin.contract import read_generations
from refine_eval.plugin.options import make_options
from refine_eval.testing import run_checks


def engine(**options: str) -> VllmEngine:
    made = VllmEngine(make_options(VllmEngine, {"pretrained": str(STUDENT), **SMALL, **options}))
    made.open(tiny.CPU)
    return made


@pytest.fixture(scope="module")
def served() -> Iterator[VllmEngine]:
    """The bundled student with adapters switched on; the last test of this module kills its processes."""
    made = engine(enable_lora="true", max_lora_rank="8")
    yield made
    made.close()


def test_texts_are_those_of_transformers(served: VllmEngine) -> None:
    requests = [*drafts(60), *drafts(10, max_tokens=7), *drafts(10, stop=("####", "=4"))]
    assert [outcome(generation) for generation in texts(served, requests)] == written_by_transformers(STUDENT, requests)


def test_it_keeps_the_contract(served: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    # The checks open an engine each, and vLLM takes half a minute for that: they share one that is open.
    running = served._llm()
    monkeypatch.setattr(running, "close", lambda: None)
    monkeypatch.setattr("refine_eval.models.vllm_llm.VllmLlm", lambda source, arguments: running)
    results = run_checks(VllmEngine, make_options(VllmEngine, {"pretrained": str(STUDENT), **SMALL}))
    assert [f"{result.name}: {result.message}" for result in results if not result.passed] == []
    assert len(results) >= 10


def test_messages_are_what_vllms_own_chat_makes_of_them(served: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served._llm().tokenizer, "chat_template", QUESTIONS, raising=False)
    for begun in ("", "2+"):
        requests = chats(drafts(20), begun)
        found = [generation.text for generation in texts(served, requests)]
        turns = [[{"role": m.role, "content": m.content} for m in r.prompt if isinstance(m, Message)] for r in requests]
        theirs = served._llm().llm.chat(
            turns,
            served._sampling(requests[0]),
            use_tqdm=False,
            chat_template=QUESTIONS,
            add_generation_prompt=not begun,
            continue_final_message=bool(begun),
        )
        assert found == [output.outputs[0].text for output in theirs]
        plain = [tiny.request(prompt_text(r.prompt) + begun, r.seed, max_tokens=100) for r in drafts(20)]
        assert found == [generation.text for generation in texts(served, plain)]


def test_choices_are_as_likely_as_transformers_finds_them(served: VllmEngine) -> None:
    choices = ("1", "2", "12", "+", "#### 3")
    requests = [replace(request, choices=choices) for request in drafts(12, max_tokens=1)]
    plain = TransformersEngine(TransformersOptions(pretrained=str(STUDENT)))
    plain.open(tiny.CPU)
    found, expected = (dict(read_generations(each, requests)) for each in (served, plain))
    for index in range(len(requests)):
        assert found[index].logprobs == pytest.approx(expected[index].logprobs, abs=1e-3)
        assert (found[index].text, found[index].tokens) == ("", 0)
        assert (found[index].read_tokens or 0) > 0
    long = replace(requests[0], prompt="1 + " * 2000)
    ((_, unread),) = read_generations(served, [long])
    assert str(unread.unwritten).startswith("prompt longer than the model's context")


def test_sampled_texts_depend_on_their_seed_alone(served: VllmEngine) -> None:
    prompt = prompt_text(drafts(1)[0].prompt)
    requests = [tiny.request(prompt, number, max_tokens=60, temperature=2.0) for number in range(12)]
    first = texts(served, requests)
    assert len({generation.text for generation in first}) > 1
    turned = texts(served, [*drafts(20), *requests[::-1]])[20:][::-1]
    assert [outcome(generation) for generation in first] == [outcome(generation) for generation in turned]


def test_tokens_of_prompts_are_counted_and_those_in_the_prefix_cache_are_named(served: VllmEngine) -> None:
    prompt = prompt_text(drafts(1)[0].prompt) * 4  # vLLM caches whole blocks of tokens
    requests = [tiny.request(prompt, number, max_tokens=4, temperature=1.0) for number in range(4)]
    texts(served, requests[:1])
    found = texts(served, requests)
    whole = len(served._llm().tokenizer(prompt).input_ids)
    assert {generation.prompt_tokens for generation in found} == {whole}
    assert all(0 < generation.cached_tokens < whole for generation in found)
    assert served.model_parameters == 132_528


def test_seconds_are_shares_of_the_time(served: VllmEngine) -> None:
    start = time.perf_counter()
    found = texts(served, drafts(30))
    assert 0 < sum(generation.seconds for generation in found) <= time.perf_counter() - start


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return random_adapters(tmp_path_factory.mktemp("adapters"))


def test_adapters_of_one_base_share_one_engine(served: VllmEngine, adapters: list[Path], tmp_path: Path) -> None:
    requests = drafts(20)
    own = [outcome(generation) for generation in texts(served, requests)]
    identities = {served.identity()}
    for number, adapter in enumerate(adapters):
        view = served.for_model(str(adapter))
        assert isinstance(view, VllmEngine)
        view.open(tiny.CPU)
        assert view._llm() is served._llm()
        identities.add(view.identity())
        found = [outcome(generation) for generation in texts(view, requests)]
        assert found == written_by_transformers(merged(adapter, tmp_path / str(number)), requests)
        assert found != own
        view.close()
    assert len(identities) == 3
    assert [outcome(generation) for generation in texts(served, requests)] == own


def test_the_student_itself_as_a_refiner_shares_the_engine_and_its_identity(served: VllmEngine) -> None:
    view = served.for_model(str(STUDENT))
    assert view is not None
    view.open(tiny.CPU)
    assert view.identity() == served.identity()
    view.close()
    assert len(texts(served, drafts(1))) == 1


def test_an_adapter_of_another_model_is_refused(served: VllmEngine, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    other = get_peft_model(LlamaForCausalLM(tiny.llama_config()), LoraConfig(r=8, target_modules=["q_proj"]))
    with torch.no_grad():
        other.save_pretrained(tmp_path)
    view = served.for_model(str(tmp_path))
    assert view is not None
    with pytest.raises(ModelError, match=r"adapter .* does not fit the model .* a weight of shape \(32, 32\)"):
        view.open(tiny.CPU)
    assert len(texts(served, drafts(1))) == 1, "the engine must live on"


def test_prompts_that_cannot_be_read_are_left_unwritten(served: VllmEngine) -> None:
    long = tiny.request(prompt_text(drafts(1)[0].prompt) * 20, 7)
    unknown = tiny.request("Question: how many zebras?\nAnswer:\n", 3)
    requests = [long, *drafts(2), unknown]
    found = dict(served.generate(requests))
    assert [found[at].unwritten is None for at in range(4)] == [False, True, True, False]
    assert "prompt longer than the model's context (" in str(found[0].unwritten)
    assert "knows only the words of the bundled task 'apples' ('how'" in str(found[3].unwritten)
    assert len(texts(served, drafts(1))) == 1


def test_a_whole_run_is_that_of_transformers(tmp_path: Path) -> None:
    """From the command line, with the student and a refiner on vLLM."""
    common = [
        "--limit",
        "12",
        "--refiner",
        "local",
        "--dtype",
        "float32",
        "--results",
        str(tmp_path),
        "--json",
        "--quiet",
    ]
    args = ",".join(f"{key}={value}" for key, value in SMALL.items())
    tables = []
    for model in ([], ["--model", "vllm", "--model-args", args]):
        done = subprocess.run(
            [sys.executable, "-m", "refine_eval", "run", *common, *model], capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, done.stderr
        (table,) = json.loads(done.stdout)  # nothing of vLLM's messages is among it
        tables.append([(row["name"], row["accuracy"], row["tokens"]) for row in table["rows"]])
    assert tables[0] == tables[1]


def broken(folder: Path, **config: Any) -> Path:
    tiny.language_model(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def test_a_model_that_vllm_cannot_load_gives_the_reason(tmp_path: Path) -> None:
    unknown = broken(tmp_path / "unknown", architectures=["NobodyForCausalLM"], model_type="llama")
    with pytest.raises(ModelError, match=r"^vLLM cannot load the model .*NobodyForCausalLM"):
        engine(pretrained=str(unknown))
    # This one fails in vLLM's own process, whose last error is the reason.
    misfit = broken(tmp_path / "misfit", intermediate_size=80)
    with pytest.raises(ModelError, match=r"^vLLM cannot load the model .*(size|shape|match)") as caught:
        engine(pretrained=str(misfit))
    assert "\n" not in str(caught.value)
    assert "root cause" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"max_num_sequences": "4"}, r"vLLM has no argument 'max_num_sequences'\. Did you mean 'max_num_seqs'\?"),
        ({"trust_remote_code": "true"}, "code that comes with a model is never run"),
        ({"load_format": "pt"}, "weights are read as safetensors only"),
    ],
)
def test_arguments_that_are_refused(option: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        engine(**option)


def test_adapters_need_to_be_switched_on(adapters: list[Path]) -> None:
    base = VllmEngine(VllmOptions(pretrained=str(STUDENT)))
    base._served, base._adapters = object(), {}  # type: ignore[assignment]  # as if open, which takes half a minute
    view = base.for_model(str(adapters[0]))
    assert view is not None
    with pytest.raises(ModelError, match="add enable_lora=true"):
        view.open(tiny.CPU)


def test_a_killed_vllm_is_one_sentence_and_what_was_written_was_yielded(served: VllmEngine) -> None:
    """The last test: it ends the engine that the others share."""
    import psutil

    found = []
    requests = [
        tiny.request(prompt_text(drafts(1)[0].prompt), number, max_tokens=200, temperature=1.5) for number in range(300)
    ]
    running = served.generate(requests)
    found.append(next(running))
    for child in psutil.Process().children(recursive=True):
        if any("Engine" in part for part in (child.name(), *child.cmdline())):
            os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(GenerationError, match=r"vLLM failed with \d+ of 300 texts to write") as caught:
        found.extend(running)
    assert 0 < len(found) < 300
    assert "\n" not in str(caught.value)
