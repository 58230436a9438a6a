"""The texts that models read: one place, used both when training and when running.

A solution is a text of steps. By default a step is a non-empty line; the line with the final answer ("#### 42") is
the last step (GSM8K's style). Steps are counted from 0 in code and from 1 where people read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from refine_eval.cuts import steps_at
from refine_eval.data import Message, Prompt
from refine_eval.training_rows import Sample

STEP_END = "\n"
"""What ends a step. A critic's score of a step is read at this token."""

BAD = "[BAD]"
"""Stands before the first wrong step in what the local refiner reads (GLoRe, section 3)."""


Prompts = Literal["as-trained", "plain", "messages"]
"""How a component's model is asked, for its Options: see `models.cards.prompt_form`."""


def split_steps(text: str) -> tuple[str, ...]:
    """The non-empty lines of a solution, without white space at their ends."""
    return tuple(stripped for line in text.splitlines() if (stripped := line.strip()))


def sample_steps(sample: Sample) -> tuple[str, ...]:
    """The steps of a sample as critics and refiners read them: where it is cut, or its lines."""
    return split_steps(sample.text) if sample.cuts is None else steps_at(sample.text, sample.cuts)


def sample_text(sample: Sample) -> str:
    """A sample as a model is to write it: its lines, or to the byte where its steps are none; no newline at its end."""
    return (join_steps(split_steps(sample.text)) if sample.cuts is None else sample.text).rstrip("\n")


def join_steps(steps: Sequence[str]) -> str:
    """The steps as text, each with its end: `"a\\nb\\n"`; `""` for no steps."""
    return "".join(step + STEP_END for step in steps)


def student_prompt(question: str) -> str:
    """What a fine-tuned student and every critic read before the first step."""
    return f"Question: {question}\nAnswer:\n"


def continued(prompt: Prompt, text: str) -> Prompt:
    """The prompt with the beginning of what is to be written after it; of messages that is a prefill."""
    if isinstance(prompt, str):
        return prompt + text
    if prefill_of(prompt):
        return (*prompt[:-1], replace(prompt[-1], content=prompt[-1].content + text))
    return (*prompt, Message(role="assistant", content=text)) if text else prompt


def as_messages(prompt: Prompt) -> tuple[Message, ...]:
    """The prompt for who reads messages alone: a text is what the user says."""
    return (Message(role="user", content=prompt),) if isinstance(prompt, str) else prompt


def prefill_of(prompt: Prompt) -> str:
    """The beginning of the answer that messages already hold; "" where they hold none, and for plain texts."""
    return "" if isinstance(prompt, str) or prompt[-1].role != "assistant" else prompt[-1].content


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """How a model reads its prompts: as plain texts, or as messages, which its own chat template renders.

    `template` names the template of a model that has several, `system` is the system message's text.
    """

    messages: bool = False
    template: str | None = None
    system: str | None = None

    def prompt(self, text: str, begun: str = "") -> Prompt:
        """What is read before an answer that begins with `begun`: of messages the text is what the user says."""
        if not self.messages:
            return text + begun
        system = (Message(role="system", content=self.system),) if self.system else ()
        return continued((*system, Message(role="user", content=text)), begun)


PLAIN = PromptForm()
"""As a base model is asked."""


def prompt_text(prompt: Prompt) -> str:
    """All that is written in a prompt, without what a chat template adds: for counts and for people."""
    return prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)


def global_prompt(question: str, draft: Sequence[str]) -> str:
    """What the global refiner reads: the question and the whole draft."""
    return f"Question: {question}\nDraft:\n{join_steps(draft)}Answer:\n"


def local_prompt(question: str, draft: Sequence[str], first_bad: int) -> str:
    """What the local refiner reads: question, draft with [BAD] before step `first_bad`, and the kept steps.

    The kept steps `draft[:first_bad]` stand again as the beginning of the new answer, so the refiner
    writes only what follows them: what stands before the marker is kept by construction.
    """
    return marked_prompt(question, join_steps(draft[:first_bad]), join_steps(draft[first_bad:]))


def marked_prompt(question: str, kept: str, rest: str) -> str:
    """The same where the draft is not cut into lines: `kept` and `rest` are its text, to the byte."""
    end = "" if not rest or rest.endswith(STEP_END) else STEP_END
    return f"Question: {question}\nDraft:\n{kept}{BAD}{rest}{end}Answer:\n{kept}"


def cut_at_stops(text: str, stops: Sequence[str]) -> str:
    """The text up to the first stop string, by lm-eval's rule, which every engine keeps."""
    for stop in filter(None, stops):
        text = text.split(stop, 1)[0]
    return text


def one_line(text: str) -> str:
    """The text with every run of white space as one space: how questions are compared."""
    return " ".join(text.split())
