"""The page of all components: none is missing, and what each needs is what it asks for."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from refine_eval.data import Candidate, Critique, ScoredCandidate, Solution
from refine_eval.plugin.components import Critic, Refiner
from refine_eval.plugin.hooks import KINDS
from refine_eval.plugin.registry import registry

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def components() -> Iterator[ModuleType]:
    """The script that writes the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import components as script

        yield script
        del sys.modules["components"]


def test_the_page_is_fresh_and_has_every_bundled_component(components: ModuleType) -> None:
    page = components.PAGE.read_text("utf-8")
    assert page == components.page(), "run: make docs"
    bundled = [found for found in registry().all() if found.distribution == "refine-eval" and found.kind in KINDS]
    assert len(bundled) > 40
    for found in bundled:
        section = page.partition(f"## {found.kind.capitalize()}s\n")[2].partition("\n## ")[0]
        assert f"| `{found.name}` |" in section


class Asking(Critic):
    """Asks for all that there is."""

    name = "asking"
    needs_gold = True

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        problems = [candidate.problem for candidate in batch]
        prompts = [problem.prompt for problem in problems]
        self.runtime.sample_answers(problems, 1, 0.7)
        self.runtime.generate(problems, prompts, purpose="asking")
        self.runtime.generate(problems, prompts, purpose="asking", model="somebody/model")
        self.runtime.grader.is_correct(batch[0])
        return [Critique.without_score(candidate, "it only asks") for candidate in batch]


class Silent(Refiner):
    """Asks for nothing."""

    name = "silent"

    def refine(self, batch: Sequence[ScoredCandidate]) -> list[list[Solution]]:
        return [[] for _ in batch]


def test_what_a_component_needs_is_what_it_asks_for(components: ModuleType) -> None:
    assert components.needs(Silent) == []
    assert components.needs(Asking) == [
        "samples of the student",
        "texts of the student",
        "texts of a model of its own",
        "gold answers",
    ]
    needed = {name: components.needs(registry().component("critic", name)) for name in ("calculator", "rollout", "orm")}
    assert needed == {
        "calculator": [],
        "rollout": ["samples of the student", "texts of the student", "of chats: a prefill"],
        "orm": ["weights of its own (bundled ones for the bundled task)"],
    }
