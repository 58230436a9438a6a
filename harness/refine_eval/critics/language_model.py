"""Language models as critics read them: a number for each token of a text that stands there already."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from refine_eval.critics.step_models import TokenRow, TransformersStepModel
from refine_eval.data import Prompt
from refine_eval.models.chat import ChatTemplate, UnrenderedError

_MOST_LOGITS = 512
"""Tokens of a row with branches, which may be long, whose logits there are at once."""


class CausalStepModel(TransformersStepModel):
    """A language model that reads texts: what it says of each token after those before it, their log-probability.

    A subclass that wants another number has another `value`; `read` says how those of a row become scores, by default
    as sums from the beginning of the row up to each position.
    """

    auto_class = "AutoModelForCausalLM"

    def prepare(self) -> None:
        """Nothing to find out."""

    def value(self, log_probabilities: Any, tokens: Any) -> Any:
        """A number for each of a row's tokens, of shape (length,).

        `log_probabilities` are those of the whole vocabulary, of shape (length, vocabulary).
        """
        return log_probabilities.gather(1, tokens[:, None])[:, 0]

    def values(self, ids: Any, mask: Any, positions: Any = None) -> Any:
        """`value` of each token, 0 for the first of a row and for padding; of shape (rows, length).

        `mask` and `positions` are those of `read`.
        """
        import torch

        base = self.model.base_model
        states = base(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
        found = torch.zeros(ids.shape, dtype=torch.float64, device=ids.device)
        for index, state in enumerate(states):  # a row at a time: logits of all would take gigabytes
            if positions is None:
                found[index, 1:] = self._told(state[:-1], ids[index, 1:]) * mask[index, 1:]
                continue
            places = torch.arange(len(state), device=ids.device)
            # The token before one is the last of those that it looks at; the first of a row and padding have none.
            before = ((mask[index, 0] == 0) * places).tril(-1).amax(-1)
            for some in torch.split(places[positions[index] > 0], _MOST_LOGITS):
                found[index, some] = self._told(state[before[some]], ids[index, some])
        return found

    def _told(self, states: Any, tokens: Any) -> Any:
        """What the model says of tokens, from the hidden states of those before them."""
        return self.value(self.model.get_output_embeddings()(states).float().log_softmax(-1), tokens).double()

    def read(self, ids: Any, mask: Any, row: Any, column: Any, positions: Any = None) -> Any:
        """See `TransformersStepModel.read`."""
        values = self.values(ids, mask, positions)
        if positions is None:
            return values.cumsum(1)[row, column]
        return ((mask[row, 0, column] == 0) * values[row]).sum(-1)

    def row(self, prompt: Prompt, text: str, offsets: Sequence[int]) -> TokenRow | str:
        """The tokens of a text after its prompt, and the last token before each offset of the text.

        Messages are rendered with the model's chat template. In their place why they cannot be read: a template that
        refuses them.
        """
        tokenizer = self.tokenizer
        try:
            before = ChatTemplate(self.source.name, tokenizer, None).text_of(prompt)
        except UnrenderedError as error:
            return str(error)
        bos = tokenizer.bos_token
        special = not (bos and before.startswith(bos))
        found = tokenizer(before + text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        starts, last = [], -1
        for begin, end in found["offset_mapping"]:
            last = begin if end > begin else last  # special tokens that were added stand nowhere
            starts.append(last)
        places = [bisect_left(starts, len(before) + offset) - 1 for offset in offsets]
        return list(found["input_ids"]), [max(place, 0) for place in places]
