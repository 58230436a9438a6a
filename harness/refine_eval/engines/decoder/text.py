"""A text as it is written, and where it ends: stop strings are found at once and cut off as lm-eval does it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from refine_eval.data import UNWRITTEN
from refine_eval.formats import cut_at_stops


class StopStrings:
    """Watches texts for `stops`. Decodes only after a token in which a stop string could end."""

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = tuple(stop for stop in stops if stop)
        self._last = {stop[-1] for stop in self.stops}
        # A token brings at least one byte, save for the few that bring nothing.
        self._tail = max((len(stop.encode()) for stop in self.stops), default=0) + 4
        # Texts have no special tokens, so a stop string that is one is known by its token, and one that holds one is
        # looked for in tokens that are decoded with them, as lm-eval does it.
        special = set(tokenizer.all_special_tokens)
        self._special = {tokenizer.convert_tokens_to_ids(stop) for stop in self.stops if stop in special}
        self._keeps_special = any(word in stop for word in special for stop in self.stops if stop not in special)
        self._anchor = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self._before = len(self._watched(self._anchor))
        self._could_end: dict[int, bool] = {}

    def decode(self, ids: Sequence[int]) -> str:
        """The tokens as text, without special tokens."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _watched(self, ids: Sequence[int]) -> str:
        """The tokens as the text in which stop strings are looked for."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=not self._keeps_special)
        return text

    def ended(self, written: Sequence[int]) -> bool:
        """Whether the newest of the tokens completes a stop string."""
        if not self.stops:
            return False
        if written[-1] in self._special:
            return True
        could_end = self._could_end.get(written[-1])
        if could_end is None:
            # Read after another token, or some tokenizers would drop a space at the beginning. A part of a
            # character is shown as U+FFFD.
            piece = self._watched([*self._anchor, written[-1]])[self._before :]
            could_end = "\ufffd" in piece or not self._last.isdisjoint(piece)
            self._could_end[written[-1]] = could_end
        if not could_end:
            return False
        tail = self._watched(written[-self._tail :])
        return any(stop in tail for stop in self.stops)

    def text(self, written: Sequence[int]) -> str:
        """The tokens as text, up to the first stop string."""
        end = next((at for at, token in enumerate(written) if token in self._special), len(written))
        return cut_at_stops(self.decode(written[:end]), self.stops)


@dataclass(slots=True, kw_only=True, eq=False)
class Text:
    """A text to write after the tokens `prompt`: at most `limit` tokens, ended by `stops`.

    `processors` is what the model's generation settings do to its logits (see `model_settings`), None for nothing.

    `wanted` are tokens of which to say how likely they are to come first: `logprobs` then has their natural logarithms.

    Filled in while it is written: `written` (tokens, the end token left out), `finish_reason` ("" until then),
    `seconds`, its share of the time of the steps that it was part of, `cached`, how many tokens of its prompt were read
    for another text, and `unwritten`, why it could not be written.
    """

    index: int
    problem_id: str
    prompt: list[int]
    limit: int
    stops: StopStrings
    temperature: float
    top_p: float
    seed: int
    processors: Any = None
    wanted: tuple[int, ...] = ()
    logprobs: list[float] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    finish_reason: str = ""
    seconds: float = 0.0
    cached: int = 0
    unwritten: str = ""
    random: random.Random | None = None

    def begin(self) -> None:
        """Forgets what was written, so that writing starts over with the same random numbers."""
        self.written, self.finish_reason = [], ""
        self.random = random.Random(self.seed) if self.temperature > 0 else None

    def give_up(self, why: str) -> None:
        """Ends a text that cannot be written."""
        self.finish_reason, self.unwritten = UNWRITTEN, why

    def add(self, token: int, eos: frozenset[int]) -> None:
        """One more token; sets `finish_reason` where the text ends with it."""
        if token in eos:
            self.finish_reason = "stop"
            return
        self.written.append(token)
        if self.stops.ended(self.written):
            self.finish_reason = "stop"
        elif len(self.written) >= self.limit:
            self.finish_reason = "length"
