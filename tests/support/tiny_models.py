"""Tiny random models in folders, for tests: made in a moment, loaded the way everybody's are."""

import itertools
from pathlib import Path
from typing import Any

from refine_eval.data import Candidate, Problem, Request, Sampling, Solution
from refine_eval.formats import split_steps
from refine_eval.plugin.runtime import ComputeSettings

TEXTS = (
    "Question: how many apples has Ann now?\nAnswer:\n",
    "how",
    "a\n b x c",
    "ab",
    "b",
    "x",
    " ####",
    "####",
    "0123456789+-*/=().,;<>",
)
"""What the tokenizer knows: words with and without a space before them, and every digit and sign as a token."""


CPU = ComputeSettings(device="cpu", dtype="float32")
"""What engines and critics are opened with."""


def tokenizer() -> Any:
    """Knows the words and signs of `TEXTS`."""
    from refine_eval_benchmarks.apples_tokenizer import build_tokenizer

    return build_tokenizer(TEXTS)


def llama_config(**changes: Any) -> Any:
    """Two layers, two heads of 16 that share one key head."""
    from transformers import LlamaConfig

    return LlamaConfig(
        **{
            "vocab_size": len(tokenizer()),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 96,
            "initializer_range": 0.4,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 0,
            **changes,
        }
    )


def save(model: Any, folder: Path, **config: Any) -> Path:
    """The model and its tokenizer in `folder`; `config` adds keys to config.json."""
    for key, value in config.items():
        setattr(model.config, key, value)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def language_model(folder: Path, **config: Any) -> Path:
    """A random language model, the same one every time."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    return save(LlamaForCausalLM(llama_config()), folder, **config)


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + '(' + message['content'] + ')' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant(' }}{% endif %}"
)


def chat_model(folder: Path, template: Any = CHAT_TEMPLATE, **config: Any) -> Path:
    """A random language model with a chat template, or several by name, and a context of 2,048 tokens."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    save(LlamaForCausalLM(llama_config(max_position_embeddings=2048)), folder, **config)
    reading = tokenizer()
    reading.chat_template = template
    reading.save_pretrained(folder)
    return folder


def critic(folder: Path, labels: int = 2, **config: Any) -> Path:
    """A random token classifier, the same one every time."""
    import torch
    from transformers import LlamaForTokenClassification

    torch.manual_seed(0)
    return save(LlamaForTokenClassification(llama_config(num_labels=labels)), folder, **config)


def request(prompt: str, number: int = 0, max_tokens: int = 12, **sampling: Any) -> Request:
    """A draft request whose problem id is "toy/<number>" and whose seed is `number`."""
    problem = Problem(id=f"toy/{number}", task="toy", question=prompt, prompt=prompt)
    return Request(
        problem=problem,
        prompt=prompt,
        sampling=Sampling(max_tokens=max_tokens, **sampling),
        purpose="draft",
        sample=0,
        seed=number,
    )


def candidate(question: str, text: str, number: int = 0) -> Candidate:
    """A draft for a problem whose id is "toy/<number>"."""
    problem = Problem(id=f"toy/{number}", task="toy", question=question, prompt=question)
    solution = Solution(text=text, steps=split_steps(text), answer=None, finish_reason="stop", tokens=0)
    return Candidate(id="draft", problem=problem, solution=solution, origin="draft", component="student", sample=0)


def mixed_prompts(count: int) -> list[str]:
    """Prompts of 1 to 40 tokens, no two alike."""
    signs = itertools.cycle("0123456789+-*/=().,;<>")
    return ["".join(itertools.islice(signs, 1 + 13 * i % 40)) for i in range(count)]
