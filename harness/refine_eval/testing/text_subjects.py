"""Components under test that know texts alone: engines, which write them, and splitters, which cut them."""

from __future__ import annotations

from typing import Any

from refine_eval.data import Generation, Prompt, Request, Sampling
from refine_eval.plugin.components import Engine, Splitter
from refine_eval.plugin.contract import read_cuts
from refine_eval.terminal import shown
from refine_eval.testing.subjects import HOSTILE, Subject, breach
from refine_eval.testing.toys import toy_candidates, toy_problems


class EngineSubject(Subject[Request, Generation]):
    """An engine: requests in, generations out, in any order."""

    kind = Engine

    def call(self, instance: Engine, batch: list[Request]) -> Any:
        found: dict[int, Generation] = {}
        for index, generation in instance.generate(batch):
            assert 0 <= index < len(batch), f"yielded index {index} for {len(batch)} requests"
            assert index not in found, f"yielded index {index} twice"
            found[index] = generation
        missing = sorted(set(range(len(batch))) - set(found))
        assert not missing, f"yielded nothing for the requests {missing} of {len(batch)}"
        return [found[index] for index in range(len(batch))]

    def inputs(self) -> list[Request]:
        return [
            self.request(index, problem.prompt, temperature, sample)
            for index, problem in enumerate(toy_problems()[:2])
            for temperature, sample in ((0.0, 0), (0.8, 0), (0.8, 1))
        ]

    def empty_inputs(self) -> list[Request]:
        return [self.request(0, "", 0.0, 0)]

    def hostile_inputs(self) -> list[Request]:
        return [self.request(0, text, 0.0, 0) for text in HOSTILE]

    @staticmethod
    def request(problem: int, prompt: Prompt, temperature: float, sample: int) -> Request:
        """A short text for one of the toy problems."""
        return Request(
            problem=toy_problems()[problem],
            prompt=prompt,
            sampling=Sampling(max_tokens=12, temperature=temperature, stop=("Question:",)),
            purpose="sample" if temperature else "draft",
            sample=sample,
            seed=1000 * problem + sample,
        )

    def verify(self, instance: Engine, given: Request, found: Generation) -> None:
        where = f"for {self.label(given)}"
        assert isinstance(found, Generation), f"yielded {shown(found)} {where} instead of a Generation"
        if found.unwritten is not None:
            assert isinstance(found.unwritten, str), f"why there is no text {where} is {found.unwritten!r}, not a text"
            assert found == Generation.without_text(found.unwritten), (
                f"a text {where} is unwritten and has a text; yield Generation.without_text(why)"
            )
            return
        assert found.finish_reason in ("stop", "length"), f"the finish reason {where} is {found.finish_reason!r}"
        assert found.tokens >= 0, f"{found.tokens} tokens {where}"
        assert found.thought is None or isinstance(found.thought, str), f"the thought {where} is {shown(found.thought)}"
        prompt, cached = found.prompt_tokens, found.cached_tokens
        assert prompt is None or (type(prompt) is int and prompt > 0), (
            f"a prompt of {prompt!r} tokens {where}; it must be a whole number of at least 1, or None"
        )
        assert 0 <= cached <= (prompt or 0), f"{cached} cached tokens of a prompt of {prompt} tokens {where}"
        for stop in given.sampling.stop:
            assert stop not in found.text, f"the stop string {stop!r} is left in the text {where}: {shown(found.text)}"

    def left_out(self, found: Generation) -> str | None:
        return found.unwritten

    def alike(self, one: Generation, other: Generation) -> bool:
        return (one.text, one.tokens, one.finish_reason) == (other.text, other.tokens, other.finish_reason)

    def label(self, given: Request) -> str:
        sampling = given.sampling
        return f"sample {given.sample} of {given.problem.id} at temperature {sampling.temperature}"


_LONG = 100_000
"""Characters of the long texts that a splitter is given."""


class SplitterSubject(Subject[str, list[str]]):
    """A splitter: texts in, their pieces out."""

    kind = Splitter

    def call(self, instance: Splitter, batch: list[str]) -> Any:
        return instance.split(batch)

    def inputs(self) -> list[str]:
        formula = (
            "Step 1: Add them.\n\n\\[\n23 + 5 = 28\n\\]\n\nStep 2: Multiply. So it is $28 \\cdot 3 = 84$.\n\n#### 84\n"
        )
        code = "1. Write it down:\n\n```python\ndef f(x):\n\n    return x * 3\n```\n\n2. Run it. **84**"
        table = "  Look at the table.\r\n\r\n| a | b |\r\n|---|---|\r\n| 1 | 2 |\r\n\r\nIt has three rows.  "
        return [formula, code, table, *(candidate.solution.text for candidate in toy_candidates(6))]

    def empty_inputs(self) -> list[str]:
        return ["", " \n\n "]

    def hostile_inputs(self) -> list[str]:
        return [*HOSTILE, "```\n\n$$\n\n\\[\n\n| a |", "\\]$$\n```x```\n\n$$\\["]

    def long_inputs(self) -> list[str]:
        """What is opened and never closed, over and over, and other texts that invite quadratic work."""
        parts = (
            "$$",
            "\\[",
            "```\n",
            "| a\n",
            "\n",
            " ",
            "1. ",
            "a. ",
            "Step 1\n",
            ".",
            "x",
            "(",
            "~~~x\n\n",
            "\u2028",
        )
        return [part * (_LONG // len(part)) for part in parts]

    def verify(self, instance: Splitter, given: str, found: list[str]) -> None:
        with breach():
            read_cuts(instance, [given], [found])

    def label(self, given: str) -> str:
        return f"the text {shown(given)}"
