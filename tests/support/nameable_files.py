"""Models, adapters and files that options can name: of each kind several that differ."""

import json
import shutil
from pathlib import Path

import reward_models
import tiny_models as tiny


def make_files(root: Path) -> Path:
    """Makes them in a folder, and returns it."""
    tiny.language_model(root / "student")
    tiny.language_model(root / "other", rope_theta=5.0)
    tiny.critic(root / "critic")
    reading = tiny.tokenizer()
    reading.chat_template = tiny.CHAT_TEMPLATE
    reading.save_pretrained(tiny.critic(root / "chat-critic"))
    for seed, name in enumerate(("reward", "other-reward")):
        reward_models.save(root / name, "LlamaForCausalLM", reward_models.llama3(), {}, seed)
    tiny.critic(root / "other-critic", rope_theta=5.0)
    shutil.copytree(root / "student", root / "moved")
    for name, rank in (("adapter", 2), ("other-adapter", 4)):
        _adapter(root / name, root / "student", rank)
    for name, text in (("texts", "#### 1"), ("other-texts", "#### 2")):
        row = {"question": "how", "draft": text, "one": "1", "two": "2"}
        (root / f"{name}.jsonl").write_text(json.dumps(row))
        script = {"question": "how", "texts": {"draft": text}}
        (root / f"{name}.script.jsonl").write_text(json.dumps(script))
    return root


def _adapter(folder: Path, base: Path, rank: int) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    peft.get_peft_model(model, peft.LoraConfig(r=rank, target_modules=["q_proj"])).save_pretrained(folder)
