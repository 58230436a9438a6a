"""Tiny Llama models: made, grown into critics, saved and loaded the way everybody does."""

import json
from pathlib import Path
from typing import Any

import torch

LABELS = {0: "bad", 1: "good"}


def new_student(tokenizer: Any, width: int, layers: int, seed: int, context: int = 512) -> Any:
    """A fresh `LlamaForCausalLM` with heads of 32, which vLLM's kernels support, and tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def critic_from(backbone: Any, fresh_layers: int, residual: float, seed: int) -> Any:
    """A `LlamaForTokenClassification`: the frozen layers of a language model with fresh ones on top.

    `residual` is the size of what the backbone's last layer gives on (`residual_size`). The
    fresh layers learn well only if what they add is of the size of what they add it to. So the backbone's
    embedding and the matrices that write into its residual are divided by it (and the norms' epsilon by its
    square): every layer normalises its own input, hence the backbone computes what it did before, and its
    output has size one. This does what a
    norm between the two would do, and stays an ordinary Llama.

    The head's bias stays at zero: vLLM's adapter for this architecture has none. Its weights do not start
    at zero, or Muon would amplify the noise of the vanishing gradients below them.
    """
    from transformers import LlamaConfig, LlamaForTokenClassification

    torch.manual_seed(seed)
    depth = backbone.config.num_hidden_layers
    settings = backbone.config.to_dict()
    settings |= {
        "num_hidden_layers": depth + fresh_layers,
        "tie_word_embeddings": False,
        "rms_norm_eps": backbone.config.rms_norm_eps / residual**2,
        "architectures": None,
        "id2label": LABELS,
        "label2id": {name: index for index, name in LABELS.items()},
        "num_labels": len(LABELS),
        "classifier_dropout": 0.0,
    }
    critic = LlamaForTokenClassification(LlamaConfig(**settings))
    below = {k: v for k, v in backbone.model.state_dict().items() if not k.startswith("norm.")}
    critic.model.load_state_dict(below, strict=False)
    frozen = [critic.model.embed_tokens, *critic.model.layers[:depth]]
    with torch.no_grad():
        critic.model.embed_tokens.weight /= residual
        for layer in critic.model.layers[:depth]:
            layer.self_attn.o_proj.weight /= residual
            layer.mlp.down_proj.weight /= residual
        critic.score.weight.normal_(std=critic.config.hidden_size**-0.5)
        critic.score.bias.zero_()
    for module in frozen:
        module.requires_grad_(False)
    critic.score.bias.requires_grad_(False)
    return critic.eval()


def freeze_below(critic: Any, fresh_layers: int) -> Any:
    """Freeze a loaded critic as `critic_from` left it: only the fresh layers, last norm and head train."""
    depth = critic.config.num_hidden_layers - fresh_layers
    for module in (critic.model.embed_tokens, *critic.model.layers[:depth]):
        module.requires_grad_(False)
    critic.score.bias.requires_grad_(False)
    return critic.eval()


@torch.no_grad()
def residual_size(backbone: Any, ids: torch.Tensor) -> float:
    """Size of the last layer's output, before the final norm: the median over tokens of the root mean square.

    `ids` are tokens of shape (rows, length). A median, since a few tokens can be far larger than the rest.
    """
    caught: list[torch.Tensor] = []
    hook = backbone.model.norm.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    backbone(input_ids=ids, use_cache=False)
    hook.remove()
    return float(caught[0].pow(2).mean(-1).sqrt().median())


def save_model(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype = torch.float32, **config: Any) -> None:
    """Write a folder that the Auto classes load offline; `config` adds keys to config.json.

    The weights of `model` itself are left as they are. The folder appears whole or not at all.
    """
    from safetensors.torch import load_file, save_file

    partial = folder.with_name(folder.name + ".partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    if dtype != torch.float32:
        file = partial / "model.safetensors"
        save_file({k: v.to(dtype) for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    (partial / "model.safetensors").chmod(0o644)  # the writer leaves it readable by its owner alone
    settings = json.loads((partial / "config.json").read_text())
    settings |= {"dtype": str(dtype).removeprefix("torch."), **config}
    (partial / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    settings = json.loads((partial / "tokenizer_config.json").read_text())
    settings = {key: value for key, value in settings.items() if key not in ("is_local", "local_files_only")}
    (partial / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    partial.rename(folder)


def load_generator(folder: Path) -> Any:
    """A generator from its folder, in float32 whatever it was stored in."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def load_critic(folder: Path) -> Any:
    """A critic from its folder, in float32 whatever it was stored in."""
    from transformers import AutoModelForTokenClassification

    return AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
