"""What decides a training: what it starts from, how the weights move, how they are saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refine_eval.data import Precision
from refine_eval.errors import UsageError
from refine_eval.formats import PLAIN, PromptForm
from refine_eval.plugin.fields import check_settings, option
from refine_eval.plugin.templates import system_text
from refine_eval.runs.settings import OWN_TEMPLATE, PLAIN_PROMPTS


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the weights move. `steps` are optimizer steps of `batch_size * accumulate` rows on each device.

    `lora_rank` None trains all weights. `optimizer` "muon" uses Muon for the layers' matrices at `learning_rate` and
    AdamW at `adam_learning_rate` for the rest; "adamw" AdamW at `learning_rate` for all. `schedule`: linear warm-up,
    constant, and linear decay over the last `decay` share of the steps. `last_layers` N freezes the embedding
    and all but the last N layers. Checkpoints are known by these settings in this order.
    """

    steps: int = option(1000, "Optimizer steps.", min=1)
    batch_size: int = option(32, "Rows per device.", min=1, max=65_536)
    accumulate: int = option(1, "Batches per step.", min=1)
    optimizer: Literal["adamw", "muon"] = option("adamw")
    learning_rate: float = option(1e-4, above=0, max=100)
    adam_learning_rate: float = option(
        1e-3, "With --optimizer muon: of all but the layers' matrices.", above=0, max=100
    )
    warmup: int = option(20, "Steps until the learning rate is whole.", min=0)
    decay: float = option(0.5, "Share of the steps in which the learning rate falls to nothing.", min=0, max=1)
    lora_rank: int | None = option(None, "Train a LoRA adapter.", min=1, max=16_384, shown="all weights")
    lora_alpha: int | None = option(None, "Scale of the adapter.", min=1, shown="twice its rank")
    last_layers: int | None = option(
        None,
        "Train only the last N layers and the head; what those before them compute is kept on the disk meanwhile.",
        min=1,
    )
    bf16: bool = option(False, "Compute in bfloat16.")
    checkpointing: bool = option(False, "Compute activations twice, to save memory.")
    evaluate_every: int | None = option(None, "Steps between validations.", min=1, shown="a fifth of all steps")
    seed: int = option(0, "Of order and new weights.", min=0, max=2**32 - 1)

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit, and where an adapter, which freezes all other weights, would leave
        no layers to choose among."""
        check_settings(self)
        if self.last_layers and self.lora_rank:
            raise UsageError(
                "--last-layers chooses among all weights, and --lora-rank trains none of them; pass one of the two."
            )


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What a training starts from, what it is validated on, and how its weights are saved; the rest is FitSettings."""

    base: str | None = option(None, "What to start from: hub name, folder (a LoRA adapter's too) or GGUF file.")
    apply_chat_template: str | None = option(
        None,
        "Train on messages, rendered with the base's chat template: its own, or of several the one of this name.",
        flags=("--apply-chat-template", "--apply_chat_template"),
        bare=OWN_TEMPLATE,
        metavar="[NAME]",
    )
    system_instruction: str | None = option(
        None,
        "What the system message says: a text, or a file that holds it.",
        flags=("--system-instruction", "--system_instruction"),
        metavar="TEXT|FILE",
    )
    save_dtype: Precision = option("float32", "What the weights are rounded to when saved.")
    held_out: float = option(0.05, "Share of questions to validate.", min=0, max=0.5)

    def __post_init__(self) -> None:
        """UsageError for a value that does not fit, and for a system text without messages."""
        check_settings(self)
        if self.system_instruction is not None and not self.form.messages:
            raise UsageError("--system-instruction is what a message says: add --apply-chat-template.")

    @property
    def form(self) -> PromptForm:
        """How the model is to read its prompts."""
        name = self.apply_chat_template
        if name in (None, PLAIN_PROMPTS, ""):
            return PLAIN
        system = system_text(self.system_instruction)
        return PromptForm(messages=True, template=None if name == OWN_TEMPLATE else name, system=system or None)

    @property
    def chat_choices(self) -> dict[str, str]:
        """What was chosen of messages, for stage.yaml; the system text as it is read."""
        form = self.form
        chosen = {"apply_chat_template": (form.template or OWN_TEMPLATE) if form.messages else None}
        return {name: text for name, text in {**chosen, "system_instruction": form.system}.items() if text}
