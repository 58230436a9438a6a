"""The training loop: transformers' Trainer on examples that a trainer plugin makes. Reads top to bottom.

A generator's loss counts the completion only, a critic's the step ends only: everything else carries `IGNORE`.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from refine_eval.errors import StageError, missing_extra
from refine_eval.models.loading import quiet_transformers, read_model, read_tokenizer
from refine_eval.models.sources import ModelSource
from refine_eval.stages.folder import writing
from refine_eval.terminal import Progress, Tick
from refine_eval.training.settings import FitSettings
from refine_eval.training_rows import IGNORE, Example

_SETTINGS = "settings.json"
"""Beside the checkpoints: what they are of."""

_MANY = 2**24
"""Above so many logits a batch (64 MB) they are computed where there are labels only, and likewise the last MLP's
activations. Below it, sums in the usual order: the bundled models come out of their recipe byte for byte."""

Loss = Callable[[Any, Any, Any, Any], Any]
"""(model, token ids, labels, number of labels that count) -> the mean loss: see `token_loss`."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A finished training: the losses by step, the validation losses, and which step's weights were kept."""

    losses: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]
    best_step: int
    trainable: int


def load_for_training(source: ModelSource, head: str, seed: int = 0) -> tuple[Any, Any]:
    """(model, tokenizer) in float32 for a "generator" or a "critic", whose head is new, by the seed, if it has none."""
    import torch

    torch.manual_seed(seed)
    tokenizer = read_tokenizer(source)
    if head == "generator":
        model, _ = read_model(source, "AutoModelForCausalLM", "float32")
    else:
        heads = {"num_labels": 2, "id2label": {0: "bad", 1: "good"}}
        model, _ = read_model(source, "AutoModelForTokenClassification", "float32", **heads)
    if head == "generator" and tokenizer.eos_token_id is None:
        raise StageError(
            f"The tokenizer of {source.name} names no end-of-text token, by which a model that writes learns to end; "
            "set eos_token in its tokenizer_config.json, or train another base."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if head == "critic" and getattr(model.score, "bias", None) is not None:
        # vLLM's token classifiers have none, so it stays at zero for both to give the same scores.
        model.score.bias.requires_grad_(False)
    return model, tokenizer


def processes() -> Any:
    """This process among those that train together (accelerate's PartialState); alone where nobody launched more."""
    try:
        import accelerate
    except ImportError as error:
        raise StageError(missing_extra("accelerate", "train")) from error
    # Who is not first waits for the first to write the model, which may take long.
    return accelerate.PartialState(cpu=_on_cpu(), timeout=timedelta(hours=2))


def _on_cpu() -> bool:
    """Whether there is nothing better; accelerate has to be told, or several processes each train alone."""
    import torch

    return not torch.accelerator.is_available()


def token_loss(model: Any, input_ids: Any, labels: Any, num_items: Any) -> Any:
    """Cross-entropy over the positions that have a label, `num_items` in all; serves generators and critics alike.

    `input_ids` and `labels` have the shape (rows, length); the labels of a generator are shifted already.
    """
    import torch.nn.functional as F

    wanted = labels.flatten()
    at = (wanted != IGNORE).nonzero()[:, 0]
    bare = getattr(model, "module", model)  # of several processes' wrapper
    head, mlp = bare.get_output_embeddings(), _last_mlp(bare)
    tokens = input_ids.numel()
    with contextlib.ExitStack() as stack:
        if mlp is not None and tokens * mlp.down_proj.in_features > _MANY and 2 * len(at) < tokens:
            stack.callback(_pick(mlp, at).remove)
            stack.callback(mlp.register_forward_hook(lambda _, __, made: _spread(made, at, input_ids.shape)).remove)
        if head is not None and tokens * head.weight.shape[0] > _MANY:
            wanted = wanted[at]
            stack.callback(_pick(head, at).remove)
        logits = model(input_ids=input_ids, use_cache=False).logits.flatten(0, 1).float()
    return F.cross_entropy(logits, wanted, ignore_index=IGNORE, reduction="sum") / num_items


def _last_mlp(model: Any) -> Any:
    """The last layer's MLP, of whose output the loss sees no more than the positions with labels; None: not to be cut.

    What a checkpointed layer computes a second time is computed without hooks.
    """
    *_, last = getattr(getattr(model, "model", None), "layers", None) or [None]
    mlp = getattr(last, "mlp", None)
    return mlp if hasattr(mlp, "down_proj") and not getattr(last, "gradient_checkpointing", False) else None


def _pick(module: Any, at: Any) -> Any:
    """Has a module compute the positions `at` of all rows, as one row; the hook."""
    return module.register_forward_pre_hook(lambda _, inputs: (inputs[0].flatten(0, 1)[None, at],))


def _spread(made: Any, at: Any, shape: Any) -> Any:
    """What was computed at `at` in its place in rows of zeros."""
    return made.new_zeros(shape.numel(), made.shape[-1]).index_copy(0, at, made[0]).unflatten(0, shape)


def fit(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    how: FitSettings,
    work: Path,
    progress: Progress,
    of: str = "",
    loss: Loss = token_loss,
) -> tuple[Any, Fitted]:
    """Trains; the model with the weights of the lowest validation loss, and the course of the training.

    Checkpoints go to `work`; a training that was interrupted goes on from the last one. `of` names what is trained on
    what. StageError where there is nothing to train on, where the loss is not a number, and where a checkpoint is of
    another training. Processes that were launched together train one model.
    """
    if not examples:
        raise StageError("There are no examples to train on; look at the counts in the inputs' stage.yaml.")
    import torch
    import transformers

    from refine_eval.training.activations import kept_activations
    from refine_eval.training.examples import collate

    together = processes()
    torch.manual_seed(how.seed)  # of an adapter's new weights
    frozen = _freeze_below(model, how.last_layers) if how.last_layers else 0
    model = _with_adapter(model, how) if how.lora_rank else model
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    evaluate_every = how.evaluate_every or max(1, how.steps // 5)
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        use_cpu=_on_cpu(),
        max_steps=how.steps,
        per_device_train_batch_size=how.batch_size,
        per_device_eval_batch_size=how.batch_size,
        gradient_accumulation_steps=how.accumulate,
        gradient_checkpointing=how.checkpointing,
        learning_rate=how.learning_rate,
        max_grad_norm=1.0,
        bf16=how.bf16,
        seed=how.seed,
        data_seed=how.seed,
        eval_strategy="steps" if held_out else "no",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=evaluate_every,
        save_total_limit=2,
        save_only_model=False,
        load_best_model_at_end=bool(held_out),
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(1, how.steps // 100),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = _trainer_class(loss, how)(
        model=model,
        args=arguments,
        train_dataset=list(examples),
        eval_dataset=list(held_out) if held_out else None,
        data_collator=lambda rows: collate(rows, tokenizer.pad_token_id)._asdict(),
        optimizers=_optimizer_and_schedule(model, how),
    )
    trainer.remove_callback(transformers.PrinterCallback)  # prints each log on stdout
    checkpoint = _last_checkpoint(work, how, of)
    together.wait_for_everyone()  # until all have looked
    trained = _step(checkpoint) if checkpoint else 0
    with writing(f"A checkpoint in {work}"):
        if together.is_main_process:
            work.mkdir(parents=True, exist_ok=True)
            (work / _SETTINGS).write_text(_settings(how, of))
        else:
            progress = Progress(quiet=True)
        # Of several processes or devices each would keep the activations of all rows.
        alone = together.num_processes == 1 and arguments.n_gpu <= 1
        read_again = [*(examples if how.steps * how.batch_size * how.accumulate > len(examples) else ()), *held_out]
        keeping = kept_activations(
            model,
            frozen if alone else 0,
            read_again,
            pad=tokenizer.pad_token_id,
            batch_size=how.batch_size,
            bf16=how.bf16,
            folder=work,
            progress=progress,
        )
        with quiet_transformers(), keeping, progress.stage("train", how.steps, "steps", trained) as tick:
            trainer.add_callback(_watcher(tick))
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history = trainer.state.log_history
    losses = tuple((row["step"], row["loss"]) for row in history if "loss" in row)
    validation = tuple((row["step"], row["eval_loss"]) for row in history if "eval_loss" in row)
    best = min(validation, key=lambda point: point[1])[0] if validation else how.steps
    return trainer.model, Fitted(
        losses=losses, validation=validation, best_step=best, trainable=sum(p.numel() for p in trainable)
    )


def _with_adapter(model: Any, how: FitSettings) -> Any:
    try:
        import peft
    except ImportError as error:
        raise StageError(missing_extra("peft", "train")) from error
    assert how.lora_rank is not None
    critic = type(model).__name__.endswith("ForTokenClassification")
    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=how.lora_rank,
            lora_alpha=how.lora_alpha or 2 * how.lora_rank,
            target_modules="all-linear",
            # A critic's head is trained whole and saved with the adapter.
            exclude_modules=["score", "classifier"] if critic else None,
            task_type="TOKEN_CLS" if critic else "CAUSAL_LM",
        ),
    )


