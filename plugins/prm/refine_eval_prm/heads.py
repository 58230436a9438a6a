"""How reward models are read: what stands on their hidden states, from safetensors and without remote code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refine_eval import CausalStepModel, ModelError, ModelSource, TokenRow, TransformersStepModel
from refine_eval_prm.texts import BAD, GOOD

VALUE_HEAD = "v_head.summary"
TWO_CLASS_HEAD = "score"


def weight_names(folder: Path) -> dict[str, Path]:
    """Which file of a model folder holds each weight."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update(dict.fromkeys(file.keys(), path))
    return found


def _head(source: ModelSource, names: Sequence[str]) -> dict[str, Any]:
    """The weights of a head by their names; ModelError where one is missing."""
    from safetensors import safe_open

    where, found = weight_names(source.folder), {}
    for name in names:
        if name not in where:
            raise ModelError(
                f"{source.name} has no weights {name}: its head is missing; pass the whole model's folder."
            )
        with safe_open(where[name], framework="pt") as file:
            found[name] = file.get_tensor(name)
    return found


class _HiddenStates(TransformersStepModel):
    """A model without its usual head: hidden states at the positions, for a head of our own."""

    auto_class = "AutoModel"

    def states(self, ids: Any, mask: Any, row: Any, column: Any, positions: Any) -> Any:
        """Hidden states after the last norm, of shape (pairs, width)."""
        output = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        return output.last_hidden_state[row, column]

    def on_device(self, weights: dict[str, Any]) -> dict[str, Any]:
        """The head's weights where the model is, in what it computes in."""
        return {name: weight.to(device=self.device, dtype=self.model.dtype) for name, weight in weights.items()}


class ValueHead(_HiddenStates):
    """One value a token by `v_head.summary`, as TRL's value heads have it; its sigmoid is the probability."""

    def prepare(self) -> None:
        """Reads the head."""
        self._weights = self.on_device(_head(self.source, [f"{VALUE_HEAD}.weight", f"{VALUE_HEAD}.bias"]))

    def read(self, ids: Any, mask: Any, row: Any, column: Any, positions: Any = None) -> Any:
        """See `TransformersStepModel.read`."""
        from torch.nn.functional import linear

        weight, bias = self._weights.values()
        return linear(self.states(ids, mask, row, column, positions), weight, bias)[:, 0].float().sigmoid()


class TwoClassHead(_HiddenStates):
    """Two classes by two layers with a ReLU between them; the second class means good (Qwen2.5-Math-PRM)."""

    def prepare(self) -> None:
        """Reads the head."""
        names = [f"{TWO_CLASS_HEAD}.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")]
        self._weights = self.on_device(_head(self.source, names))

    def read(self, ids: Any, mask: Any, row: Any, column: Any, positions: Any = None) -> Any:
        """See `TransformersStepModel.read`."""
        from torch.nn.functional import linear, relu

        first, first_bias, second, second_bias = self._weights.values()
        hidden = relu(linear(self.states(ids, mask, row, column, positions), first, first_bias))
        return linear(hidden, second, second_bias).float().softmax(-1)[:, 1]


class TokenPair(TransformersStepModel):
    """A language model: how likely the next token is "+", of "+" and "-"."""

    auto_class = "AutoModelForCausalLM"
    together = False
    """Whether the signs are tokens as in "+ -" (Math-Shepherd) or each by itself (RLHFlow)."""

    def prepare(self) -> None:
        """Finds the two tokens; ModelError where the tokenizer has none for them."""
        encode = self.tokenizer.encode
        signs = (
            encode(f"{GOOD} {BAD}", add_special_tokens=False) if self.together else [encode(GOOD)[-1], encode(BAD)[-1]]
        )
        if len(signs) != 2 or signs[0] == signs[1] or self.tokenizer.unk_token_id in signs:
            raise ModelError(
                f'The tokenizer of {self.source.name} has no tokens of their own for "{GOOD}" and "{BAD}", by which '
                "this family of reward models answers; pass the model with its own tokenizer."
            )
        self._signs = signs

    def read(self, ids: Any, mask: Any, row: Any, column: Any, positions: Any = None) -> Any:
        """See `TransformersStepModel.read`."""
        return self.logits(ids, mask, row, column, positions)[:, self._signs].float().softmax(-1)[:, 0]

    def logits(self, ids: Any, mask: Any, row: Any, column: Any, positions: Any) -> Any:
        """Logits over the vocabulary at the positions alone, of shape (pairs, vocabulary)."""
        base = self.model.base_model
        output = base(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        return self.model.get_output_embeddings()(output.last_hidden_state[row, column])


class TokenPairTogether(TokenPair):
    """`TokenPair` with the tokens of Math-Shepherd."""

    together = True


class LogRatio(CausalStepModel):
    """Two language models: beta times the log-ratio of a step's tokens (implicit PRM, arXiv 2412.01981).

    A row's positions are the last token before the solution and the last of each step; the scores are the sigmoids of
    the steps' rewards, so 0.5 is a reward of 0.
    """

    beta = 0.001
    """As published for EurusPRM."""
    reference: CausalStepModel | None = None
    """What it was trained from; set by whoever loads both."""

    def scores(self, rows: Sequence[TokenRow]) -> list[tuple[float, ...]]:
        """See `StepModel.scores`: one for each position but the first."""
        from torch import float64, tensor

        return [
            tuple(tensor(values, dtype=float64).diff().sigmoid().tolist()) if values else ()
            for values in super().scores(rows)
        ]

    def close(self) -> None:
        """Frees the memory of both."""
        if self.reference is not None:
            self.reference.close()
        super().close()

    # It is given no rows with branches: both models would have to take them.
    def read(self, ids: Any, mask: Any, row: Any, column: Any) -> Any:  # type: ignore[override]
        """Beta times the log-ratio of everything up to each position, of shape (pairs,)."""
        assert self.reference is not None
        ratios = self.values(ids, mask) - self.reference.values(ids, mask)
        return self.beta * ratios.cumsum(1)[row, column]


class WholeSequence(TransformersStepModel):
    """A sequence classifier with one label: one scalar for a solution; its sigmoid is the probability."""

    auto_class = "AutoModelForSequenceClassification"

    def prepare(self) -> None:
        """ModelError for other heads; rows that are padded need a token to pad with."""
        if self.config.num_labels != 1:
            raise ModelError(
                f"{self.source.name} has {self.config.num_labels} labels; a reward model that is a sequence classifier "
                "has one, a higher one for better solutions."
            )
        if self.model.config.pad_token_id is None:
            self.model.config.pad_token_id = self.tokenizer.pad_token_id or 0

    def read(self, ids: Any, mask: Any, row: Any, column: Any) -> Any:  # type: ignore[override]
        """See `TransformersStepModel.read`; the model finds each row's last token itself."""
        output = self.model(input_ids=ids, attention_mask=mask, use_cache=False)
        return output.logits[row, 0].float().sigmoid()


def declared(folder: Path) -> tuple[str, ...]:
    """The architectures that a model's configuration names."""
    return tuple(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or ())
