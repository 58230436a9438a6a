"""Who asked for which texts, which could not be had or were cut off, and what models read, wrote and computed.

For the table's tokens, seconds and FLOPs, for what it says of texts that were left out, and for predictions of cost.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from refine_eval.costs import Cost, CutOff, LeftOut, ModelUsage, RequestedText
from refine_eval.data import CUT_OFF, Critique, Generation, Request
from refine_eval.formats import prompt_text
from refine_eval.plugin.components import Component, Critic, Selector
from refine_eval.results.ledger import total

_Texts = dict[bytes, Generation]
_Passes = list[tuple[int | None, float | None]]
"""Tokens read and FLOPs, each None where it is not known."""

STUDENT = "student"
"""What the student's model is called beside those of refiners and critics ("refiner local")."""

_MANY_CUT_OFF = 0.05
"""Of a stage's texts; where more are cut off, its figures say as much of the limit as of the model."""

READING_RULE = (
    "prompts whole, but for tokens that the engine says it had read for another text (prompt_tokens - cached_tokens)"
)
"""What counts as read in a run's table, for its record."""

FLOPS_RULE = (
    "2 x parameters x tokens read or written; parameters without embeddings and output layer, attention over the "
    "context left out (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)"
)
"""What counts as a FLOP in a run's table, for its record."""


def flops(parameters: int | None, read: int | None, written: int = 0) -> float | None:
    """What a model computes for tokens read and written, by `FLOPS_RULE`; None where something of it is not known."""
    if read == written == 0:
        return 0.0
    return None if parameters is None or read is None else 2.0 * parameters * (read + written)


class Tally:
    """What one run or several wrote now, beside the distinct texts that they asked for, stored before or not."""

    def __init__(self) -> None:
        self.texts_now = self.tokens_now = 0
        self._distinct: dict[bytes, int] = {}

    def add(self, usage: Usage) -> Tally:
        """Adds what a run used; returns itself."""
        self.texts_now += usage.texts_now
        self.tokens_now += usage.tokens_now
        self._distinct |= {key: text.tokens for texts in usage.requested.values() for key, text in texts.items()}
        return self

    def counts(self) -> dict[str, int]:
        """The counts, as records have them."""
        distinct = self._distinct.values()
        return {
            "texts_now": self.texts_now,
            "tokens_now": self.tokens_now,
            "texts": len(distinct),
            "tokens": sum(distinct),
        }


