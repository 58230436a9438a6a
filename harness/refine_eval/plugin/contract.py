"""What every component's output is held to, in runs and in `refine-eval plugins check` alike."""

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from refine_eval.data import FINISH_REASONS, Candidate, Critique, Generation, Request, ScoredCandidate, Solution
from refine_eval.errors import PluginError
from refine_eval.plugin.components import Critic, Engine, Refiner, Selector


def checked_generation(engine: Engine, request: Request, generation: Any) -> Generation:
    """What an engine wrote, with plain numbers; PluginError, naming the problem, where it has no text or token count.

    A text is worth more than what is said of it: a time that is no number becomes 0, and a finish reason that is not
    one of ours what the number of tokens says.
    """
    who, where = f"Engine {engine.name!r}", f"for problem {request.problem.id}"
    if not isinstance(generation, Generation) or not isinstance(generation.text, str):
        wrong = generation.text if isinstance(generation, Generation) else generation
        raise PluginError(f"{who} wrote {_short(wrong)} {where}, which is not a text.")
    tokens, seconds, reason = generation.tokens, generation.seconds, generation.finish_reason
    try:
        count = -1 if isinstance(tokens, bool) else operator.index(tokens)
    except TypeError:
        count = -1
    if not 0 <= count < 2**63:
        raise PluginError(f"{who} counted {_short(tokens)} tokens {where}; it must be a whole number from 0.")
    try:
        time = float(seconds)
    except (TypeError, ValueError, OverflowError):
        time = math.nan
    if not (math.isfinite(time) and time >= 0):
        time = 0.0
    if reason not in FINISH_REASONS:
        reason = "length" if count >= request.sampling.max_tokens else "stop"
    if (type(tokens), type(seconds)) == (int, float) and (time, reason) == (seconds, generation.finish_reason):
        return generation
    return replace(generation, tokens=count, seconds=time, finish_reason=reason)


def check_critiques(critic: Critic, batch: Sequence[Candidate], critiques: object) -> None:
    """Raises PluginError, naming the problem, where critiques break the contract."""
    who = f"Critic {critic.name!r}"
    if not isinstance(critiques, list) or len(critiques) != len(batch):
        raise PluginError(
            f"{who} must return a list of {len(batch)} critiques, one per candidate, and returned {_short(critiques)}."
        )
    for candidate, critique in zip(batch, critiques, strict=True):
        where = f"for candidate {candidate.id} of problem {candidate.problem.id}"
        if not isinstance(critique, Critique):
            raise PluginError(f"{who} returned {_short(critique)} {where}, not a Critique.")
        steps = len(candidate.solution.steps)
        if len(critique.step_scores) != steps:
            raise PluginError(f"{who} gave {len(critique.step_scores)} step scores {where}, which has {steps} steps.")
        for score in (critique.score, *critique.step_scores):
            if not (math.isfinite(score) and 0.0 <= score <= 1.0):
                raise PluginError(f"{who} gave the score {score} {where}; scores must be probabilities in [0, 1].")
        if critique.first_bad_step is not None and not 0 <= critique.first_bad_step < max(steps, 1):
            raise PluginError(f"{who} named step {critique.first_bad_step} {where}, which has {steps} steps.")


def check_refinements(refiner: Refiner, judged: Sequence[ScoredCandidate], refinements: object) -> None:
    """Raises PluginError, naming the problem, where refinements break the contract."""
    who = f"Refiner {refiner.name!r}"
    if not isinstance(refinements, list) or len(refinements) != len(judged):
        raise PluginError(
            f"{who} must return {len(judged)} lists of solutions, one per candidate, not {_short(refinements)}."
        )
    for item, solutions in zip(judged, refinements, strict=True):
        if not isinstance(solutions, list) or not all(isinstance(solution, Solution) for solution in solutions):
            raise PluginError(
                f"{who} returned {_short(solutions)} for problem {item.candidate.problem.id}, not a list of Solutions."
            )


def check_picks(selector: Selector, batch: Sequence[Sequence[ScoredCandidate]], picks: object) -> None:
    """Raises PluginError, naming the problem, where a selector's picks are not indices of candidates."""
    who = f"Selector {selector.name!r}"
    if not isinstance(picks, list) or len(picks) != len(batch):
        raise PluginError(f"{who} must return {len(batch)} indices, one per problem, and returned {_short(picks)}.")
    for found, pick in zip(batch, picks, strict=True):
        if not isinstance(pick, int) or not 0 <= pick < len(found):
            raise PluginError(
                f"{who} picked {pick!r} for problem {found[0].candidate.problem.id}, which has {len(found)} candidates."
            )


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
