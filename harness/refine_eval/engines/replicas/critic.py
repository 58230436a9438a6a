"""A critic several times over, in the Ray actors of a replicated engine (`--workers`): same scores, same keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from refine_eval.data import Candidate, Critique
from refine_eval.engines.replicas.pool import Pool
from refine_eval.engines.replicas.worker import Bundle, Model
from refine_eval.plugin.components import Critic
from refine_eval.plugin.runtime import EngineRuntime

_MOST_CANDIDATES = 64
"""In a bundle: enough to find rows of like length among them, and no more than a dead replica may lose."""


class ReplicatedCritic(Critic):
    """Copies of a critic, which take turns at bundles of candidates as they get free: `ReplicatedEngine.copies_of`."""

    def __init__(self, critic: Critic, pool: Pool) -> None:
        super().__init__(critic.options)
        # In all that is stored and recorded it is the critic that it stands for.
        self.name = critic.name  # type: ignore[misc]
        self.Options = critic.Options  # type: ignore[misc]
        self.stored = critic.stored  # type: ignore[misc]
        self._critic, self._pool = critic, pool
        self._model = Model(name=None, option_name="", critic=(type(critic), critic.options))

    @property
    def keep_loaded(self) -> bool:
        """As the critic itself."""
        return self._critic.keep_loaded

    def open(self, runtime: EngineRuntime) -> None:
        """Opens the copies. What a copy raises is raised unchanged; see also `ReplicatedEngine.open`."""
        self._identity = self._pool.open(self._model, runtime)
        _, _, self.model_parameters, _ = self._pool.sayings[self._model.key]

    def identity(self) -> str:
        """The critic's own, the same for all copies."""
        return self._identity

    def critique(self, batch: Sequence[Candidate]) -> list[Critique]:
        """One critique a candidate, in order."""
        found: dict[int, Critique] = {}
        for some, critiques, _ in self.bundles(batch):
            found |= {id(candidate): critique for candidate, critique in zip(some, critiques, strict=True)}
        return [found[id(candidate)] for candidate in batch]

    def bundles(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Sequence[Candidate], list[Critique], float]]:
        """Candidates with their critiques, as they arrive from any copy, and the seconds that each took.

        What was scored elsewhere by the time that something fails comes before the error.
        """
        size = min(_MOST_CANDIDATES, -(-len(candidates) // (4 * (self._pool.workers or 1))))
        parts = _parts(candidates, size)
        for index, (critiques, seconds) in self._pool.work(self._model, [Bundle(candidates=part) for part in parts]):
            yield parts[index], critiques, seconds

    def close(self) -> None:
        """Frees the copies' memory."""
        self._pool.release(self._model)


def _parts(candidates: Sequence[Candidate], size: int) -> list[tuple[Candidate, ...]]:
    """Parts of about `size`; those of one problem stay together, as they begin alike, up to the most in a bundle."""
    parts: list[list[Candidate]] = []
    for _, of_problem in groupby(candidates, key=lambda candidate: candidate.problem.id):
        group = list(of_problem)
        for at in range(0, len(group), _MOST_CANDIDATES):
            some = group[at : at + _MOST_CANDIDATES]
            if not parts or len(parts[-1]) >= size or len(parts[-1]) + len(some) > _MOST_CANDIDATES:
                parts.append([])
            parts[-1] += some
    return [tuple(part) for part in parts]
