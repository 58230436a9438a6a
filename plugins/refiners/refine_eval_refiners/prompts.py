"""The prompts of refiners and selectors that ask a model in words: presets, and how they are put to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from refine_eval import Problem, Prompt, PromptForm, PromptTemplate, option, system_text

_BEGINNING = """\
Problem:
{{ task }}

Solution:
{{ draft }}
"""

REWRITES = {
    "self-refine": _BEGINNING
    + """{% if feedback %}
Feedback on this solution:
{{ feedback }}
{% endif %}
Improve the solution{% if feedback %} with the help of the feedback{% endif %}. Write all of it, in the same form as \
the solution above.

Improved solution:
""",
    "critic": """\
Problem:
{{ task }}

Solution:
{% for step in steps %}Step {{ loop.index }}: {{ step }}
{% endfor %}
What is wrong with this solution?
{% if feedback %}{{ feedback }}{% elif not first_bad %}Check each step and find out.{% endif %}\
{% if first_bad %}
Step {{ first_bad }} says: {{ steps[first_bad - 1] }}{% endif %}

Correct it. Keep the steps that are right, write no step numbers, and end in the same form as the solution above.

Corrected solution:
""",
    "reflexion": """\
Problem:
{{ task }}

Your earlier attempt:
{{ draft }}
{% if feedback %}
What was said of it:
{{ feedback }}
{% endif %}
First reflect in one sentence on what may have gone wrong in the earlier attempt and how to avoid it. Then solve the \
problem anew, and end in the same form as the earlier attempt.

Reflection:
""",
}
"""After Self-Refine (arXiv 2303.17651), CRITIC (2305.11738) and Reflexion (2303.11366), without their examples."""

MERGES = {
    "merge": """\
Problem:
{{ task }}

Here are {{ candidates | length }} solutions of it. Some may be wrong.
{% for candidate in candidates %}
Solution {{ loop.index }}:
{{ candidate }}
{% endfor %}
Compare them, take what is right in each, and write one whole solution, in the same form as those above.

Final solution:
""",
}
"""Generative self-aggregation (arXiv 2503.04104)."""

CHOICES = {
    "select": """\
Problem:
{{ task }}

Here are {{ candidates | length }} solutions of it.
{% for candidate in candidates %}
Solution {{ loop.index }}:
{{ candidate }}
{% endfor %}
Which solution is most likely right? Compare them in a few words, then end with "Best: " and the number of one solution.
""",
}
"""GenSelect (arXiv 2504.16891, section 4.3)."""


GROUP_NAMES = ("question", "task", "candidates")
"""What prompts about all candidates are given: the bare question; what the student was asked, with its instructions;
the candidates' texts, the draft first."""


def task_of(problem: Problem) -> str:
    """What the student was asked: of messages the user's last one, with its instructions, else the bare question."""
    if isinstance(problem.prompt, str):
        return problem.question
    return next((m.content for m in reversed(problem.prompt) if m.role == "user"), problem.question)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingOptions:
    """Options of components that ask a model in words."""

    chat: Literal["auto", "on", "off"] = option(
        "auto", "Whether it is asked by a chat's messages; auto: as the student is.", recent=True
    )
    system: str = option(
        "", "What it is told first, a text or a file; left empty: in a chat what the student is told.", recent=True
    )


class Asking:
    """How a model is asked in words: by a prompt's template, as messages or a text, after a system text or none.

    UsageError, which calls it by the user's `option`, for a system text whose file cannot be read.
    """

    def __init__(self, template: PromptTemplate, options: AskingOptions, option: str) -> None:
        self._template, self._chat = template, options.chat
        self._system = system_text(options.system, option)

    @property
    def hash(self) -> str:
        """Of the template's text, and of the system text where there is one."""
        if not self._system:
            return self._template.hash
        return hashlib.sha256(f"{self._template.hash} {self._system}".encode()).hexdigest()[:32]

    def prompt(self, problem: Problem, **values: Any) -> Prompt:
        """The template with the question, the task and these values; it has none of the student's examples."""
        text = self._template.render(question=problem.question, task=task_of(problem), **values)
        system, student = self._system, problem.prompt
        if self._chat == "off" or (self._chat == "auto" and isinstance(student, str)):
            return f"{system}\n\n{text}" if system else text
        if not system and not isinstance(student, str):
            system = next((message.content for message in student if message.role == "system"), None)
        return PromptForm(messages=True, system=system).prompt(text)
