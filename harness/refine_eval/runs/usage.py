"""Who asked for which texts, which could not be had or were cut off, and what critics cost.

For the table's tokens and seconds, for what it says of texts that were left out, and for predictions of cost.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from refine_eval.data import CutOff, Generation, LeftOut, Request, RequestedText
from refine_eval.formats import prompt_text
from refine_eval.plugin.components import Component, Critic

_Texts = dict[bytes, Generation]

_MANY_CUT_OFF = 0.05
"""Of a stage's texts; where more are cut off, its figures say as much of the limit as of the model."""


class Usage:
    """What a run's components asked for, whether it was written now or stored before."""

    def __init__(self) -> None:
        # By kind and name: a critic and a refiner may share a name.
        self._texts: dict[tuple[str, str], dict[str, _Texts]] = defaultdict(lambda: defaultdict(dict))
        self._requested: dict[str, dict[bytes, RequestedText]] = defaultdict(dict)
        self._cut_off: dict[str, dict[bytes, bool]] = defaultdict(dict)
        self._critic_seconds: dict[str, float] = defaultdict(float)

    @property
    def requested(self) -> Mapping[str, Mapping[bytes, RequestedText]]:
        """stage -> key -> the text that was asked for in it, each once."""
        return self._requested

    def add(self, component: Component, request: Request, key: bytes, generation: Generation) -> None:
        """A text that a component asked for."""
        self._texts[component.kind, component.name][request.problem.id][key] = generation
        self._requested[request.purpose][key] = RequestedText(
            problem_id=request.problem.id,
            prompt_characters=len(prompt_text(request.prompt)),
            characters=len(generation.text),
            tokens=generation.tokens,
        )
        if generation.unwritten is None:
            self._cut_off[request.purpose][key] = generation.finish_reason == "length"

    def cut_off(self) -> tuple[CutOff, ...]:
        """How many texts of each stage hit the length limit, also where none did."""
        return tuple(CutOff(stage=stage, texts=sum(cut.values()), of=len(cut)) for stage, cut in self._cut_off.items())

    def left_out(self) -> list[LeftOut]:
        """The texts that were asked for and could not be written, by who asked and by kind of reason."""
        return [
            entry
            for (_, name), by_problem in self._texts.items()
            for entry in count_left_out(
                name, "write", (text.unwritten for texts in by_problem.values() for text in texts.values())
            )
        ]

    def has_unwritten(self, component: Component, problem_id: str) -> bool:
        """Whether a text that a component asked for on a problem could not be written."""
        texts = self._texts[component.kind, component.name][problem_id]
        return any(text.unwritten is not None for text in texts.values())

    def add_critic_seconds(self, problem_id: str, seconds: float) -> None:
        """What critics took to score a problem's candidates."""
        self._critic_seconds[problem_id] += seconds

    def critic_seconds(self, problem_id: str) -> float:
        """Seconds that critics spent on a problem."""
        return self._critic_seconds[problem_id]

    def critic_tokens(self, problem_id: str, critics: Collection[Critic]) -> int:
        """Tokens written for critics on a problem, without texts that are candidates anyway."""
        names = {(critic.kind, critic.name) for critic in critics}
        candidates = {key for name, texts in self._texts.items() if name not in names for key in texts[problem_id]}
        asked = {key: g for name in names & self._texts.keys() for key, g in self._texts[name][problem_id].items()}
        return sum(generation.tokens for key, generation in asked.items() if key not in candidates)


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


def count_left_out(component: str, verb: str, reasons: Iterable[str | None]) -> list[LeftOut]:
    """`reasons` has one entry a text: why it was left out, or None. What is before "(" or ";" is a reason's kind."""
    found = list(reasons)
    kinds = Counter(re.split(r" *[(;]", reason, maxsplit=1)[0] or reason for reason in found if reason is not None)
    return [
        LeftOut(component=component, verb=verb, texts=texts, of=len(found), reason=kind)
        for kind, texts in sorted(kinds.items())
    ]
