"""The prompts of refiners and selectors that ask a model in words: presets, and how they are put to it."""

from __future__ import annotations

from refine_eval import Message, Problem, Prompt

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


def asked(problem: Problem, text: str) -> Prompt:
    """A prompt that says `text` to whom the student's prompt is said: after the system text, without examples."""
    if isinstance(problem.prompt, str):
        return text
    system = (message for message in problem.prompt if message.role == "system")
    return (*system, Message(role="user", content=text))
