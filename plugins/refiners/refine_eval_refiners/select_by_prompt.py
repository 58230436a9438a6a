"""The selector `select-by-prompt`: a model is shown all candidates and names one (GenSelect)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from refine_eval import PromptTemplate, Runtime, ScoredCandidate, Selector, check_options, option
from refine_eval_refiners.prompts import CHOICES, GROUP_NAMES, Asking, AskingOptions

_NAMED = re.compile(r"\bbest\b[^\d\n]{0,40}?(\d{1,6})\b", re.IGNORECASE)
_ALONE = re.compile(r"\W*(?:solution)?\W*(\d{1,6})\W*", re.IGNORECASE)
_SHORT = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectByPromptOptions(AskingOptions):
    """Options of the select-by-prompt selector."""

    model: str = option("", "Hub name or folder of the model that chooses; left empty: the student.")
    template: str = option("select", "Prompt: select, or a file with a Jinja template.")

    def __post_init__(self) -> None:
        check_options(self)


class SelectByPromptSelector(Selector):
    """Shows all candidates of a problem to a model, which names one (GenSelect, arXiv 2504.16891).

    It answers greedily. What it names is the number after its last "best", or a number that is all that it says. Where
    it names no candidate, this is counted, and the one that the *choose* critic scores highest is taken, the draft
    before others. The candidates are shown in their order, the draft first.
    A problem whose only candidate is its draft costs nothing.
    """

    name = "select-by-prompt"
    Options = SelectByPromptOptions
    options: SelectByPromptOptions

    def open(self, runtime: Runtime) -> None:
        """Reads the prompt; UsageError where it cannot be used."""
        super().open(runtime)
        template = PromptTemplate(self.options.template, CHOICES, GROUP_NAMES, "--select-by-prompt-template")
        self._asking = Asking(template, self.options, "--select-by-prompt-system")

    def identity(self) -> str:
        """With the texts of the prompt, which may be files'."""
        return f"{super().identity()} {self._asking.hash}"

    def select(self, batch: Sequence[Sequence[ScoredCandidate]]) -> list[int | None]:
        """The index that the model names; None where it names none."""
        several = [group for group in batch if len(group) > 1]
        problems = [group[0].candidate.problem for group in several]
        texts = [[judged.candidate.solution.text for judged in group] for group in several]
        written = self.runtime.generate(
            problems,
            [self._asking.prompt(problem, candidates=some) for problem, some in zip(problems, texts, strict=True)],
            purpose=self.name,
            model=self.options.model or None,
        )
        answers = (self.runtime.solution(problem, text).text for problem, [text] in zip(problems, written, strict=True))
        return [0 if len(group) == 1 else named(next(answers), len(group)) for group in batch]


def named(answer: str, candidates: int) -> int | None:
    """The index of the candidate that an answer names, from 0; None where it names none of so many."""
    short = answer.strip()
    alone = _ALONE.fullmatch(short) if len(short) <= _SHORT else None
    found = [alone[1]] if alone else _NAMED.findall(answer)
    number = int(found[-1]) if found else 0
    return number - 1 if 1 <= number <= candidates else None
