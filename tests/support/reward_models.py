"""Tiny random reward models for each family of the critic `prm`: head, tokenizer and files as the real ones have."""

import json
from pathlib import Path
from typing import Any

import tiny_models as tiny

QUESTION = "Ann has 3 apples and buys 4 more. How many apples has she?"
TEXTS = [
    QUESTION,
    "Step 1: 3 + 4 = 7 ки\nStep 2: She has 7 apples. - The answer is 7 ки",
    "Please reason step by step, and put your final answer within \\boxed{}.",
    "system user assistant What is 1 + 1? 1 + 1 = 2. The answer is 2.",
]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def sentence_pieces() -> Any:
    """A tokenizer as Mistral's: a space before every text and every word, and a beginning-of-text token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    newline = pre_tokenizers.Split("\n", "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), newline])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def bytes_in_pairs(template: str, *special: str) -> Any:
    """A tokenizer as Qwen's and Llama 3's: pairs of bytes, and special tokens that a chat template writes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    made.chat_template = template
    return made


def chatml() -> Any:
    """With Qwen's chat template and step separator."""
    return bytes_in_pairs(CHATML, "<|im_start|>", "<|im_end|>", "<extra_0>")


def llama3() -> Any:
    """With Llama 3's chat template."""
    return bytes_in_pairs(LLAMA3, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


TWO_CLASSES = {"score.0.weight": (64, 64), "score.0.bias": (64,), "score.2.weight": (2, 64), "score.2.bias": (2,)}
"""The head of Qwen2.5-Math-PRM."""


def qwen_prm(folder: Path) -> Path:
    """As Qwen2.5-Math-PRM: its architecture, and a configuration that names code of its own."""
    from safetensors.torch import load_file, save_file

    save(folder, "Qwen2ForCausalLM", chatml(), TWO_CLASSES, hidden_size=64)  # vLLM has heads from a width of 32 on
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    path = folder / "config.json"
    config = json.loads(path.read_text())
    kind = "Qwen2ForProcessRewardModel"
    own = {"architectures": [kind], "auto_map": {"AutoModel": f"modeling_qwen2_rm.{kind}"}}
    path.write_text(json.dumps({**config, **own}))
    return folder


def save(
    folder: Path, kind: str, tokenizer: Any, head: dict[str, tuple[int, ...]], seed: int = 0, **config: Any
) -> Path:
    """A random model of transformers' class `kind`; `head` are shapes of further weights beside its own."""
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    torch.manual_seed(seed)
    like = tiny.llama_config(vocab_size=len(tokenizer), max_position_embeddings=512, **config)
    of_kind = getattr(transformers, kind)
    model = of_kind(of_kind.config_class(**{**like.to_dict(), "model_type": of_kind.config_class.model_type}))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if head:
        weights = load_file(folder / "model.safetensors")
        more = {name: torch.randn(shape) / shape[-1] ** 0.5 for name, shape in head.items()}
        save_file({**weights, **more}, folder / "model.safetensors", {"format": "pt"})
    return folder
