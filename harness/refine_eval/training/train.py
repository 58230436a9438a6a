"""One training stage: input folders and a base model in, a model folder out."""

from __future__ import annotations

import hashlib
import inspect
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from refine_eval.cuts import LINES
from refine_eval.errors import StageError, UsageError
from refine_eval.formats import one_line
from refine_eval.models.cards import Card
from refine_eval.models.sources import base_for, model_identity, resolve_model
from refine_eval.plugin.boundary import blamed
from refine_eval.plugin.components import Trainer
from refine_eval.plugin.registry import registry
from refine_eval.plugin.trainer_contract import read_examples, read_loss, read_start
from refine_eval.runs.assembly import usual_steps
from refine_eval.runs.portable import portable
from refine_eval.runs.store import content_key
from refine_eval.stages.folder import StageFolder, check_place, read_folder, stage_of, write_folder
from refine_eval.stages.rows import read_samples, training_data
from refine_eval.terminal import Progress
from refine_eval.training.fit import Loss, fit, load_for_training, processes, token_loss
from refine_eval.training.leaks import check_leaks
from refine_eval.training.saving import save
from refine_eval.training.settings import FitSettings, TrainSettings
from refine_eval.training_rows import Example


def train_stage(
    trainer: Trainer,
    inputs: Sequence[Path],
    settings: TrainSettings,
    how: FitSettings,
    *,
    out: Path,
    data_dir: Path | None,
    progress: Progress,
) -> Mapping[str, Any]:
    """Trains and writes the model folder; its counts. StageError where an input is missing, wrong or leaks.

    Of processes that were launched together all train, and the first writes while the others wait.
    """
    stage, base = f"train {trainer.name}", settings.base
    check_place(out, stage)
    if settings.form.messages and not trainer.takes_messages:
        raise UsageError(f"The trainer {trainer.name!r} makes plain prompts only; leave out --apply-chat-template.")
    folders = _folders(trainer, inputs)
    reads = Card(form=settings.form, steps=_steps(folders))
    model, tokenizer = _start(trainer, base, how.seed)
    trainer.form = reads.form
    data = training_data(folders)
    with blamed(trainer, "in examples()"):
        returned = trainer.examples(data, tokenizer, how.seed)
    examples = read_examples(trainer, returned)
    check_leaks([example.question for example in examples], folders, data_dir)
    examples, too_long = _fitting(examples, model)
    if too_long:
        progress.note(
            f"Note: {too_long:,} of {too_long + len(examples):,} examples are longer than the model's context."
        )
    known, unseen = _parted(examples, settings.held_out)
    started = time.monotonic()
    # Checkpoints lie beside the output, until it is there.
    work = out.with_name(f".{out.name}.checkpoints")
    described = {
        "trainer": trainer.name,
        "options": asdict(trainer.options),
        "base": base,
        "base_identity": model_identity(resolve_model(base)) if base else None,
        "held_out": settings.held_out,
        "save_dtype": settings.save_dtype,
        **settings.chat_choices,
        **asdict(how),
    }
    named = {f"{stage}-{n}": folder for stage, found in folders.items() for n, folder in enumerate(found)}
    of = content_key(described, {name: folder.digest for name, folder in named.items()}).hex()
    model, fitted = fit(model, tokenizer, known, unseen, how, work, progress, of, _loss(trainer))
    with blamed(trainer, "in finish()"):
        trainer.finish(model)
    counts = {
        "examples": len(known),
        "held_out": len(unseen),
        **({"too_long": too_long} if too_long else {}),
        "questions": len({example.question for example in examples}),
        "tokens": sum(len(example.input_ids) for example in examples),
        "targets": sum(label >= 0 for example in examples for label in example.labels),
        "trainable_parameters": fitted.trainable,
        "first_loss": fitted.losses[0][1],
        "last_loss": fitted.losses[-1][1],
        "best_step": fitted.best_step,
        "best_loss": min((loss for _, loss in fitted.validation), default=None),
        "seconds": round(time.monotonic() - started, 1),
    }
    card = _card(trainer, base, folders, counts, reads)
    named_base = base_for(out, base) if base else None
    together = processes()
    if together.is_main_process:
        write_folder(
            out,
            stage=stage,
            settings={**described, "base": portable(base)},  # the identity beside it says what it is
            inputs=named,
            counts=counts,
            fill=lambda folder: save(
                model, tokenizer, folder, fitted, how, card, named_base, settings.save_dtype, reads
            ),
        )
    together.wait_for_everyone()  # the others may still have been reading the best checkpoint
    if together.is_main_process:
        shutil.rmtree(work, ignore_errors=True)
    return counts


def _start(trainer: Trainer, base: str | None, seed: int) -> tuple[Any, Any]:
    """The model and the tokenizer that a training starts from; UsageError where it needs a base and has none."""
    if trainer.needs_base and not base:
        raise UsageError(f"train {trainer.name} starts from a model; name it with --base.")
    with blamed(trainer, "in start()"):
        started = read_start(trainer, trainer.start(base, seed), base)
    if started is not None:
        return started
    assert base, "read_start has seen to it"
    return load_for_training(resolve_model(base), trainer.head, seed)


