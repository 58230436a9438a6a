"""The decode loop: many texts at once, each with its own limits and seed; finished ones make room for new ones."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch

from refine_eval.engines.decoder.model_settings import processed
from refine_eval.engines.decoder.prefixes import LEAST_PREFIX, Chain, chains, shared_length
from refine_eval.engines.decoder.slot_cache import SlotCache
from refine_eval.engines.decoder.slot_model import SlotModel
from refine_eval.engines.decoder.text import Text
from refine_eval.models.loading import is_out_of_memory

_FEW = 512
"""So many tokens of a large vocabulary are looked at first, or at a time, when one is drawn."""

_REFILL = 8
"""New texts enter when one in so many slots is free: one at a time would cost a pass over the weights each."""


class Decoder:
    """Writes texts with `model`, up to `rows` at once, reading up to `prompt_tokens` of prompts in one pass.

    What prompts of one run share is read once: equal prompts, prompts that are beginnings of others, and a long
    common beginning of all. `prompt_tokens_read` counts the tokens of prompts that went through the model in all
    runs, padding left out.
    """

    def __init__(self, model: SlotModel, eos: frozenset[int], rows: int, prompt_tokens: int) -> None:
        self.model, self.eos, self.rows, self.prompt_tokens = model, eos, rows, prompt_tokens
        self.prompt_tokens_read = 0

    @torch.inference_mode()
    def run(self, texts: Sequence[Text]) -> Iterator[Text]:
        """Yields each text as soon as it is finished.

        A text for which the model computes no finite number, or which alone takes more memory than there is, is
        finished as `unwritten`; until then running out of memory halves `rows`.
        """
        for text in texts:
            text.begin()
        shared = shared_length(texts)
        waiting = chains(texts, shared)
        prefix = waiting[0].tokens[:shared] if self._pays(shared, len(waiting)) else []
        length = _longest(texts)
        active: list[Text] = []
        cache: SlotCache | None = None
        leader: Text | None = None
        while waiting or active:
            started, admitted = time.perf_counter(), 0
            failure = ""
            try:
                if cache is None:
                    cache = self.model.new_cache(min(self.rows, _count(waiting)), length)
                    if prefix:
                        self.model.read_prefix(cache, prefix)
                        self.prompt_tokens_read += len(prefix)
                        leader = waiting[0].texts[0]
                free = cache.slots - len(active)
                if waiting and (not active or free * _REFILL >= cache.slots):
                    admitted = self._start(cache, active, waiting, free)
                    if leader is not None:  # it stands for the beginning that was read for all
                        leader.cached, leader = 0, None
                else:
                    self._step(cache, active)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                failure = str(error)
            if failure:
                # Outside of the handler, whose traceback would keep the tensors alive.
                cache = None
                alone = (active[0] if active else waiting[0].texts[0]) if self.rows == 1 and not prefix else None
                if self.rows == 1:
                    prefix = []  # its keys and values take memory too
                self._start_over(active, waiting, alone)
                if alone:
                    length = _longest(text for chain in waiting for text in chain.texts)
                    yield _too_large(alone, failure)
                continue
            stepped = active[len(active) - admitted :] if admitted else active
            share = (time.perf_counter() - started) / len(stepped)
            for text in stepped:
                text.seconds += share
            assert cache is not None
            yield from self._leave(cache, active)

    def _pays(self, shared: int, rows: int) -> bool:
        """Whether to read so many first tokens of all rows of prompts apart."""
        return self.model.shares_prefixes and shared >= LEAST_PREFIX and rows > 1

    def _start_over(self, active: list[Text], waiting: deque[Chain], without: Text | None) -> None:
        """Puts everything in flight back to the waiting, for fewer rows at a time, but for the text `without`."""
        self.rows = max(1, min(self.rows, len(active) + _count(waiting)) // 2)
        self.prompt_tokens = max(1, self.prompt_tokens // 2)
        for text in active:
            text.begin()
        again = chains(t for t in (*active, *(t for chain in waiting for t in chain.texts)) if t is not without)
        active.clear()
        waiting.clear()
        waiting.extend(again)

    def _start(self, cache: SlotCache, active: list[Text], waiting: deque[Chain], free: int) -> int:
        """Moves texts from `waiting` into free slots with their first token; returns how many."""
        first = len(active)
        read: list[Chain] = []
        source: list[int] = []
        known = waiting[0].logits
        while waiting and len(source) < free:
            chain = waiting[0]
            width = len((read or waiting)[0].tokens) - cache.prefix
            if read and (known is not None or (len(read) + 1) * width > self.prompt_tokens):
                break
            read.append(chain)
            while chain.texts and len(source) < free:
                source.append(len(read) - 1)
                text = chain.texts.popleft()
                text.cached = len(text.prompt)
                active.append(text)
            if not chain.texts:
                waiting.popleft()
        ends = [(row, length) for row, chain in enumerate(read) for length in chain.lengths]
        if known is None:
            prompts, left = [chain.tokens for chain in read], bool(read[-1].texts)
            known = self.model.read(cache, prompts, ends, first, source, keep=left)
            self.prompt_tokens_read += sum(len(prompt) - cache.prefix for prompt in prompts)
            for row in range(len(read)):  # the first text of a chain, whose prompt is the whole of it
                active[first + source.index(row)].cached = cache.prefix
            if left:
                read[-1].logits = known[-len(read[-1].lengths) :].clone()
        else:
            cache.repeat(first, len(source))
        number = {end: n for n, end in enumerate(ends)}
        started = active[first:]
        self._choose(known[[number[row, len(text.prompt)] for row, text in zip(source, started, strict=True)]], started)
        return len(source)

    def _step(self, cache: SlotCache, active: list[Text]) -> None:
        """One more token for each active text."""
        positions = [len(text.prompt) + len(text.written) - 1 for text in active]
        self._choose(self.model.step(cache, [text.written[-1] for text in active], positions), active)

    def _choose(self, logits: torch.Tensor, texts: Sequence[Text]) -> None:
        """Gives each text its next token, from logits of shape (texts, vocabulary)."""
        _tell(logits, texts)
        if texts[0].processors is not None:  # all texts are of one model, whose settings ask for it
            logits = processed(logits, texts)
        highest, chosen = logits.max(-1)
        drawn = [row for row, text in enumerate(texts) if text.random]
        if drawn:
            chosen[drawn] = draw(logits[drawn], [texts[row] for row in drawn])
        for text, token in zip(texts, torch.where(highest.isfinite(), chosen, -1).tolist(), strict=True):
            if token < 0:
                text.give_up(
                    f"the model computes no finite number (after {len(text.written):,} tokens); try --model-args "
                    "dtype=float32, or check the model's weights"
                )
            else:
                text.add(token, self.eos)

    @staticmethod
    def _leave(cache: SlotCache, active: list[Text]) -> Iterator[Text]:
        """Takes finished texts out of `active`; texts from the end move into their slots."""
        finished = [text for text in active if text.finish_reason]
        if not finished:
            return
        kept = len(active) - len(finished)
        holes = [slot for slot in range(kept) if active[slot].finish_reason]
        movers = [slot for slot in range(kept, len(active)) if not active[slot].finish_reason]
        if holes:
            cache.move(movers, holes)
        for hole, mover in zip(holes, movers, strict=True):
            active[hole] = active[mover]
        del active[kept:]
        yield from finished


def _tell(logits: torch.Tensor, texts: Sequence[Text]) -> None:
    """How likely the tokens are that texts want to know of, from logits of shape (texts, vocabulary)."""
    rows = [row for row, text in enumerate(texts) if text.wanted and not text.logprobs]
    if not rows:
        return
    totals = logits[rows].float().logsumexp(-1)
    for row, total in zip(rows, totals, strict=True):
        wanted = torch.tensor(texts[row].wanted, device=logits.device)
        # -1000 stands for what a model rules out: finite numbers can be stored.
        texts[row].logprobs = (logits[row, wanted].float() - total).clamp(min=-1000.0).tolist()


def _count(waiting: Iterable[Chain]) -> int:
    return sum(len(chain.texts) for chain in waiting)


def _longest(texts: Iterable[Text]) -> int:
    return max((len(text.prompt) + text.limit for text in texts), default=0)


def _too_large(text: Text, failure: str) -> Text:
    text.give_up(
        f"memory runs out for the text alone ({failure.splitlines()[0][:100]}); use a smaller model or dtype, fewer "
        "few-shot examples, or a lower --max-gen-toks"
    )
    return text


def draw(logits: torch.Tensor, texts: Sequence[Text]) -> torch.Tensor:
    """A token for each row of logits (texts, vocabulary), by the text's temperature, top-p and random numbers.

    The row's own random number picks from its own distribution function, so that a text does not depend on
    what else is in the batch.
    """
    device = logits.device
    precise = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    numbers = torch.tensor([text.random.random() for text in texts if text.random], dtype=precise, device=device)
    temperature = torch.tensor([text.temperature for text in texts], device=device)
    chances = torch.softmax(logits / temperature[:, None], -1)  # float32, whatever the logits are
    cut = [row for row, text in enumerate(texts) if text.top_p < 1]
    if not cut:
        return _pick(chances, numbers)
    whole = [row for row, text in enumerate(texts) if text.top_p >= 1]
    chosen = torch.empty(len(texts), dtype=torch.long, device=device)
    if whole:
        chosen[whole] = _pick(chances[whole], numbers[whole])
    top_p = torch.tensor([texts[row].top_p for row in cut], dtype=precise, device=device)
    likeliest, order = _likeliest(chances[cut] if whole else chances, top_p)
    # A token is in while those before it do not reach top_p; the likeliest always is.
    out = likeliest.to(precise).cumsum(-1) - likeliest >= top_p[:, None]
    out[:, 0] = False
    picked = _pick(likeliest.masked_fill(out, 0), numbers[cut])
    chosen[cut] = order.gather(-1, picked[:, None])[:, 0]
    return chosen


def _likeliest(chances: torch.Tensor, top_p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of each row (rows, vocabulary), the likeliest first and equal ones by number, until they reach top_p.

    Sorting a vocabulary of 150,000 takes several times as long as the model, so its few likeliest are tried first.
    """
    if chances.shape[-1] > 2 * _FEW:
        found = chances.topk(_FEW).indices.sort(-1).values
        likeliest, order = chances.gather(-1, found).sort(dim=-1, descending=True, stable=True)
        # Which of the tokens as likely as the last were found is chance, so those before them must do.
        before = likeliest.masked_fill(likeliest <= likeliest[:, -1:], 0).sum(-1, dtype=top_p.dtype)
        if (before >= top_p).all():
            return likeliest, found.gather(-1, order)
    return chances.sort(dim=-1, descending=True, stable=True)


def _pick(chances: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The column at which the running sum of each row passes its number in [0, 1), as a share of the row's sum.

    A running sum over a large vocabulary takes longer than anything else here, so it runs over the sums of blocks
    first, and then over the block in which it passes.
    """
    columns = chances.shape[-1]
    width = columns if columns <= 2 * _FEW else _FEW
    even = columns // width * width
    sums = chances[:, :even].view(len(chances), -1, width).sum(-1)
    if even < columns:
        sums = torch.cat([sums, chances[:, even:].sum(-1, keepdim=True)], -1)
    ends = sums.to(numbers.dtype).cumsum(-1)
    passed = numbers[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, passed, right=True).clamp(max=ends.shape[-1] - 1)
    size = sums.gather(-1, block).to(numbers.dtype)
    share = (passed - ends.gather(-1, block) + size) / size
    at = block * width + torch.arange(width, device=chances.device)
    inside = chances.gather(-1, at.clamp(max=columns - 1)).masked_fill(at >= columns, 0).to(numbers.dtype).cumsum(-1)
    found = torch.searchsorted(inside, share * inside[:, -1:], right=True).clamp(max=width - 1)
    return at.gather(-1, found)[:, 0].clamp(max=columns - 1)
