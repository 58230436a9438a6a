"""What a training writes: weights as safetensors, tokenizer, model card, settings and course, the loss as a plot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refine_eval.models.cards import READS, Card
from refine_eval.models.loading import quiet_transformers
from refine_eval.svg import log_plot
from refine_eval.training.fit import Fitted
from refine_eval.training.settings import FitSettings


def save(
    model: Any,
    tokenizer: Any,
    folder: Path,
    fitted: Fitted,
    how: FitSettings,
    card: str,
    base: str | None,
    dtype: str,
    reads: Card = Card(),  # noqa: B008 - frozen
) -> None:
    """Writes the model with weights in `dtype`, its tokenizer, card, how it reads prompts, and the course of training.

    Of an adapter only its own weights are written, and `base` as the name of what it is to be merged into.
    """
    with quiet_transformers():
        if how.lora_rank:
            config = model.peft_config["default"]
            config.base_model_name_or_path = base  # where peft would write the folder it lay in
            config.target_modules = sorted(config.target_modules)  # peft's set has another order in each process
            model.save_pretrained(folder, save_embedding_layers=False)  # no LoRA on these; peft would ask the hub
        else:
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _store_as(folder, dtype)
    (folder / "README.md").write_text(card, encoding="utf-8")
    course = {"settings": asdict(how), READS: reads.described(), **asdict(fitted)}
    (folder / "training.json").write_text(json.dumps(course, indent=1) + "\n", encoding="utf-8")
    (folder / "loss.svg").write_text(loss_plot(fitted), encoding="utf-8")


def _store_as(folder: Path, dtype: str) -> None:
    """Rounds the weights in a folder to `dtype`, and leaves out of its json what is only so on this machine."""
    import torch
    from safetensors.torch import load_file, save_file

    for file in folder.glob("*.safetensors"):
        if dtype != "float32":
            weights = {name: weight.to(getattr(torch, dtype)) for name, weight in load_file(file).items()}
            save_file(weights, file, metadata={"format": "pt"})
        file.chmod(0o644)  # the writer leaves it readable by its owner alone
    for name, change in (("config.json", {"dtype": dtype}), ("tokenizer_config.json", {})):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            kept = {k: v for k, v in found.items() if k not in ("is_local", "local_files_only")}
            (folder / name).write_text(json.dumps(kept | change, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def loss_plot(fitted: Fitted) -> str:
    """The losses by step as an SVG: training as a line, validation as dots, on a logarithmic scale."""
    return log_plot(fitted.losses, fitted.validation, "training loss (line), validation loss (dots)")
