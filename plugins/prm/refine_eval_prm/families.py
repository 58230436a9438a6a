"""The families of public reward models: what they read, how they are read, and which one a folder is of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval import ModelError, ModelSource, TokenRow, TransformersStepModel
from refine_eval_prm import heads, texts


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family. `good_on_vllm` is the label that means good where vLLM serves its class, None: the model says.

    `outcome`: scores the solution as a whole, in one position.
    """

    name: str
    encode: Callable[[Any, str, Sequence[str]], TokenRow]
    model: type[TransformersStepModel]
    outcome: bool = False
    on_vllm: bool = False
    good_on_vllm: int | None = None


FAMILIES = {
    family.name: family
    for family in (
        Family(name="math-shepherd", encode=texts.math_shepherd, model=heads.TokenPairTogether),
        Family(name="rlhflow-prm", encode=texts.rlhflow_prm, model=heads.TokenPair),
        Family(name="rlhflow-orm", encode=texts.rlhflow_orm, model=heads.TokenPair, outcome=True),
        Family(name="qwen", encode=texts.qwen, model=heads.TwoClassHead, on_vllm=True, good_on_vllm=1),
        Family(name="skywork", encode=texts.skywork, model=heads.ValueHead),
        Family(name="trl", encode=texts.trl, model=TransformersStepModel, on_vllm=True),
        Family(name="implicit", encode=texts.implicit, model=heads.LogRatio),
        Family(name="sequence-classifier", encode=texts.sequence_classifier, model=heads.WholeSequence, outcome=True),
    )
}

_BY_NAME = {
    "shepherd": "math-shepherd",
    "eurusprm": "implicit",
    "implicitprm": "implicit",
    "orm": "rlhflow-orm",
    "prm": "rlhflow-prm",
}
"""What a word in the name of a causal language model says, if its files do not; the first that fits."""


def choose_family(name: str, source: ModelSource) -> Family:
    """The family asked for, or ("auto") that of the model's files; ModelError where they are of another one."""
    if source.gguf or source.base:
        kind = "a GGUF file" if source.gguf else "a LoRA adapter"
        raise ModelError(f"{source.name} is {kind}, and reward models are read as folders of safetensors: convert it.")
    of_files = _by_files(source)
    likely = of_files or _by_name(source)
    if name == "auto":
        if likely is None:
            raise ModelError(
                f"Nothing in the files of {source.name} says how it is read; pass --prm-family, one of "
                f"{', '.join(FAMILIES)}."
            )
        return FAMILIES[likely]
    unlike = likely is not None and FAMILIES[name].model.auto_class != FAMILIES[likely].model.auto_class
    if unlike or of_files not in (None, name):
        raise ModelError(
            f"{source.name} is no {name} model; it looks like one of the family {likely}: pass --prm-family {likely}."
        )
    return FAMILIES[name]


def _by_files(source: ModelSource) -> str | None:
    """The family that a model's files are of; None where they could be of several."""
    architectures = heads.declared(source.folder)
    weights = heads.weight_names(source.folder)
    if any(name.startswith(heads.VALUE_HEAD) for name in weights):
        return "skywork"
    if any(name.endswith("ForProcessRewardModel") for name in architectures):
        return "qwen"
    if any(name.endswith("ForTokenClassification") for name in architectures):
        return "trl"
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return "sequence-classifier"
    return None


def _by_name(source: ModelSource) -> str | None:
    """The family that a model is called after; None where its name says none."""
    words = set(re.findall(r"[a-z]+", source.name.lower()))
    return next((family for word, family in _BY_NAME.items() if word in words), None)