class Usage:
    """What a run's components asked for, whether it was written now or stored before."""

    def __init__(self) -> None:
        # By kind and name: a critic and a refiner may share a name.
        self._asked: dict[tuple[str, str], dict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        self._texts: _Texts = {}
        self._requested: dict[str, dict[bytes, RequestedText]] = defaultdict(dict)
        self._judged: dict[str, dict[bytes, RequestedText]] = defaultdict(dict)
        self._written_by: dict[str, _Texts] = defaultdict(dict)
        self._passes_of: dict[str, _Passes] = defaultdict(list)
        self._passes: dict[str, _Passes] = defaultdict(list)
        self._parameters: dict[str, int | None] = {}
        self._critic_seconds: dict[str, float] = defaultdict(float)
        self.texts_now = self.tokens_now = 0

    def add_written(self, generations: Iterable[Generation]) -> int:
        """What an engine wrote now, in this process; returns how many texts that is."""
        tokens = [generation.tokens for generation in generations if generation.unwritten is None]
        self.texts_now += len(tokens)
        self.tokens_now += sum(tokens)
        return len(tokens)

    @property
    def requested(self) -> Mapping[str, Mapping[bytes, RequestedText]]:
        """stage -> key -> the text that was asked for in it, each once."""
        return self._requested

    @property
    def judged(self) -> Mapping[str, Mapping[bytes, RequestedText]]:
        """ "critic NAME" -> key -> what its own model read of a candidate, each once; of critics that have one."""
        return self._judged

    def add_model(self, name: str, parameters: int | None) -> None:
        """A model that is open: "student", "refiner local", "critic orm"."""
        if parameters is not None or name not in self._parameters:
            self._parameters[name] = parameters

    def add(self, component: Component, request: Request, key: bytes, generation: Generation, model: str) -> None:
        """A text that a component asked of a model."""
        self._asked[component.kind, component.name][request.problem.id].append(key)
        self._texts[key] = generation
        self._requested[request.purpose][key] = RequestedText(
            problem_id=request.problem.id,
            prompt_characters=len(prompt_text(request.prompt)),
            characters=len(generation.text),
            tokens=generation.tokens,
            read=generation.read_tokens,
        )
        if generation.unwritten is None:
            self._written_by[model][key] = generation

    def written_by(self, model: str) -> dict[bytes, Generation]:
        """The texts that were asked of a model and that it wrote, by key."""
        return self._written_by[model]

    def cut_off(self) -> tuple[CutOff, ...]:
        """How many texts of each stage hit the length limit, also where none did."""
        reasons = {
            stage: [
                text.finish_reason
                for text in map(self._texts.__getitem__, asked)
                if text.unwritten is None and text.logprobs is None
            ]
            for stage, asked in self._requested.items()
        }
        return tuple(
            CutOff(stage=stage, texts=found.count(CUT_OFF), of=len(found)) for stage, found in reasons.items() if found
        )

    def left_out(self) -> list[LeftOut]:
        """The texts that were asked for and could not be written, by who asked and by kind of reason."""
        return [
            entry
            for (_, name), by_problem in self._asked.items()
            for entry in count_left_out(
                name, "write", (self._texts[key].unwritten for keys in by_problem.values() for key in set(keys))
            )
        ]

    def shares_texts(self, critic: Critic) -> bool:
        """Whether texts that a critic asked for are candidates too: then it scores one of them by the others."""
        own = {key for keys in self._asked[critic.kind, critic.name].values() for key in keys}
        others = (asked for (kind, _), asked in self._asked.items() if kind != critic.kind)
        return any(key in own for asked in others for keys in asked.values() for key in keys)

    def has_unwritten(self, component: Component, problem_id: str) -> bool:
        """Whether a text that a component asked for on a problem could not be written."""
        keys = self._asked[component.kind, component.name][problem_id]
        return any(self._texts[key].unwritten is not None for key in keys)

    def add_critique(self, critic: Critic, problem_id: str, key: bytes, critique: Critique, seconds: float) -> None:
        """What a critic took to score one of a problem's candidates, and what a model of its own read for it."""
        self._critic_seconds[problem_id] += seconds
        if critique.unscored is None:
            name = f"critic {critic.name}"
            cost = critique.read_tokens, flops(self._parameters.get(name), critique.read_tokens)
            if critique.read_tokens:
                self._judged[name][key] = RequestedText(problem_id=problem_id, read=critique.read_tokens)
            self._passes[problem_id].append(cost)
            self._passes_of[name].append(cost)

    def critic_seconds(self, problem_id: str) -> float:
        """Seconds that critics spent on a problem."""
        return self._critic_seconds[problem_id]

    def critic_tokens(self, problem_id: str, critics: Collection[Critic]) -> int:
        """Tokens written for critics on a problem, without texts that are candidates anyway."""
        return sum(generation.tokens for generation in self._written_for(problem_id, critics))

    def critic_reading(self, problem_id: str, critics: Collection[Critic]) -> tuple[int | None, float | None]:
        """Tokens read for critics on a problem, and all FLOPs, without texts that are candidates anyway.

        None where something of it is not known.
        """
        own = [(text.read_tokens, text.flops) for text in self._written_for(problem_id, critics)]
        costs = [*own, *self._passes[problem_id]]
        return total(read for read, _ in costs), total(computed for _, computed in costs)

    def selecting(self, problem_id: str, selector: Selector) -> Cost | None:
        """What a selector's own texts on a problem cost; None for one that asked for none."""
        texts = self._written_for(problem_id, [selector])
        if not texts:
            return None
        return Cost(
            tokens=sum(text.tokens for text in texts),
            seconds=sum(text.seconds for text in texts),
            read_tokens=total(text.read_tokens for text in texts),
            flops=total(text.flops for text in texts),
        )

    def _written_for(self, problem_id: str, components: Collection[Component]) -> list[Generation]:
        names = {(component.kind, component.name) for component in components}
        candidates = {key for name, asked in self._asked.items() if name not in names for key in asked[problem_id]}
        own = dict.fromkeys(key for name in names & self._asked.keys() for key in self._asked[name][problem_id])
        texts = [self._texts[key] for key in own if key not in candidates]
        return [text for text in texts if text.unwritten is None]

    def by_model(self) -> tuple[ModelUsage, ...]:
        """What each model that was open read and wrote, each text once; critics without a model are none."""
        found = (self._of_model(name, parameters) for name, parameters in self._parameters.items())
        return tuple(each for each in found if each.parameters or each.prompt_tokens or each.tokens or each.unknown)

    def _of_model(self, name: str, parameters: int | None) -> ModelUsage:
        texts = list(self._written_by[name].values())
        read = [passed for passed, _ in self._passes_of[name]]
        prompts = [text.prompt_tokens for text in texts]
        return ModelUsage(
            name=name,
            parameters=parameters,
            texts=len(texts) + len(read),
            prompt_tokens=sum(tokens for tokens in (*prompts, *read) if tokens is not None),
            cached_tokens=sum(text.cached_tokens for text in texts),
            tokens=sum(text.tokens for text in texts),
            unknown=sum(tokens is None for tokens in (*prompts, *read)),
        )


def cut_off_warning(cut_off: Iterable[CutOff]) -> str | None:
    """What to say of stages of which more than a twentieth of the texts were cut off; None where there is none."""
    many = [each for each in cut_off if each.texts > _MANY_CUT_OFF * each.of]
    if not many:
        return None
    stages = ", ".join(f"{each.stage} {each.texts:,} of {each.of:,}" for each in many)
    return (
        f"Warning: many texts hit the length limit before they ended ({stages}), and most of those have no answer; "
        "raise it with --max-gen-toks, as far as the model's context goes."
    )


def count_unscored(critic: str, critiques: Collection[Critique]) -> list[LeftOut]:
    """Solutions without a score by reason and, of several verdicts on one, those that could not be read."""
    several = [critique for critique in critiques if critique.verdicts > 1]
    unread, of = sum(critique.unread for critique in several), sum(critique.verdicts for critique in several)
    verdicts = LeftOut(
        component=critic, verb="read a verdict in", texts=unread, of=of, reason="they are left out of the means"
    )
    scores = count_left_out(critic, "score", (critique.unscored for critique in critiques))
    return [*scores, verdicts] if unread else scores


def count_left_out(component: str, verb: str, reasons: Iterable[str | None]) -> list[LeftOut]:
    """`reasons` has one entry a text: why it was left out, or None. What is before "(" or ";" is a reason's kind."""
    found = list(reasons)
    kinds = Counter(re.split(r" *[(;]", reason, maxsplit=1)[0] or reason for reason in found if reason is not None)
    return [
        LeftOut(component=component, verb=verb, texts=texts, of=len(found), reason=kind)
        for kind, texts in sorted(kinds.items())
    ]