def _loss(trainer: Trainer) -> Loss:
    """The trainer's loss, or the cross-entropy where it has none of its own."""

    def loss(model: Any, input_ids: Any, labels: Any, num_items: Any) -> Any:
        with blamed(trainer, "in loss()"):
            own = read_loss(trainer, trainer.loss(model, input_ids, labels, num_items))
        return token_loss(model, input_ids, labels, num_items) if own is None else own

    return loss


def _folders(trainer: Trainer, inputs: Sequence[Path]) -> dict[str, list[StageFolder]]:
    """The inputs by stage; StageError where one is of another stage than the trainer reads, or none is there."""
    found: dict[str, list[StageFolder]] = {stage: [] for stage in trainer.reads}
    for path in inputs:
        stage = stage_of(path)
        if stage not in found:
            needs = " and ".join(trainer.reads)
            raise StageError(
                f"{path} is an output of {stage!r}, and the trainer {trainer.name!r} reads those of {needs}."
            )
        found[stage].append(read_folder(path, stage))
    for stage, folders in found.items():
        if not folders:
            raise StageError(f"The trainer {trainer.name!r} needs an output of {stage!r} too; name its folder.")
    return found


def _steps(folders: Mapping[str, Sequence[StageFolder]]) -> str:
    """The splitter by which the inputs are cut; StageError where they are cut by several, or do not say where."""
    named: dict[str, Path] = {}
    for folder in (folder for found in folders.values() for folder in found):
        steps = folder.settings.get("steps") or usual_steps(str(folder.settings["task"]), registry())
        named.setdefault(steps, folder.path)
        if steps != LINES and folder.stage == "collect":
            _check_cuts(folder, steps)
    if len(named) > 1:
        (one, first), (other, second), *_ = named.items()
        raise StageError(
            f"{first} is cut into steps by {one!r} and {second} by {other!r}, and a model learns one of them; make "
            "both with the same --steps."
        )
    return next(iter(named), LINES)


def _check_cuts(folder: StageFolder, steps: str) -> None:
    """StageError for samples of before they said where they are cut."""
    if any(sample.cuts is None for row in read_samples(folder) for sample in row.samples):
        raise StageError(
            f"{folder.path} is cut into steps by {steps!r} and does not say where; collect again with the same "
            "command, which takes the texts from the store."
        )


def _parted(examples: Sequence[Example], held_out: float) -> tuple[list[Example], list[Example]]:
    """Examples to train on and examples to validate on: a question is on one side with all its examples."""

    def unseen(question: str) -> bool:
        number = int.from_bytes(hashlib.blake2b(one_line(question).encode(), digest_size=8).digest(), "big")
        return number / 2**64 < held_out

    return (
        [example for example in examples if not unseen(example.question)],
        [example for example in examples if unseen(example.question)],
    )


def _fitting(examples: Sequence[Example], model: Any) -> tuple[list[Example], int]:
    """The examples that fit into the model's context, and how many do not; StageError where none does."""
    context = getattr(model.config, "max_position_embeddings", None)
    fitting = [example for example in examples if not context or len(example.input_ids) <= context]
    if examples and not fitting:
        raise StageError(
            f"Every example is longer than the model's context of {context}, such as that of the question "
            f"{examples[0].question[:60]!r} with {len(examples[0].input_ids)} tokens; use another base, or label "
            "shorter samples."
        )
    return fitting, len(examples) - len(fitting)


def _card(
    trainer: Trainer,
    base: str | None,
    folders: Mapping[str, Sequence[StageFolder]],
    counts: Mapping[str, Any],
    reads: Card,
) -> str:
    """The model card."""
    described = inspect.getdoc(type(trainer)) or trainer.name
    inputs = "\n".join(
        f"- {stage}: {folder.path.name} ({', '.join(_figures(folder.counts))})"
        for stage, found in folders.items()
        for folder in found
    )
    told = {name.replace("_", " "): value for name, value in counts.items()}
    figures = "\n".join(f"- {figure}" for figure in _figures(told, ": "))
    # A folder of this machine says nothing elsewhere; its name does.
    start = f"`{Path(base).name if Path(base).exists() else base}`" if base else "nothing"
    return (
        f"# {trainer.name}\n\n{described}\n\nMade by `refine-eval train {trainer.name}` from {start}; stage.yaml "
        f"holds all settings and the hashes of the inputs, loss.svg and training.json the course of the training.\n\n"
        f"{reads.sentence} That is its default wherever refine-eval uses it.\n\n"
        + (f"## Data\n\n{inputs}\n\n" if inputs else "")
        + f"## Training\n\n{figures}\n"
    )


def _figures(counts: Mapping[str, Any], between: str = " ") -> list[str]:
    """Counts but for those that are others each time: a training that comes out as before is the same files."""
    kept = {name: value for name, value in counts.items() if name not in ("seconds", "generated_now")}
    return [f"{name}{between}{value}" for name, value in kept.items()]
