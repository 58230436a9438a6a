"""The Ray actor of a replicated engine: what it opens, and the work that it does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from refine_eval.data import Candidate, ChatForm, Problem, Request, Thinking
from refine_eval.plugin.boundary import close_quietly, critiqued, identity_of
from refine_eval.plugin.components import Critic, Engine
from refine_eval.plugin.contract import read_count, read_parameters
from refine_eval.plugin.runtime import ComputeSettings

Sayings = tuple[str, str, int | None, Thinking | None]
"""What an engine says of its model: advice, the hash of its chat template, its parameters for FLOPs, how it thinks."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model to write with: `name` None is the student's; `option_name` is how the user names it, for errors.

    `chat` is how the engine is to render messages. `critic`, a class and its options, is to be opened in its place.
    """

    name: str | None
    option_name: str
    chat: ChatForm | None = None
    critic: tuple[type[Critic], Any] | None = None

    @property
    def key(self) -> tuple[str, str | None]:
        """What tells it from others."""
        return ("critic", self.critic[0].name) if self.critic else ("engine", self.name)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Candidates for a critic to score at once."""

    candidates: tuple[Candidate, ...]

    @property
    def problem(self) -> Problem:
        """The first one's."""
        return self.candidates[0].problem


Work = Request | Bundle
Key = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What an actor makes and opens the engine from."""

    kind: type[Engine]
    options: Any
    folder: str
    compute: ComputeSettings


class Worker:
    """The actor: the engine, those that its `for_model` gave, and copies of critics."""

    def __init__(self, setup: Setup) -> None:
        if os.path.isdir(setup.folder):  # so that relative paths in options mean what the user meant
            os.chdir(setup.folder)
        self._setup = setup
        self._student = setup.kind(setup.options)
        self._opened: dict[Key, Engine | Critic] = {}

    def open(self, model: Model) -> tuple[str, int, Sayings]:
        """The identity of what does the work, how much it likes to do at once, and what it says of its model."""
        found = self._component(model)
        if isinstance(found, Critic):
            return identity_of(found), 1, ("", "", read_parameters(found), None)
        batch_size = read_count(found, "preferred_batch_size", lambda: found.preferred_batch_size, least=1)
        sayings = (found.advice, found.template_hash, read_parameters(found), found.thinking)
        return identity_of(found), batch_size, sayings

    def work(self, model: Model, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Each text travels as soon as it is written: at 0.3 ms a text, larger pieces would gain nothing."""
        found = self._component(model)
        if isinstance(found, Critic):
            for number, bundle in enumerate(items):
                yield number, critiqued(found, bundle.candidates)
        else:
            yield from found.choose(items) if items and items[0].choices else found.generate(items)

    def close(self, model: Model) -> None:
        """Frees what `open` loaded."""
        if (found := self._opened.pop(model.key, None)) is not None:
            close_quietly(found)

    def _component(self, model: Model) -> Engine | Critic:
        if model.key not in self._opened:
            self._opened[model.key] = self._critic(*model.critic) if model.critic else self._engine(model)
        return self._opened[model.key]

    def _critic(self, kind: type[Critic], options: Any) -> Critic:
        critic = kind(options)
        critic.open(self._setup.compute)  # type: ignore[arg-type]  # it says that it is content with this
        return critic

    def _engine(self, model: Model) -> Engine:
        engine = self._student if model.name is None else self._student.for_model(model.name)
        assert engine is not None, "asked only where the driver's for_model gave one"
        engine.option_name = model.option_name
        engine.chat = model.chat
        engine.open(self._setup.compute)
        return engine