def _freeze_below(model: Any, last_layers: int) -> int:
    """Freezes the embedding and all but the last layers; how many those are. StageError where there are no such."""
    layers = getattr(getattr(model, "model", None), "layers", ())
    if last_layers > len(layers):
        raise StageError(f"--last-layers {last_layers} are not there to train: the model has {len(layers)} layers.")
    frozen = len(layers) - last_layers
    for module in (model.get_input_embeddings(), *layers[:frozen]):
        module.requires_grad_(False)
    return frozen


def _optimizer_and_schedule(model: Any, how: FitSettings) -> tuple[Any, Any]:
    """The optimizer, and the share of its peak rates at each step."""
    import torch

    from refine_eval.training.muon import muon_and_adamw

    if how.optimizer == "adamw":
        trainable = [p for p in model.parameters() if p.requires_grad]
        optimizer: Any = torch.optim.AdamW(trainable, lr=how.learning_rate, weight_decay=0.0)
    else:
        optimizer = muon_and_adamw(model, how.learning_rate, how.adam_learning_rate)
    decayed = max(1, round(how.steps * how.decay))

    def share(step: int) -> float:
        return max(0.0, min(1.0, (step + 1) / max(1, how.warmup), (how.steps - step) / decayed))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _trainer_class(loss: Loss, how: FitSettings) -> Any:
    """transformers' Trainer with a loss of ours, and batches of rows of like length."""
    import transformers

    from refine_eval.training.examples import LengthGroupedSampler

    class LossTrainer(transformers.Trainer):  # type: ignore[misc]  # transformers is untyped here
        def __init__(self, **rest: Any) -> None:
            # Given so, the Trainer counts the labels of all batches of a step.
            super().__init__(compute_loss_func=loss, **rest)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labels = inputs["labels"]
            counted = (labels != IGNORE).sum() if num_items_in_batch is None else num_items_in_batch
            value = loss(model, inputs["input_ids"], labels, counted)
            if num_items_in_batch is not None:
                value = value * self.accelerator.num_processes  # counted over all, and averaged over them afterwards
            return (value, {}) if return_outputs else value

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return LengthGroupedSampler([len(row.input_ids) for row in self.train_dataset], how.batch_size, how.seed)

    return LossTrainer


def _watcher(tick: Tick) -> Any:
    """Shows progress, and ends a training whose loss is not a number before it is saved as one."""
    import transformers

    class Watcher(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tick(1)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            for name, what in (("loss", "loss"), ("eval_loss", "validation loss")):
                value = (logs or {}).get(name, 0.0)
                if not math.isfinite(value):
                    raise StageError(
                        f"The {what} became {value} at step "
                        f"{state.global_step}; lower --learning-rate, or train without --bf16."
                    )

    return Watcher()


def _last_checkpoint(work: Path, how: FitSettings, of: str) -> Path | None:
    """The newest whole checkpoint in `work`; StageError where it is of other settings, data or base."""
    settings = work / _SETTINGS
    found = max((path for path in work.glob("checkpoint-*") if _whole(path)), key=_step, default=None)
    if found and (not settings.is_file() or settings.read_text() != _settings(how, of)):
        raise StageError(f"{work} holds checkpoints of a training with other settings, data or base; remove it.")
    return found


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, and not cut off by a kill or a full disk."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))  # the Trainer writes it last
    except (OSError, ValueError):
        return False
    return True


def _settings(how: FitSettings, of: str) -> str:
    return json.dumps({"of": of, **asdict(how)})
