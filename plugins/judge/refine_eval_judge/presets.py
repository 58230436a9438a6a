"""The prompts that come with the judge, as Jinja templates, and what they may name."""

NAMES = ("question", "candidate", "steps", "answer", "others", "index", "step")
"""What a prompt may use; `index` (from 1) and `step` are those of the step to be judged, in the form `steps`."""

_SHOWN = """\
Question:
{{ question }}

Proposed solution:
{{ candidate }}
{% for other in others %}
Another solution, to compare with:
{{ other }}
{% endfor %}
"""

PRESETS = {
    "verdict": f"{_SHOWN}Is the proposed solution correct? Answer with one word, Yes or No.",
    "steps": """\
{% if index == 1 %}I show you a solution step by step. After each step, say Yes if it is correct and No if it is not.

Question:
{{ question }}

{% endif %}Step {{ index }}: {{ step }}""",
    "score": f"""\
{_SHOWN}How likely is it that the proposed solution is correct? Answer with a whole number from 1 (surely wrong) to 10 \
(surely right) and nothing else.""",
    # The form of ProcessBench's critics (Zheng et al. 2024, arXiv 2412.06559, appendix), in words of our own.
    "first-error": """\
Here is a math problem and a solution, split into paragraphs that are numbered from 0.

Problem:
{{ question }}

Solution:
{% for text in steps %}<paragraph_{{ loop.index0 }}>
{{ text }}
</paragraph_{{ loop.index0 }}>
{% endfor %}
Check the paragraphs one by one. Find the first paragraph that has an error. Write its number in \\boxed{}, or \
\\boxed{-1} if there is no error.""",
    "feedback": f"""\
{_SHOWN}Check the proposed solution step by step. Say in a few sentences what is wrong, if anything is, and how to \
repair it. End with a line of its own, "Verdict: correct" or "Verdict: wrong".""",
}
"""By the name that is the form, too."""
