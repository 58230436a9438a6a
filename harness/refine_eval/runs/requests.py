"""What is asked of engines, and what of their answers goes on: seeds, keys of the store, the entrance of all texts."""

from __future__ import annotations

import dataclasses
import hashlib

from refine_eval.data import Generation, Request, Sampling
from refine_eval.formats import cut_at_stops
from refine_eval.runs.store import content_key
from refine_eval.terminal import encodable


def derive_seed(run_seed: int, problem_id: str, purpose: str, sample: int) -> int:
    """The seed of one text, in [0, 2**63): independent of batch size and order."""
    text = f"{run_seed}\0{problem_id}\0{purpose}\0{sample}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def safe_generation(generation: Generation, sampling: Sampling) -> Generation:
    """What an engine wrote, as everybody after it may take it: the entrance of all model output.

    Half a surrogate pair becomes "?", or neither the store nor a record could hold the text; and the text ends at the
    first stop string, whichever engine it is from.
    """
    if generation.unwritten is not None:
        return generation
    text = encodable(generation.text)
    thought = generation.thought and encodable(generation.thought)
    ended = cut_at_stops(text, sampling.stop)
    if (ended, thought) == (generation.text, generation.thought):
        return generation
    return dataclasses.replace(
        generation, text=ended, thought=thought, finish_reason=generation.finish_reason if ended == text else "stop"
    )


def request_key(identity: str, cache_key_of: str, request: Request) -> bytes:
    """The store's key of a generation. A greedy text does not depend on its seed."""
    if request.choices:
        return content_key("choices", identity, cache_key_of, list(request.choices))
    sampling = dataclasses.asdict(request.sampling)
    return content_key(
        "generation", identity, cache_key_of, sampling, request.seed if sampling["temperature"] else None
    )
