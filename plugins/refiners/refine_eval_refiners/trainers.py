"""Trainers of the refiners (GLoRe, section 3).

Global: question and a wrong sample -> a right sample of the same question. Local: question and a draft with [BAD]
before its first bad step -> a continuation, verified by a rollout, of the steps before the marker.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from refine_eval import (
    BAD,
    Example,
    LabelledSample,
    PromptForm,
    QuestionSamples,
    Sample,
    StageError,
    Trainer,
    TrainingData,
    global_prompt,
    join_steps,
    local_prompt,
    marked_prompt,
    option,
    sample_steps,
    sample_text,
)


class Pair(NamedTuple):
    """What a refiner reads, what it is to write, and the kept steps, with which its prompt ends."""

    prompt: str
    completion: str
    kept: str = ""


@dataclass(frozen=True, kw_only=True)
class GlobalTrainerOptions:
    """Options of the global refiner's trainer."""

    per_question: int = option(4, "At most N distinct wrong drafts per question.", min=1)
    right_share: float = option(0.1, "Right drafts, to be kept as they are, for each wrong one.", min=0)


class GlobalTrainer(Trainer):
    """Global refiner: from a wrong sample to a right one of the same question; some right ones stay as they are."""

    name = "global"
    takes_messages = True
    Options = GlobalTrainerOptions
    options: GlobalTrainerOptions

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """Pairs, deduplicated, at most `per_question` of a question; StageError where there is none."""
        from refine_eval.training import check_outcomes

        check_outcomes(data.samples, "a global refiner needs wrong and right samples of one question")
        rng = random.Random(seed)
        examples: list[Example] = []
        kept: list[Example] = []
        for question, by_outcome in _distinct(data.samples).items():
            right, wrong = by_outcome[True], by_outcome[False]
            if right:
                kept.append(self._example(tokenizer, question, right[0], right[0]))
                for draft in wrong[: self.options.per_question]:
                    examples.append(self._example(tokenizer, question, draft, rng.choice(right)))
        return examples + rng.sample(kept, min(len(kept), round(self.options.right_share * len(examples))))

    def _example(self, tokenizer: Any, question: str, draft: Sample, solution: Sample) -> Example:
        pair = Pair(global_prompt(question, sample_steps(draft)), sample_text(solution))
        return _example(tokenizer, question, pair, self.form)


def _distinct(rows: Sequence[QuestionSamples]) -> dict[str, dict[bool, list[Sample]]]:
    """The samples of each question by outcome, one of those with the same steps, whichever folders they are from."""
    found: dict[str, dict[bool, dict[tuple[str, ...], Sample]]] = {}
    for row in rows:
        by_outcome = found.setdefault(row.question, {True: {}, False: {}})
        for sample in row.samples:
            if steps := sample_steps(sample):
                by_outcome[sample.correct].setdefault(steps, sample)
    return {question: {right: [*some.values()] for right, some in both.items()} for question, both in found.items()}


class LocalTrainer(Trainer):
    """Local refiner: from a draft marked before its first bad step to a continuation that a rollout verified."""

    name = "local"
    reads = ("label",)
    takes_messages = True

    def examples(self, data: TrainingData, tokenizer: Any, seed: int) -> list[Example]:
        """One pair for each distinct wrong draft whose last good prefix was verified; StageError without the marker."""
        _check_marker(tokenizer)
        pairs: dict[Pair, str] = {}
        for row in data.labels:
            if not row.correct and (pair := _pair_of(row)):
                pairs[pair] = row.question
        return [_example(tokenizer, question, pair, self.form) for pair, question in pairs.items()]


def _check_marker(tokenizer: Any) -> None:
    """StageError where [BAD] would not reach the model: several tokens are fine, an unknown or a lost one is not."""
    ids = tokenizer.encode(BAD, add_special_tokens=False)
    if tokenizer.unk_token_id in ids or tokenizer.decode(ids).strip() != BAD:
        raise StageError(
            f"The base's tokenizer cannot write the marker {BAD}, which tells a local refiner where to go on; add it "
            "to the tokenizer, or train another base."
        )


def _pair_of(row: LabelledSample) -> Pair | None:
    return local_pair(row.question, row.steps, row.labels, row.verified, exact=row.exact)


def local_pair(
    question: str,
    steps: Sequence[str],
    labels: Sequence[float],
    verified: Mapping[int, Sequence[str]],
    *,
    exact: bool = False,
) -> Pair | None:
    """The pair of one labelled wrong draft, or None if nothing verified leads on from its last good prefix.

    `labels` are the SORM's (1 good, 0 bad, one a step); `verified` maps a prefix length to the continuation
    that verified it. `exact` steps are pieces of the text, not its lines.
    """
    if 0 not in labels:
        return None
    first_bad = list(labels).index(0)
    rest = verified.get(first_bad)
    if not rest:
        return None
    if not exact:
        kept = join_steps(steps[:first_bad])
        # No newline after the last step: the end token follows it.
        return Pair(local_prompt(question, steps, first_bad), join_steps(rest).rstrip("\n"), kept)
    kept, bad = "".join(steps[:first_bad]), "".join(steps[first_bad:])
    return Pair(marked_prompt(question, kept, bad), "".join(rest).rstrip("\n"), kept)


def _example(tokenizer: Any, question: str, pair: Pair, form: PromptForm) -> Example:
    from refine_eval.training import completion_example

    prompt = pair.prompt.removesuffix(pair.kept)
    return completion_example(tokenizer, question, prompt, pair.completion, form, pair.kept)
