"""The contract of every bundled component that reads or asks a language model, with a real one as the student."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny_models as tiny

from refine_eval.data import Generation, Problem, Request, Sampling, Solution
from refine_eval.engines.transformers_engine import TransformersEngine, TransformersOptions
from refine_eval.plugin.options import make_options
from refine_eval.plugin.registry import registry
from refine_eval.runs.requests import derive_seed
from refine_eval.tasks.answers import stated_answer
from refine_eval.testing import ToyRuntime, _case, _checks, _result

CHAT = {"chat": "on"}
COMPONENTS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "agreement": ("critic", "agreement", {"samples": 2}),
    "rollout": ("critic", "rollout", {"samples": 2}),
    "oracle-rollout": ("critic", "oracle-rollout", {"samples": 1}),
    "likelihood": ("critic", "likelihood", {}),
    "entropy": ("critic", "likelihood", {"measure": "entropy"}),
    "self-certainty": ("critic", "self-certainty", {}),
    **{f"judge {form}": ("critic", "judge", {"prompt": form, **CHAT}) for form in ("verdict", "steps", "score")},
    "judge read as text": ("critic", "judge", {"read": "text", **CHAT}),
    "judge plain": ("critic", "judge", {"chat": "off"}),
    **{f"prm {family}": ("critic", "prm", {"family": family}) for family in ("rlhflow-prm", "rlhflow-orm")},
    **{name: ("refiner", name, {}) for name in ("resample", "continue", "wait", "rewrite", "merge", "global", "local")},
    **{f"{name} as a chat": ("refiner", name, CHAT) for name in ("rewrite", "merge")},
    "select-by-prompt": ("selector", "select-by-prompt", {}),
    "transformers": ("engine", "transformers", {}),
}
INPUTS, CONTEXT, MOST_TOKENS = 2, 512, 12
"""How many ordinary inputs a component is given, and how short the model's texts are, so that all takes minutes."""

CHOICE = """\
Question: Which is right?
1: 2+2=4
2: 2+2=5
Answer: Best: 1
Question: Which is right?
{% for candidate in candidates %}{{ loop.index }}: {{ candidate }}
{% endfor %}Answer:"""
"""A prompt that a small model answers in so few tokens."""

OWN_MODEL = {"prm": "model", "global": "model", "local": "model", "transformers": "pretrained"}
"""Options that name the real model, of components that do not take the student's."""


class RealStudent(ToyRuntime):
    """The toy runtime with a real model as the student; what it said is remembered, as by a run's store."""

    engine: ClassVar[TransformersEngine]
    said: ClassVar[dict[Any, Generation]]

    def generate(self, problems: Any, prompts: Any, *, samples: int = 1, first: int = 0, **how: Any) -> Any:
        purpose, given = how["purpose"], how.get("sampling")
        requests = [
            Request(
                problem=problem,
                prompt=prompt,
                sampling=sampling,
                purpose=purpose,
                sample=sample,
                seed=derive_seed(self.seed, problem.id, purpose, sample) if sampling.temperature else 0,
            )
            for problem, prompt in zip(problems, prompts, strict=True)
            for sampling in [replace(given or self.sampling(problem), max_tokens=MOST_TOKENS)]
            for sample in range(first, first + samples)
        ]
        self.prompts.extend(prompts)
        found = self._asked(requests)
        return [found[at * samples : (at + 1) * samples] for at in range(len(problems))]

    def choose(self, problems: Any, prompts: Any, choices: Any, **how: Any) -> list[Generation]:
        self.prompts.extend(prompts)
        return self._asked(
            [
                Request(
                    problem=problem,
                    prompt=prompt,
                    sampling=Sampling(max_tokens=1),
                    purpose=how["purpose"],
                    sample=0,
                    seed=0,
                    choices=tuple(choices),
                )
                for problem, prompt in zip(problems, prompts, strict=True)
            ]
        )

    def _asked(self, requests: Sequence[Request]) -> list[Generation]:
        keys = [(each.prompt, each.sampling, each.seed, each.choices) for each in requests]
        missing = {key: each for key, each in zip(keys, requests, strict=True) if key not in self.said}
        if missing:
            ask = self.engine.choose if requests[0].choices else self.engine.generate
            new = dict(ask(list(missing.values())))
            self.said.update({key: new[at] for at, key in enumerate(missing)})
        return [self.said[key] for key in keys]

    def solution(self, problem: Problem, generation: Generation, prefix: str = "") -> Solution:
        """Its answer is the last number, or how it ends: a real model writes no "####", and few tokens."""
        found = super().solution(problem, generation, prefix)
        return replace(found, answer=found.answer or stated_answer(found.text) or found.text[-5:] or None)

    def student_model(self) -> tuple[str, str | None]:
        return self.engine.options.pretrained, None


@pytest.fixture(scope="module")
def student(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model with a context of its first tokens only: long texts, which take minutes, are refused then."""
    folder = tmp_path_factory.mktemp(real_model.name)
    for file in real_model.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((real_model / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))
    engine = TransformersEngine(TransformersOptions(pretrained=str(folder), device="cpu", dtype="float32"))
    engine.open(tiny.CPU)
    RealStudent.engine, RealStudent.said = engine, {}
    yield folder
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("which", COMPONENTS)
def test_it_keeps_its_contract(which: str, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, name, values = COMPONENTS[which]
    component = registry().component(kind, name)
    own = {OWN_MODEL[name]: str(student)} if name in OWN_MODEL else {}
    if name == "select-by-prompt":
        own["template"] = str(tmp_path / "choice.j2")
        (tmp_path / "choice.j2").write_text(CHOICE)
    case = _case(component, make_options(component, {**values, **own}))
    few = case.subject.inputs()[:INPUTS]
    monkeypatch.setattr(case.subject, "runtime", RealStudent)
    monkeypatch.setattr(case.subject, "inputs", lambda: copy.deepcopy(few))
    results = [_result(check) for check in _checks(case)]
    case.subject.close()
    assert [f"{each.name}: {each.message}" for each in results if not each.passed] == []
    assert any(each.name == "one-output-per-input" for each in results)
