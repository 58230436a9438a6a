"""Chat templates: what a model that has one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TRAINED_HERE = "training.json"
"""What `refine-eval train` leaves beside a model: it was trained on plain prompts, whatever template its base had."""


def plain_advice(name: str, tokenizer: Any, folder: Path | None = None) -> str:
    """One line for people whose model has a chat template, which a plain prompt does without; "" for other models.

    `folder` is where the model lies, if that is known.
    """
    if not getattr(tokenizer, "chat_template", None) or (folder and (folder / TRAINED_HERE).is_file()):
        return ""
    return (
        f"Note: the model {name} has a chat template, which is not applied: it reads plain text and continues it, as a "
        "base model does, so a chat model may ramble on until the length limit cuts it off."
    )
