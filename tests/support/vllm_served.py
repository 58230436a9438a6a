"""What the tests of vLLM share: the bundled student, requests to it, and what transformers writes for them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_models as tiny

from refine_eval.data import Generation, Message, Request
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.formats import continued, student_prompt
from refine_eval_benchmarks.apples import generate

STUDENT = Path(__file__).parents[2] / "benchmarks/refine_eval_benchmarks/models/student"
SMALL = {"kv_cache_memory_bytes": str(128 << 20), "enforce_eager": "true"}


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


def random_adapters(folder: Path) -> list[Path]:
    """Two random adapters of the student, large enough to change its texts."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = LoraConfig(r=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32), config)
        place = folder / f"a{seed}"
        model.save_pretrained(place)
        made.append(place)
    return made


def merged(adapter: Path, folder: Path) -> Path:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.float32)
    PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(STUDENT).save_pretrained(folder)
    return folder
