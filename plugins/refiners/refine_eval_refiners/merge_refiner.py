"""The refiner `merge`: a model reads all of a problem's candidates and writes one more."""

from __future__ import annotations

from dataclasses import dataclass

from refine_eval import PromptTemplate, Runtime, ScoredCandidate, check_options, option
from refine_eval_refiners.model_refiner import Task, WritingRefiner, check_samples
from refine_eval_refiners.prompts import GROUP_NAMES, MERGES, Asking, AskingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOptions(AskingOptions):
    """Options of the merge refiner."""

    model: str = option("", "Hub name or folder of the model that merges; left empty: the student.")
    prompt: str = option("merge", "Prompt: merge, or a file with a Jinja template.")
    samples: int = option(1, "Refinements to write for each solution.", min=1)
    temperature: float = option(0.0, "Sampling temperature; 0 is greedy and allows one sample only.", min=0, max=100)

    def __post_init__(self) -> None:
        check_options(self)
        check_samples(self)


class MergeRefiner(WritingRefiner):
    """Has a model read all candidates that a problem has so far and write one solution from them.

    It reads what the refiners named before it wrote: `--refiner resample --refiner merge`. A problem whose only
    candidate is its draft has nothing to merge.
    """

    name = "merge"
    sees_group = True
    Options = MergeOptions
    options: MergeOptions

    @property
    def model(self) -> str | None:
        """The model named, or the student."""
        return self.options.model or None

    def open(self, runtime: Runtime) -> None:
        """Reads the prompt; UsageError where it cannot be used."""
        super().open(runtime)
        template = PromptTemplate(self.options.prompt, MERGES, GROUP_NAMES, "--merge-prompt")
        self._asking = Asking(template, self.options, "--merge-system")

    def identity(self) -> str:
        """With the texts of the prompt, which may be files'."""
        return f"{super().identity()} {self._asking.hash}"

    def task(self, judged: ScoredCandidate) -> Task | None:
        """The prompt with question and candidates; nothing is kept."""
        if len(judged.group) < 2:
            return None
        texts = [candidate.solution.text for candidate in judged.group]
        return Task(prompt=self._asking.prompt(judged.candidate.problem, candidates=texts), kept="")
