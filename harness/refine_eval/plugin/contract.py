"""The entrance of plugins' results: what a method returned is checked here, and is plain and typed behind.

Numbers of numpy and torch are taken as numbers. The same holds in runs and in `refine-eval plugins check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from refine_eval.cuts import are_cuts
from refine_eval.data import FINISH_REASONS, Candidate, Critique, Generation, Request, ScoredCandidate, Solution
from refine_eval.errors import GenerationError, PluginError, UsageError
from refine_eval.plugin.boundary import blamed, called, takes_messages
from refine_eval.plugin.components import Component, Critic, Engine, Refiner, Selector, Splitter
from refine_eval.plugin.values import LARGEST, feedback_of, listed, of_array, plain_text, real, reason, short, whole
from refine_eval.terminal import shown

R = TypeVar("R", Critique, Generation, Solution)

_ROUNDING = 1e-3
"""How far above 0 a logarithm of a probability may lie by rounding, in half precision."""

_END = object()
_WRONG = object()


def read_critiques(critic: Critic, batch: Sequence[Candidate], found: object) -> list[Critique]:
    """What a critic returned for a batch; PluginError, naming the problem, where it breaks the contract."""
    with blamed(critic, "in the critiques that it returned"):
        if not isinstance(found, list) or len(found) != len(batch):
            raise PluginError(
                f"{called(critic)} must return a list of {len(batch)} critiques, one per candidate, and returned "
                f"{short(found)}."
            )
        return [_critique(critic, candidate, critique) for candidate, critique in zip(batch, found, strict=True)]


def _critique(critic: Critic, candidate: Candidate, critique: object) -> Critique:
    where = f"for candidate {candidate.id} of problem {candidate.problem.id}"
    if not isinstance(critique, Critique):
        raise PluginError(f"{called(critic)} returned {short(critique)} {where}, not a Critique.")
    steps = len(candidate.solution.steps)
    scores = listed(critique.step_scores)
    if scores is None:
        raise PluginError(
            f"{called(critic)} gave {short(critique.step_scores)} as step scores {where}; they must be a tuple of "
            f"numbers."
        )
    if len(scores) != steps:
        raise PluginError(f"{called(critic)} gave {len(scores)} step scores {where}, which has {steps} steps.")
    score, *step_scores = [_probability(critic, value, where) for value in (critique.score, *scores)]
    bad = critique.first_bad_step
    if bad is not None:
        bad = whole(bad)
        if bad is None or not 0 <= bad < max(steps, 1):
            raise PluginError(
                f"{called(critic)} named step {short(critique.first_bad_step)} {where}, which has {steps} steps."
            )
    why = _why(critic, critique.unscored, f"left a text unscored {where}")
    if why and (any((score, *step_scores)) or bad is not None):
        raise PluginError(
            f"{called(critic)} left a text unscored {where} and scored it; make the critique with "
            f"Critique.without_score(candidate, why)."
        )
    read = _count_or_none(critique.read_tokens)
    if read is _WRONG:
        raise PluginError(
            f"{called(critic)} says that it read {short(critique.read_tokens)} tokens {where}; it must be a whole "
            f"number from 0, or None."
        )
    return _with(
        Critique,
        critique,
        score=score,
        step_scores=tuple(step_scores),
        first_bad_step=bad,
        unscored=why,
        read_tokens=read,
        **_words(critic, critique, where),
    )


def _words(critic: Critic, critique: Critique, where: str) -> dict[str, Any]:
    """The critique in words, and how many verdicts could be read."""
    feedback, parsed = critique.feedback, critique.parsed
    if feedback is not None and not isinstance(feedback, str):
        raise PluginError(f"{called(critic)} gave {short(feedback)} as feedback {where}; it must be a text, or None.")
    if not isinstance(parsed, bool):
        raise PluginError(f"{called(critic)} gave {short(parsed)} as parsed {where}; it must be True or False.")
    if not parsed and critique.unscored is None:
        raise PluginError(
            f"{called(critic)} could not read a verdict {where} and scored it all the same; make the critique with "
            f"Critique.without_score(candidate, why, parsed=False)."
        )
    verdicts, unread = whole(critique.verdicts), whole(critique.unread)
    if verdicts is None or unread is None or not 0 <= unread <= verdicts <= LARGEST or verdicts == 0:
        raise PluginError(
            f"{called(critic)} could not read {short(critique.unread)} of {short(critique.verdicts)} verdicts {where}; "
            f"these must be whole numbers, of at least one verdict."
        )
    words = None if feedback is None else feedback_of(feedback)
    return {"feedback": words, "parsed": parsed, "verdicts": verdicts, "unread": unread}


def _count_or_none(given: object, least: int = 0) -> Any:
    """A whole number of at least so much, or None, or `_WRONG` for anything else."""
    if given is None:
        return None
    found = whole(given)
    return _WRONG if found is None or not least <= found <= LARGEST else found


def _why(component: Component, given: object, what: str) -> str | None:
    """Why a component left something out; None where it did not."""
    if given is None:
        return None
    why = reason(given)
    if why is None:
        raise PluginError(f"{called(component)} {what} and did not say why; it must be a text, not {short(given)}.")
    return why


def _probability(critic: Critic, value: object, where: str) -> float:
    found = real(value)
    if found is None or not 0.0 <= found <= 1.0:
        raise PluginError(
            f"{called(critic)} gave the score {short(value)} {where}; scores must be probabilities in [0, 1]."
        )
    return found


def read_refinements(refiner: Refiner, judged: Sequence[ScoredCandidate], found: object) -> list[list[Solution]]:
    """What a refiner returned for a batch; PluginError, naming the problem, where it breaks the contract."""
    with blamed(refiner, "in the refinements that it returned"):
        if not isinstance(found, list) or len(found) != len(judged):
            raise PluginError(
                f"{called(refiner)} must return {len(judged)} lists of solutions, one per candidate, not "
                f"{short(found)}."
            )
        return [_solutions(refiner, item, solutions) for item, solutions in zip(judged, found, strict=True)]


def _solutions(refiner: Refiner, item: ScoredCandidate, solutions: object) -> list[Solution]:
    where = f"for problem {item.candidate.problem.id}"
    if not isinstance(solutions, list) or not all(isinstance(solution, Solution) for solution in solutions):
        raise PluginError(f"{called(refiner)} returned {short(solutions)} {where}, not a list of Solutions.")
    return [_solution(refiner, solution, where) for solution in solutions]


def _solution(refiner: Refiner, solution: Solution, where: str) -> Solution:
    if why := _why(refiner, solution.unwritten, f"left out a refinement {where}"):
        return Solution.without_text(why)
    steps, tokens, seconds = listed(solution.steps), whole(solution.tokens), real(solution.seconds)
    read, flops = _count_or_none(solution.read_tokens), None if solution.flops is None else real(solution.flops)
    texts = {"text": solution.text, "finish_reason": solution.finish_reason}
    if solution.answer is not None:
        texts["answer"] = solution.answer
    if solution.thought is not None:
        texts["thought"] = solution.thought
    wrong: tuple[str, object] | None = None
    if steps is None or not all(isinstance(step, str) for step in steps):
        wrong = "steps", solution.steps
    elif tokens is None or not 0 <= tokens <= LARGEST:
        wrong = "tokens", solution.tokens
    elif seconds is None or seconds < 0:
        wrong = "seconds", solution.seconds
    elif read is _WRONG:
        wrong = "read_tokens", solution.read_tokens
    elif solution.flops is not None and (flops is None or flops < 0):
        wrong = "flops", solution.flops
    else:
        wrong = next(((name, text) for name, text in texts.items() if not isinstance(text, str)), None)
    if wrong is not None:
        raise PluginError(
            f"{called(refiner)} returned a Solution {where} with {short(wrong[1])} as its {wrong[0]}; make it with "
            f"runtime.solution(problem, generation)."
        )
    assert steps is not None
    plain: dict[str, Any] = {name: plain_text(text) for name, text in texts.items()}
    plain |= {"steps": tuple(map(plain_text, steps)), "tokens": tokens, "seconds": seconds}
    plain |= {"read_tokens": read, "flops": flops}
    if solution.cuts is not None:
        plain["cuts"] = _cuts(refiner, solution, plain.get("thought", "") + plain["text"], where)
    return _with(Solution, solution, **plain)


def _cuts(refiner: Refiner, solution: Solution, written: str, where: str) -> tuple[int, ...]:
    """Where a solution that is not cut into lines is cut."""
    given = listed(solution.cuts)
    found = None if given is None else [whole(cut) for cut in given]
    cuts = tuple(cut for cut in found or () if cut is not None)
    steps = max(len(cuts) - 1, 0)
    if found is None or len(cuts) < len(found) or not are_cuts(cuts, written) or steps != len(solution.steps):
        raise PluginError(
            f"{called(refiner)} returned a Solution {where} whose cuts do not fit its text and its "
            f"{len(solution.steps)} steps; make it with runtime.solution(problem, generation)."
        )
    return cuts


def read_picks(selector: Selector, batch: Sequence[Sequence[ScoredCandidate]], found: object) -> list[int | None]:
    """What a selector returned for a batch; PluginError, naming the problem, where it is no index of a candidate.

    None where the selector could not tell.
    """
    with blamed(selector, "in the picks that it returned"):
        picks = found if isinstance(found, list) else of_array(found)
        if picks is None or len(picks) != len(batch):
            raise PluginError(
                f"{called(selector)} must return {len(batch)} indices, one per problem, and returned {short(found)}."
            )
        return [
            None if pick is None else _pick(selector, group, pick) for group, pick in zip(batch, picks, strict=True)
        ]


def _pick(selector: Selector, group: Sequence[ScoredCandidate], pick: object) -> int:
    index = int(pick) if isinstance(pick, bool) else whole(pick)  # of two candidates a truth is an index, too
    if index is None or not 0 <= index < len(group):
        raise PluginError(
            f"{called(selector)} picked {short(pick)} for problem {group[0].candidate.problem.id}, which has "
            f"{len(group)} candidates."
        )
    return index


def read_cuts(splitter: Splitter, texts: Sequence[str], found: object) -> list[tuple[int, ...]]:
    """Where a splitter cut each text: offsets from 0 to the end; of a text without steps none.

    Pieces of white space alone go with the one before them, at the beginning with the one after. PluginError where the
    pieces do not make the text.
    """
    with blamed(splitter, "in the pieces that it returned"):
        if not isinstance(found, list) or len(found) != len(texts):
            raise PluginError(
                f"{called(splitter)} must return {len(texts)} lists of pieces, one per text, not {short(found)}."
            )
        return [_cuts_of(splitter, text, pieces) for text, pieces in zip(texts, found, strict=True)]


def _cuts_of(splitter: Splitter, text: str, pieces: object) -> tuple[int, ...]:
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces) or "".join(pieces) != text:
        raise PluginError(
            f"{called(splitter)} cut the text {short(text)} into {short(pieces)}; joined, the pieces must be the text."
        )
    cuts, at, begun = [0], 0, False
    for piece in pieces:
        has_words = bool(piece.strip())
        if begun and has_words:
            cuts.append(at)
        begun = begun or has_words
        at += len(piece)
    return (*cuts, at) if begun else ()


def check_prompts(engine: Engine, requests: Sequence[Request]) -> None:
    """UsageError where an engine that takes plain prompts only is given messages."""
    first = next((request for request in requests if not isinstance(request.prompt, str)), None)
    if first is None or takes_messages(engine):
        return
    raise UsageError(
        f"Engine {engine.name!r} takes plain prompts only, and {first.purpose!r} gives it messages; leave out "
        "--apply-chat-template (of a refiner say --NAME-prompts plain), or take another engine."
    )


def read_generations(engine: Engine, requests: Sequence[Request]) -> Iterator[tuple[int, Generation]]:
    """Has an engine write, and yields what is sound: each index once, and each text with plain numbers.

    PluginError where it breaks the contract, GenerationError where it fails; what it raises on purpose passes.
    """
    done: set[int] = set()
    items: Iterator[Any] | None = None
    while True:
        with blamed(engine, f"after {len(done)} of {len(requests)} texts", GenerationError):
            if items is None:
                items = iter(engine.choose(requests) if requests and requests[0].choices else engine.generate(requests))
            item = next(items, _END)
            if item is _END:
                return
            index, generation = _generation(engine, requests, done, item)
        done.add(index)
        yield index, generation


def _generation(engine: Engine, requests: Sequence[Request], done: set[int], item: object) -> tuple[int, Generation]:
    if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[1], Generation):
        raise PluginError(f"{called(engine)} must yield pairs (index, Generation), and yielded {short(item)}.")
    index, given = whole(item[0]), item[1]
    if index is None or not 0 <= index < len(requests):
        raise PluginError(f"{called(engine)} yielded the index {short(item[0])}, and got {len(requests)} requests.")
    if index in done:
        raise PluginError(f"{called(engine)} yielded a text for the index {index} twice.")
    problem = requests[index].problem.id
    if why := _why(engine, given.unwritten, f"left a text of problem {problem} unwritten"):
        return index, Generation.without_text(why)
    tokens, seconds = whole(given.tokens), real(given.seconds)
    thought = given.thought
    prompt, cached = _count_or_none(given.prompt_tokens, least=1), whole(given.cached_tokens)
    if not isinstance(given.text, str):
        fault_is = f"the text {short(given.text)}; it must be a str"
    elif thought is not None and not isinstance(thought, str):
        fault_is = f"the thought {short(thought)}; it must be a str, or None"
    elif tokens is None or not 0 <= tokens <= LARGEST:
        fault_is = f"a text of {short(given.tokens)} tokens; it must be a whole number"
    elif given.finish_reason not in FINISH_REASONS:
        fault_is = (
            f"the finish reason {short(given.finish_reason)}; it must be {' or '.join(map(repr, FINISH_REASONS))}"
        )
    elif seconds is None or seconds < 0:
        fault_is = f"a text that took {short(given.seconds)} seconds; it must be a number of at least 0"
    elif prompt is _WRONG:
        fault_is = f"a prompt of {short(given.prompt_tokens)} tokens; it must be a whole number of at least 1, or None"
    elif requests[index].choices and not _are_logprobs(given, len(requests[index].choices)):
        fault_is = (
            f"{shown(given.logprobs)} for {len(requests[index].choices)} choices; it must be "
            f"Generation.of_choices(logprobs) with a logarithm, of at most 0, for each"
        )
    elif cached is None or not 0 <= cached <= (prompt or 0):
        fault_is = f"{short(given.cached_tokens)} cached tokens of a prompt of {short(given.prompt_tokens)} tokens"
    else:
        return index, _with(
            Generation,
            given,
            text=str(given.text),
            tokens=tokens,
            finish_reason=str(given.finish_reason),
            seconds=seconds,
            prompt_tokens=prompt,
            cached_tokens=cached,
            flops=None,
            **_plain_logprobs(given if requests[index].choices else None),
            thought=thought and str(thought),
        )
    raise PluginError(f"{called(engine)} gave for problem {problem} {fault_is}.")


def _are_logprobs(given: Generation, choices: int) -> bool:
    """Whether there is a logarithm of a probability for each choice, or None and a bound for what is missing."""
    found = listed(given.logprobs)
    if found is None or len(found) != choices:
        return False
    given_all = [*(each for each in found if each is not None), *([] if None not in found else [given.logprob_bound])]
    return all((plain := real(each)) is not None and plain <= _ROUNDING for each in given_all)


def _plain_logprobs(given: Generation | None) -> dict[str, Any]:
    if given is None:
        return {"logprobs": None, "logprob_bound": None}

    def plain(value: object) -> float | None:
        found = real(value)
        return None if found is None else min(found, 0.0)

    found = tuple(map(plain, listed(given.logprobs) or ()))
    return {"logprobs": found, "logprob_bound": plain(given.logprob_bound) if None in found else None}


def read_cache_keys(engine: Engine, requests: Sequence[Request]) -> list[str]:
    """What the engine's answers depend on besides sampling, one text a request."""
    with blamed(engine, "in cache_key_of()"):
        keys = [engine.cache_key_of(request) for request in requests]
        for key in keys:
            if not isinstance(key, str):
                raise PluginError(f"{called(engine)} must return a text from cache_key_of(), not {short(key)}.")
        return keys


def read_count(engine: Engine, what: str, ask: Callable[[], object], least: int = 0) -> int:
    """A whole number that an engine says of itself when it is asked: `gpus`, `preferred_batch_size`."""
    with blamed(engine, f"in {what}"):
        found = ask()
        count = whole(found)
        if count is None or not least <= count <= LARGEST:
            raise PluginError(
                f"{called(engine)} says that its {what} is {short(found)}; it must be a whole number of at least "
                f"{least}."
            )
        return count


def read_parameters(component: Component) -> int | None:
    """How many parameters the model that a component has opened has for FLOPs; None where it does not know."""
    with blamed(component, "in model_parameters"):
        found: int | None = _count_or_none(component.model_parameters, least=1)
        if found is _WRONG:
            raise PluginError(
                f"{called(component)} says that its model_parameters are {short(component.model_parameters)}; it must "
                f"be a whole number of at least 1, or None."
            )
        return found


def _with(kind: type[R], given: R, **values: Any) -> R:
    """A plain record of this kind: that of the plugin with what was read of it."""
    return kind(**{each.name: getattr(given, each.name) for each in fields(kind)} | values)
