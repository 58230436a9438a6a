"""Where a critic scores: here, a batch at a time, or as copies among the student's replicas, as they get free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from refine_eval.data import Candidate, Critique
from refine_eval.engines.replicas.critic import ReplicatedCritic
from refine_eval.engines.replicas.engine import ReplicatedEngine
from refine_eval.plugin.boundary import critiqued
from refine_eval.plugin.components import Critic
from refine_eval.runs.runtime import RunRuntime

_CRITIQUES_A_BATCH = 256  # what a kill can lose of the critics' work at most


def copies_of(critic: Critic, runtime: RunRuntime) -> Critic:
    """A critic as it is to be opened: where the student has replicas, copies of it among them, if that can be."""
    student = runtime.student
    return student.copies_of(critic, runtime.device) if isinstance(student, ReplicatedEngine) else critic


def judged(
    candidates: Sequence[Candidate], critic: Critic
) -> Iterator[tuple[Sequence[Candidate], list[Critique], float]]:
    """Batches of candidates with what the critic returned for them, and the seconds that each candidate took."""
    if isinstance(critic, ReplicatedCritic):
        yield from critic.bundles(candidates)
        return
    for start in range(0, len(candidates), _CRITIQUES_A_BATCH):
        batch = candidates[start : start + _CRITIQUES_A_BATCH]
        returned, seconds = critiqued(critic, batch)
        yield batch, returned, seconds
